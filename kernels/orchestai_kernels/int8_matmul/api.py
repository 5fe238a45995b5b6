"""`int8_matmul`: the public function, and which implementation of it runs."""

from __future__ import annotations

import functools
import math
import pathlib
from typing import Any

from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array, StackedMatrix, alone
from orchestai_kernels.cpu.config import CONFIGS, SOURCES, available
from orchestai_kernels.dispatch import Implementation, Op, bucket
from orchestai_kernels.floating import expect_floating
from orchestai_kernels.int8_matmul.cpu import cpu
from orchestai_kernels.int8_matmul.reference import MOST_COLUMNS, reference
from orchestai_kernels.straight_through import straight_through

_HERE = pathlib.Path(__file__).parent
_REFERENCE = (_HERE / "reference.py", *(_HERE.parent / "arrays" / name for name in ("activations.py", "magnitude.py")))


def int8_matmul(
    x: Float[Array, "*batch columns"],
    weight: Int8Array | StackedMatrix,
    *,
    implementation: str = "auto",
    config: Any = None,
) -> Float[Array, "*batch rows"]:
    """y = x Wᵀ with the activations quantised to int8, one scale a token, and W int8 with one scale a row.

    Activations are quantised as in `ternary_matmul`; the sums are exact in int32, whichever implementation runs;
    y = sum / s · weight scale in float32, rounded once to x's dtype. A token with a NaN or an infinity gives NaN in all
    its outputs. Gradient: straight through to x; none to the weight. The weight's values must be at least -127, as
    `Int8Array.validate` checks. Stacked weights (leading axes) go through `jax.vmap`; a
    `StackedMatrix` is one of a stack, read by `cpu` where it lies.

    Raises ValueError where the columns of x and weight differ, for an x that is not floating, for another kind of
    weight and stacked ones, scales not one a row, and for more than 133,144 columns (int32 could overflow);
    NotImplementedError where the named implementation cannot run.
    """
    stored = weight.checked().stack if isinstance(weight, StackedMatrix) else weight
    if not isinstance(stored, Int8Array):
        stack = "a stack of " if isinstance(weight, StackedMatrix) else ""
        raise ValueError(f"weight must be int8, got {stack}{type(stored).__name__}")
    expect_floating(x=x)
    if stored.block is not None or len(weight.shape) != 2:
        raise ValueError(f"weight must be one matrix with a scale a row, got {weight.shape} with block {stored.block}")
    rows, columns = weight.shape
    if tuple(stored.scale.shape) != stored.shape[:-1]:
        raise ValueError(f"scale must be {stored.shape[:-1]}, one a row, got {tuple(stored.scale.shape)}")
    if x.ndim < 1 or x.shape[-1] != columns:
        raise ValueError(
            f"x's last axis must be the weight's {columns} columns, got x {x.shape}, weight {weight.shape}"
        )
    if columns > MOST_COLUMNS:
        raise ValueError(f"weight must have at most {MOST_COLUMNS} columns, got {columns}")
    batch = x.shape[:-1]
    tokens = x.reshape(math.prod(batch), columns)
    y: Array = straight_through(INT8_MATMUL, implementation, config, tokens, weight)
    return y.reshape(*batch, rows)


@functools.wraps(reference)
def _reference(x: Any, weight: Int8Array | StackedMatrix) -> Any:
    return reference(x, alone(weight))


def _key(x: Any, weight: Int8Array | StackedMatrix) -> str:
    rows, columns = weight.shape
    return f"m{bucket(x.shape[0])} n{rows} k{columns} {x.dtype}"


INT8_MATMUL = Op(
    "int8_matmul",
    key=_key,
    implementations=[
        Implementation(
            "cpu",
            run=cpu,
            platforms=("cpu",),
            available=available,
            configs=CONFIGS,
            sources=(_HERE / "cpu.py", _HERE.parent / "arrays" / "stacked.py", *SOURCES),
        ),
        Implementation("reference", run=_reference, sources=_REFERENCE),
    ],
)
"""The op with its implementations, in the order in which `auto` tries them."""
