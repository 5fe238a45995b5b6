"""`ternary_matmul`: the public function, and which implementation of it runs."""

from __future__ import annotations

import math
import pathlib
from typing import Any

from jaxtyping import Array, Float

from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.arrays.ternary import packed_shape
from orchestai_kernels.cpu.config import CONFIGS, SOURCES, available
from orchestai_kernels.dispatch import ConfigSpace, Implementation, Op, bucket
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
from orchestai_kernels.ternary_matmul.pallas_gpu import pallas_gpu
from orchestai_kernels.ternary_matmul.pallas_tpu import pallas_tpu
from orchestai_kernels.ternary_matmul.reference import MOST_COLUMNS, reference

_HERE = pathlib.Path(__file__).parent
_REFERENCE = (_HERE / "reference.py", *(_HERE.parent / "arrays" / name for name in ("activations.py", "ternary.py")))
_PALLAS = (*_REFERENCE, _HERE / "packed_rows.py")


def ternary_matmul(
    x: Float[Array, "*batch columns"], weight: TernaryArray, *, implementation: str = "auto", config: Any = None
) -> Float[Array, "*batch rows"]:
    """y = x Wᵀ with the activations quantised to int8, one scale a token, and W ternary (BitNet b1.58).

    a = max(max|x|, 1e-5) over a token's features, s = 127 / a, q = round(x · s); the sums of q · t are exact in int32,
    whichever implementation runs; y = sum / s · weight scale in float32, rounded once to x's dtype. A token with a NaN
    or an infinity gives NaN in all its outputs. Gradient: straight through to x; none to the packed weight.

    Stacked weights (leading axes) go through `jax.vmap` or `jax.lax.scan`. `implementation` is `auto` or a name of
    `TERNARY_MATMUL.implementations`; `config` belongs to the named one.

    Raises ValueError where the columns of x and weight differ, for stacked weights, for codes or a scale whose shape is
    not that of the matrix, and for more than 16,909,320 columns (int32 could overflow); NotImplementedError where the
    named implementation cannot run.
    """
    rows, columns = weight.matrix_shape
    if weight.batch_shape:
        raise ValueError(f"weight must be one matrix, got leading axes {weight.batch_shape}: use jax.vmap over them")
    if x.ndim < 1 or x.shape[-1] != columns:
        raise ValueError(
            f"x's last axis must be the weight's {columns} columns, got x {x.shape}, weight {weight.shape}"
        )
    if columns > MOST_COLUMNS:
        raise ValueError(f"weight must have at most {MOST_COLUMNS} columns, got {columns}")
    packed, scales = packed_shape(rows, columns), () if weight.axis is None else (rows,)
    if tuple(weight.codes.shape) != packed:
        raise ValueError(f"codes must be {packed} for a {rows} x {columns} matrix, got {tuple(weight.codes.shape)}")
    if tuple(weight.scale.shape) != scales:
        raise ValueError(f"scale must be {scales} with axis {weight.axis}, got {tuple(weight.scale.shape)}")
    batch = x.shape[:-1]
    tokens = x.reshape(math.prod(batch), columns)
    y: Array = straight_through(TERNARY_MATMUL, implementation, config, tokens, weight)
    return y.reshape(*batch, rows)


def _key(x: Any, weight: TernaryArray) -> str:
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
            sources=(_HERE / "cpu.py", *SOURCES),
        ),
        Implementation(
            "pallas_gpu",
            run=pallas_gpu,
            platforms=("gpu",),
            interpretable=True,
            configs=ConfigSpace(GpuTiles, heuristic=gpu_guess, candidates=gpu_candidates),
            sources=(_HERE / "pallas_gpu.py", *_PALLAS),
        ),
        Implementation(
            "pallas_tpu",
            run=pallas_tpu,
            platforms=("tpu",),
            interpretable=True,
            configs=ConfigSpace(TpuTiles, heuristic=tpu_guess, candidates=tpu_candidates),
            sources=(_HERE / "pallas_tpu.py", *_PALLAS),
        ),
        Implementation("reference", run=reference, sources=_REFERENCE),
    ],
)
"""The op with its implementations, in the order in which `auto` tries them."""
