"""Graph attention on batched dense adjacency."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float
from orchestai_kernels.graph_attention import graph_attention

NEGATIVE_SLOPE = 0.2
"""Of the leaky ReLU on attention scores, as in the paper."""


class GATLayer(nnx.Module):
    """h'_t = sum over s of alpha(s, t) W h_s + b (Veličković et al. 2018, equations 3 to 6), on weighted dense graphs.

    alpha(s, t) is proportional to A[s, t] exp(LeakyReLU(a_source · W h_s + a_target · W h_t)) over the edges s -> t and
    the self-loop: with weights of 0 and 1 that is the paper's softmax, and other weights are priors on it. Heads are
    concatenated, or averaged with `concatenate=False`.

    Raises ValueError when heads are concatenated and `num_heads` does not divide `out_size`.
    """

    def __init__(self, in_size: int, out_size: int, *, num_heads: int = 4, concatenate: bool = True, rngs: nnx.Rngs):
        if concatenate and out_size % num_heads:
            raise ValueError(f"num_heads must divide out_size: {num_heads} does not divide {out_size}")
        head_dim = out_size // num_heads if concatenate else out_size
        glorot = nnx.initializers.glorot_uniform()
        self.num_heads, self.concatenate = num_heads, concatenate
        self.linear = nnx.Linear(in_size, num_heads * head_dim, use_bias=False, kernel_init=glorot, rngs=rngs)
        self.source = nnx.Param(glorot(rngs.params(), (num_heads, head_dim)))
        self.target = nnx.Param(glorot(rngs.params(), (num_heads, head_dim)))
        self.bias = nnx.Param(jnp.zeros(out_size))

    def __call__(
        self,
        nodes: Float[Array, "batch n in"],
        adjacency: Float[Array, "batch n n"],
        mask: Bool[Array, "batch n"],
    ) -> Float[Array, "batch n out"]:
        """Mix each node with its in-neighbours; masked nodes send nothing and come out as zero."""
        batch, n, _ = nodes.shape
        hidden = self.linear(nodes).reshape(batch, n, self.num_heads, -1)  # [batch, n, heads, head_dim]
        by_source = jnp.einsum("bshd,hd->bsh", hidden, self.source[...])
        by_target = jnp.einsum("bthd,hd->bth", hidden, self.target[...])
        mixed = graph_attention(
            hidden,
            adjacency,
            source_scores=by_source,
            target_scores=by_target,
            mask=mask,
            self_loops=True,
            negative_slope=NEGATIVE_SLOPE,
        )
        mixed = mixed.reshape(batch, n, -1) if self.concatenate else jnp.mean(mixed, axis=2)
        return jnp.where(mask[:, :, None], mixed + self.bias[...], 0.0)
