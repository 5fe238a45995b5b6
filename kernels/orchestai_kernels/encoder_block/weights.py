"""The parameters of an encoder's block, as a pytree."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import Array, Float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """y = x kernel + bias."""

    kernel: Float[Array, "in out"]
    bias: Float[Array, "out"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Norm:
    """Layer norm's scale and bias (Ba et al. 2016)."""

    scale: Float[Array, "hidden"]
    bias: Float[Array, "hidden"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockWeights:
    """A block of `hidden` columns with a feed-forward of `wide`."""

    query: Dense
    key: Dense
    value: Dense
    out: Dense
    attention_norm: Norm
    up: Dense
    """[hidden, wide]."""
    down: Dense
    """[wide, hidden]."""
    feed_forward_norm: Norm

    def check(self, hidden: int) -> None:
        """Raise ValueError, naming the field and both shapes, where one does not fit `hidden` columns."""
        wide = self.up.kernel.shape[-1]
        shapes = dict.fromkeys(("query", "key", "value", "out"), (hidden, hidden))
        shapes |= {"up": (hidden, wide), "down": (wide, hidden)}
        for name, shape in shapes.items():
            dense: Dense = getattr(self, name)
            if dense.kernel.shape != shape or dense.bias.shape != shape[1:]:
                raise ValueError(
                    f"{name} must have kernel {shape} and bias {shape[1:]}, got {tuple(dense.kernel.shape)} and "
                    f"{tuple(dense.bias.shape)}"
                )
        for name in ("attention_norm", "feed_forward_norm"):
            norm: Norm = getattr(self, name)
            if norm.scale.shape != (hidden,) or norm.bias.shape != (hidden,):
                raise ValueError(
                    f"{name} must have scale and bias {(hidden,)}, got {tuple(norm.scale.shape)} and "
                    f"{tuple(norm.bias.shape)}"
                )
