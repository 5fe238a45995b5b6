"""GraphSAGE on batched dense adjacency."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float
from orchestai_kernels.graph_attention import graph_attention


class SAGELayer(nnx.Module):
    """h'_t = W_own h_t + W_neighbours mean over s of h_s + b (Hamilton et al. 2017, algorithm 1, mean aggregator).

    The mean goes over the edges s -> t, weighted by A[s, t]; a node that nothing points to has a mean of zero. The two
    matrices are the halves of the paper's one on the concatenation; normalisation is left to the caller.
    """

    def __init__(self, in_size: int, out_size: int, *, rngs: nnx.Rngs):
        self.own = nnx.Linear(in_size, out_size, use_bias=False, rngs=rngs)
        self.neighbours = nnx.Linear(in_size, out_size, rngs=rngs)

    def __call__(
        self,
        nodes: Float[Array, "batch n in"],
        adjacency: Float[Array, "batch n n"],
        mask: Bool[Array, "batch n"],
    ) -> Float[Array, "batch n out"]:
        """Mix each node with its in-neighbours; masked nodes send nothing and come out as zero."""
        mean = graph_attention(nodes[:, :, None], adjacency, mask=mask, aggregation="mean")[:, :, 0]
        return jnp.where(mask[:, :, None], self.own(nodes) + self.neighbours(mean), 0.0)
