"""The parameters of a ternary encoder's block, as a pytree."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import Array, Float, Float32

from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.encoder_block.weights import Norm


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TernaryDense:
    """y = scale · (q(x) Tᵀ) + bias, T packed, q int8 with one scale a token (`ternary_matmul`)."""

    matrix: TernaryArray
    scale: Float[Array, "rows"]
    bias: Float[Array, "rows"]

    def row_scale(self) -> Float32[Array, "rows"]:
        """The scale of each row, the matrix's own included."""
        return self.scale * self.matrix.row_scale()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TernaryBlockWeights:
    """A block of `hidden` columns with a feed-forward of `wide`."""

    qkv: TernaryDense
    """Query, key and value below each other: [3 hidden, hidden]."""
    attention_sub_norm: Float[Array, "hidden"] | None
    """Weight of the root-mean-square norm before attention's output matrix, where there is one."""
    out: TernaryDense
    attention_norm: Norm
    up: TernaryDense
    """[wide, hidden]."""
    feed_forward_sub_norm: Float[Array, "wide"] | None
    """Weight of the norm before `down`, where there is one."""
    down: TernaryDense
    """[hidden, wide]."""
    feed_forward_norm: Norm

    @property
    def wide(self) -> int:
        """Inner width of the feed-forward."""
        return self.up.matrix.matrix_shape[0]

    def check(self, hidden: int) -> None:
        """Raise ValueError, naming the field and both shapes, where one does not fit `hidden` columns."""
        wide = self.wide
        matrices = {"qkv": (3 * hidden, hidden), "out": (hidden, hidden), "up": (wide, hidden), "down": (hidden, wide)}
        for name, shape in matrices.items():
            dense: TernaryDense = getattr(self, name)
            _expect(f"{name}'s matrix", dense.matrix.shape, shape)
            _expect(f"{name}'s scale", dense.scale.shape, shape[:1])
            _expect(f"{name}'s bias", dense.bias.shape, shape[:1])
        for name, size in (("attention_sub_norm", hidden), ("feed_forward_sub_norm", wide)):
            norm = getattr(self, name)
            if norm is not None:
                _expect(name, norm.shape, (size,))
        for name in ("attention_norm", "feed_forward_norm"):
            norm = getattr(self, name)
            _expect(f"{name}'s scale", norm.scale.shape, (hidden,))
            _expect(f"{name}'s bias", norm.bias.shape, (hidden,))


def _expect(what: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(shape) != wanted:
        raise ValueError(f"{what} must be {wanted}, got {tuple(shape)}")
