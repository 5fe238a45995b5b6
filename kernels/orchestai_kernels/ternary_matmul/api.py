"""`ternary_matmul`: the public function, and which implementation of it runs."""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from orchestai_kernels.arrays import StackedMatrix, TernaryArray, alone
from orchestai_kernels.arrays.ternary import packed_shape
from orchestai_kernels.cpu.config import CONFIGS, SOURCES, available
from orchestai_kernels.deferred import deferred
from orchestai_kernels.dispatch import ConfigSpace, Implementation, Op, bucket
from orchestai_kernels.floating import expect_floating
from orchestai_kernels.straight_through import straight_through
from orchestai_kernels.ternary_matmul.config import (
    GpuTiles,
    TpuTiles,
    gpu_candidates,
    gpu_guess,
    tpu_candidates,
    tpu_guess,
)
from orchestai_kernels.ternary_matmul.cpu import cpu
from orchestai_kernels.ternary_matmul.reference import MOST_COLUMNS, reference

_HERE = pathlib.Path(__file__).parent
_REFERENCE = (
    _HERE / "reference.py",
    *(_HERE.parent / "arrays" / name for name in ("activations.py", "magnitude.py", "stacked.py", "ternary.py")),
)
_PALLAS = (*_REFERENCE, _HERE / "packed_rows.py")


def ternary_matmul(
    x: Float[Array, "*batch columns"],
    weight: TernaryArray | StackedMatrix,
    *,
    implementation: str = "auto",
    config: Any = None,
) -> Float[Array, "*batch rows"]:
    """y = x Wᵀ with the activations quantised to int8, one scale a token, and W ternary (BitNet b1.58).

    a = max(max|x|, 1e-5) over a token's features, s = 127 / a, q = round(x · s); the sums of q · t are exact in int32,
    whichever implementation runs; y = sum / s · weight scale in float32, rounded once to x's dtype. A token with a NaN
    or an infinity gives NaN in all its outputs. Gradient: straight through to x; none to the packed weight.

    Stacked weights (leading axes) go through `jax.vmap`; in a loop over layers a `StackedMatrix` says which one, and
    the `cpu` implementation reads it where it lies. `implementation` is `auto` or a name of
    `TERNARY_MATMUL.implementations`; `config` belongs to the named one.

    Raises ValueError where the columns of x and weight differ, for an x that is not floating, for another kind of
    weight and stacked ones, for codes or a scale whose shape is not that of the matrix, and for more than 16,909,320
    columns (int32 could overflow); NotImplementedError where the named implementation cannot run.
    """
    stacked = isinstance(weight, StackedMatrix)
    stored = weight.checked().stack if stacked else weight
    if not isinstance(stored, TernaryArray):
        raise ValueError(f"weight must be ternary, got {'a stack of ' if stacked else ''}{type(stored).__name__}")
    rows, columns = weight.matrix_shape
    lead = stored.shape[:1] if stacked else ()
    expect_floating(x=x)
    if stored.batch_shape != lead:
        raise ValueError(f"weight must be one matrix, got leading axes {stored.batch_shape}: use jax.vmap over them")
    if x.ndim < 1 or x.shape[-1] != columns:
        raise ValueError(
            f"x's last axis must be the weight's {columns} columns, got x {x.shape}, weight {weight.shape}"
        )
    if columns > MOST_COLUMNS:
        raise ValueError(f"weight must have at most {MOST_COLUMNS} columns, got {columns}")
    packed, scales = (*lead, *packed_shape(rows, columns)), (*lead, *(() if stored.axis is None else (rows,)))
    if tuple(stored.codes.shape) != packed:
        raise ValueError(f"codes must be {packed} for a {rows} x {columns} matrix, got {tuple(stored.codes.shape)}")
    if tuple(stored.scale.shape) != scales:
        raise ValueError(f"scale must be {scales} with axis {stored.axis}, got {tuple(stored.scale.shape)}")
    batch = x.shape[:-1]
    tokens = x.reshape(math.prod(batch), columns)
    y: Array = straight_through(TERNARY_MATMUL, implementation, config, tokens, weight)
    return y.reshape(*batch, rows)


def _alone(run: Callable[..., Any]) -> Callable[..., Any]:
    """For implementations that take a matrix by itself."""

    @functools.wraps(run)
    def run_alone(x: Any, weight: TernaryArray | StackedMatrix, **options: Any) -> Any:
        return run(x, alone(weight), **options)

    return run_alone


def _key(x: Any, weight: TernaryArray | StackedMatrix) -> str:
    rows, columns = weight.matrix_shape
    return f"m{bucket(x.shape[0])} n{rows} k{columns} {x.dtype}"


TERNARY_MATMUL = Op(
    "ternary_matmul",
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
        Implementation(
            "pallas_gpu",
            run=_alone(deferred("orchestai_kernels.ternary_matmul.pallas_gpu", "pallas_gpu")),
            platforms=("gpu",),
            interpretable=True,
            configs=ConfigSpace(GpuTiles, heuristic=gpu_guess, candidates=gpu_candidates),
            sources=(_HERE / "pallas_gpu.py", *_PALLAS),
        ),
        Implementation(
            "pallas_tpu",
            run=_alone(deferred("orchestai_kernels.ternary_matmul.pallas_tpu", "pallas_tpu")),
            platforms=("tpu",),
            interpretable=True,
            configs=ConfigSpace(TpuTiles, heuristic=tpu_guess, candidates=tpu_candidates),
            sources=(_HERE / "pallas_tpu.py", *_PALLAS),
        ),
        Implementation("reference", run=_alone(reference), sources=_REFERENCE),
    ],
)
"""The op with its implementations, in the order in which `auto` tries them."""
