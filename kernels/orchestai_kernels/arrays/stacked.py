"""One matrix of a stack, by its number: what a loop over layers hands to kernels that read it where it lies."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int8, Int32

from orchestai_kernels.arrays.int8 import Int8Array
from orchestai_kernels.arrays.ternary import TernaryArray

_Packed = TypeVar("_Packed", TernaryArray, Int8Array)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StackedMatrix:
    """Matrix `index` of a `TernaryArray` or `Int8Array` with one leading axis; `index` may be a loop's counter.

    A scan over a stack copies each matrix out of it; an implementation that takes this one reads it in place. Raises
    ValueError (in `checked`) for a stack without exactly one leading axis.
    """

    stack: TernaryArray | Int8Array
    """All the matrices."""
    index: Int32[Array, ""]
    """Which one, from 0; one that is out of range is an error of the `cpu` kernels, and clamped by the others."""

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.stack.shape[-2:]
        return rows, columns

    @property
    def shape(self) -> tuple[int, ...]:
        """The matrix's."""
        return self.matrix_shape

    def matrix(self) -> TernaryArray | Int8Array:
        """It alone, copied out of the stack."""
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_index_in_dim(leaf, self.index, keepdims=False), self.checked().stack
        )

    def integers(self) -> Int8[Array, "rows columns"]:
        """The integers without the scale."""
        return self.matrix().integers()

    def row_scale(self) -> Float32[Array, "rows"]:
        """The scale of each row."""
        return self.matrix().row_scale()

    def checked(self) -> StackedMatrix:
        """Itself, where the stack has one leading axis."""
        if len(self.stack.shape) != 3:
            raise ValueError(f"a stack has one leading axis, got {self.stack.shape}")
        return self


def in_stack(weight: TernaryArray | Int8Array | StackedMatrix) -> StackedMatrix:
    """A matrix as one of a stack; by itself it is a stack of one."""
    if isinstance(weight, StackedMatrix):
        return weight.checked()
    return StackedMatrix(jax.tree.map(lambda leaf: leaf[None], weight), jnp.int32(0))


def alone(weight: _Packed | StackedMatrix) -> _Packed:
    """A matrix by itself, copied out of its stack if it is in one."""
    return cast(_Packed, weight.matrix()) if isinstance(weight, StackedMatrix) else weight


def is_ternary(weight: object) -> bool:
    """Whether it is a ternary matrix, alone or in a stack."""
    return isinstance(weight.stack if isinstance(weight, StackedMatrix) else weight, TernaryArray)
