"""Graph convolution on batched dense adjacency."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float
from orchestai_kernels.graph_attention import graph_attention

from orchestai_jax.nn.graph.adjacency import with_self_loops, without_masked


class GCNLayer(nnx.Module):
    """H' = D^-1/2 (A + I) D^-1/2 H W + b (Kipf & Welling 2017, equation 2), on weighted dense graphs.

    A[s, t] is the weight of the edge s -> t, messages flow from s to t, D is the weighted in-degree with the self-loop.
    A node that has a self-loop already keeps its weight in place of 1.
    """

    def __init__(self, in_size: int, out_size: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(in_size, out_size, use_bias=False, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(out_size))

    def __call__(
        self,
        nodes: Float[Array, "batch n in"],
        adjacency: Float[Array, "batch n n"],
        mask: Bool[Array, "batch n"],
    ) -> Float[Array, "batch n out"]:
        """Mix each node with its in-neighbours; masked nodes send nothing and come out as zero."""
        weights = with_self_loops(without_masked(adjacency, mask))
        inverse_root = jnp.sum(weights, axis=1) ** -0.5  # [batch, n], positive through the self-loop
        weights = inverse_root[:, :, None] * weights * inverse_root[:, None, :]
        sent = self.linear(nodes)[:, :, None]  # [batch, n, 1 head, out]
        mixed = graph_attention(sent, weights, mask=mask, aggregation="sum")[:, :, 0]
        return jnp.where(mask[:, :, None], mixed + self.bias[...], 0.0)
