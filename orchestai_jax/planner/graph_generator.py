"""The graph generator: edges between the chosen tasks, by a GNN over their states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.config import GraphGeneratorConfig
from orchestai_jax.nn.graph import make_graph_layer
from orchestai_jax.planner.catalog_arrays import CatalogArrays

NUM_PAIR_FEATURES = 6


class GraphGenerator(nnx.Module):
    """Task states, refined by graph layers over the edges that types, counts and order make likely, then scored in
    pairs: logit(s → t) = MLP([source(s), target(t), features(s, t)]).

    Pairs are scored in both directions; decoding keeps those that go forward in the decomposer's order and whose
    types fit, so the result is a DAG by construction.
    """

    def __init__(self, state_size: int, config: GraphGeneratorConfig, *, rngs: nnx.Rngs):
        hidden_size = config.hidden_size
        self.project = nnx.Linear(state_size, hidden_size, rngs=rngs)
        self.prior = nnx.Linear(NUM_PAIR_FEATURES, 1, rngs=rngs)
        count = 0 if config.layer == "none" else config.num_layers
        heads, side_by_side = config.num_heads, config.concatenates
        self.layers = nnx.List(
            [
                make_graph_layer(config.layer, hidden_size, num_heads=heads, concatenate=side_by_side, rngs=rngs)
                for _ in range(count)
            ]
        )
        self.source = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.target = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.features = nnx.Linear(NUM_PAIR_FEATURES, hidden_size, rngs=rngs)
        self.out = nnx.Linear(hidden_size, 1, rngs=rngs)

    def __call__(
        self,
        states: Float[Array, "batch n state"],
        features: Float[Array, "batch n n 6"],
        mask: Bool[Array, "batch n"],
    ) -> Float[Array, "batch n n"]:
        """Edge logits [b, source, target]; rows and columns of masked tasks mean nothing."""
        nodes = jax.nn.gelu(self.project(states))
        likely = jax.nn.sigmoid(self.prior(features)[..., 0])
        likely = likely * (1 - jnp.eye(nodes.shape[1]))  # layers add the self-loops
        for layer in self.layers:
            nodes = nodes + jax.nn.gelu(layer(nodes, likely, mask))
        pairs = self.source(nodes)[:, :, None] + self.target(nodes)[:, None, :] + self.features(features)
        return self.out(jax.nn.gelu(pairs))[..., 0]


def pair_features(catalog: CatalogArrays, chosen: Int[Array, "batch n"]) -> Float[Array, "batch n n 6"]:
    """For each ordered pair of chosen tasks: log count of the edge in training, log count of the reverse, link in the
    tool graph, types fit, source comes first, source comes directly before."""
    size, n = catalog.known.shape[0], chosen.shape[1]
    safe = jnp.minimum(chosen, size - 1)
    known = catalog.known[safe]
    counts = catalog.edges[known[:, :, None], known[:, None, :]]
    linked = jnp.any(catalog.neighbours[safe][:, :, None, :] == chosen[:, None, :, None], axis=-1)
    order = jnp.arange(n)[None, :] - jnp.arange(n)[:, None]  # [source, target] = target - source
    shape = counts.shape
    return jnp.stack(
        [
            counts,
            jnp.swapaxes(counts, 1, 2),
            linked.astype(counts.dtype),
            pairs_fit(catalog, chosen).astype(counts.dtype),
            jnp.broadcast_to((order > 0).astype(counts.dtype), shape),
            jnp.broadcast_to((order == 1).astype(counts.dtype), shape),
        ],
        axis=-1,
    )


def pairs_fit(catalog: CatalogArrays, chosen: Int[Array, "batch n"]) -> Bool[Array, "batch n n"]:
    """Whether some output of the source fits some input of the target."""
    safe = jnp.minimum(chosen, catalog.known.shape[0] - 1)
    produced = catalog.produces[safe].astype(jnp.float32)
    accepted = catalog.accepts[safe].astype(jnp.float32)
    return jnp.einsum("bsp,btp->bst", produced, accepted) > 0


def acyclicity_penalty(probabilities: Float[Array, "batch n n"], mask: Bool[Array, "batch n"]) -> Float[Array, "batch"]:
    """tr((I + A ∘ A / n)^n) - n, zero exactly on DAGs (Yu et al. 2019, DAG-GNN, equation 13), over edge probabilities.

    Computed by repeated squaring, with the exponent rounded up to a power of two, which keeps the property. In float32
    cycles of 8 and more tasks weigh too little to be seen.
    """
    n = probabilities.shape[1]
    valid = mask[:, :, None] & mask[:, None, :] & ~jnp.eye(n, dtype=bool)
    power = jnp.eye(n) + jnp.where(valid, jnp.square(probabilities), 0.0) / n
    for _ in range(max(n - 1, 1).bit_length()):
        power = power @ power
    return jnp.trace(power, axis1=1, axis2=2) - n
