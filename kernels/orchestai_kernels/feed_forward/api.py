"""The `feed_forward` op: its arguments checked, and its implementations in the heuristic's order."""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from orchestai_kernels import precision, rms_norm
from orchestai_kernels.arrays import StackedMatrix, TernaryArray, is_ternary, stacked
from orchestai_kernels.deferred import deferred
from orchestai_kernels.dispatch import ConfigSpace, Implementation, Op, bucket
from orchestai_kernels.feed_forward import activations, reference, vjp
from orchestai_kernels.feed_forward import config as tiles
from orchestai_kernels.feed_forward.activations import Activation
from orchestai_kernels.floating import expect_floating


def feed_forward(
    x: Float[Array, "*batch hidden"],
    gate: Float[Array, "gate_rows hidden"] | TernaryArray | StackedMatrix,
    up: Float[Array, "features hidden"] | TernaryArray | StackedMatrix | None,
    down: Float[Array, "out features"] | TernaryArray | StackedMatrix,
    *,
    activation: Activation = "silu",
    norm: Float[Array, "features"] | None = None,
    epsilon: float = 1e-5,
    implementation: str = "auto",
    config: Any = None,
) -> Float[Array, "*batch out"]:
    """(activation(x gateᵀ) · (x upᵀ)) downᵀ, with a root-mean-square norm before `down` where `norm` is its weight.

    Weights are [rows, columns], a row for each output, as `TernaryArray`s are; all three float or all three
    ternary, alone or in stacks.
    `up=None` says that gate holds both, one below the other, gate's rows first. Activations are "silu", "gelu" (the
    tanh form) and "relu2" (max(x, 0)²). `epsilon` is added to the mean square.

    Float weights multiply in x's dtype with float32 sums, and gradients flow to everything. Ternary weights multiply by
    `ternary_matmul`, which quantises its input to int8 a token and passes gradients straight through to x.

    Raises ValueError for shapes that do not fit, naming both; NotImplementedError where the named implementation cannot
    run the call.
    """
    _check(x, gate, up, down, activation, norm)
    tokens = math.prod(x.shape[:-1])
    out = FEED_FORWARD(
        x.reshape(tokens, x.shape[-1]),
        gate,
        up,
        down,
        norm,
        activation=activation,
        epsilon=float(epsilon),
        implementation=implementation,
        config=config,
    )
    return out.reshape(*x.shape[:-1], down.shape[0])


def _check(x: Array, gate: Any, up: Any, down: Any, activation: str, norm: Array | None) -> None:
    weights = {"gate": gate, "up": up, "down": down}
    weights = {name: weight for name, weight in weights.items() if weight is not None}
    for name, weight in weights.items():
        if len(weight.shape) != 2:
            raise ValueError(f"{name} must be [rows, columns], got shape {tuple(weight.shape)}")
    kinds = {name: "ternary" if is_ternary(weight) else "float" for name, weight in weights.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(f"weights must be all float or all ternary, got {kinds}")
    expect_floating(x=x, norm=norm, **({} if is_ternary(gate) else weights))
    if x.ndim < 1:
        raise ValueError(f"x must be [*batch, hidden], got shape {tuple(x.shape)}")
    hidden = x.shape[-1]
    for name in ("gate", "up"):
        if name in weights and weights[name].shape[1] != hidden:
            given = tuple(weights[name].shape)
            raise ValueError(f"{name} must have x's {hidden} columns, got x {tuple(x.shape)} and {name} {given}")
    rows = gate.shape[0]
    if up is None and rows % 2:
        raise ValueError(f"gate must hold gate and up, an even number of rows, where up is None; got {rows}")
    if up is not None and up.shape[0] != rows:
        raise ValueError(f"up must have gate's rows, got gate {tuple(gate.shape)} and up {tuple(up.shape)}")
    features = rows // 2 if up is None else rows
    if down.shape[1] != features:
        raise ValueError(f"down must have {features} columns, a feature each, got {tuple(down.shape)}")
    if norm is not None and tuple(norm.shape) != (features,):
        raise ValueError(f"norm must be ({features},), a feature each, got {tuple(norm.shape)}")
    if activation not in typing.get_args(Activation):
        raise ValueError(f"activation is one of {', '.join(typing.get_args(Activation))}, not {activation!r}")


def _ternary_accepts(x: Any, gate: Any, *args: Any, **options: Any) -> None:
    if not is_ternary(gate):
        raise NotImplementedError("wants ternary weights, got float ones")


def _xla_accepts(x: Any, gate: Any, *args: Any, **options: Any) -> None:
    if is_ternary(gate):
        raise NotImplementedError("wants float weights, got ternary ones")


def _key(x: Any, gate: Any, up: Any, down: Any, norm: Any, *, activation: str, **options: Any) -> str:
    kind = "ternary" if is_ternary(gate) else jnp.dtype(gate.dtype).name
    features = gate.shape[0] // 2 if up is None else gate.shape[0]
    extras = [name for name, given in (("merged", up is None), ("norm", norm is not None)) if given]
    sizes = f"tokens{bucket(x.shape[0])} hidden{x.shape[1]} features{features} out{down.shape[0]}"
    return " ".join([sizes, jnp.dtype(x.dtype).name, f"weights-{kind}", activation, *extras])


def _fill(rng: np.random.Generator, x: Any, gate: Any, up: Any, down: Any, norm: Any, **options: Any) -> Any:
    """Codes of zeros and ones for ternary weights given by shape, which random bytes would not be."""

    def weight(array: Any) -> Any:
        if not isinstance(array, TernaryArray) or not isinstance(array.codes, jax.ShapeDtypeStruct):
            return array
        codes = rng.choice(np.array([0x55, 0x56, 0x59, 0x65, 0x95], np.uint8), array.codes.shape)
        return TernaryArray(
            jnp.asarray(codes), jnp.ones(array.scale.shape, jnp.float32), array.matrix_shape, array.axis
        )

    return (x, weight(gate), weight(up), weight(down), norm), options


def _prefer(target: str, x: Any, *args: Any, **options: Any) -> Sequence[str]:
    """For many tokens cuBLAS makes up for what fusing the gate saves; tuning measures both."""
    if target == "gpu" and x.shape[0] > 16:
        return ("ternary", "xla", "pallas_gpu", "pallas_tpu", "reference")
    return ("ternary", "pallas_gpu", "pallas_tpu", "xla", "reference")


_FOLDER = reference.__file__.removesuffix("reference.py")
_SHARED = (
    vjp.__file__,
    activations.__file__,
    reference.__file__,
    precision.__file__,
    rms_norm.__file__,
    stacked.__file__,
)
_PRODUCTS = precision.__file__.removesuffix("precision.py") + "tile_products.py"

FEED_FORWARD = Op(
    "feed_forward",
    key=_key,
    prefer=_prefer,
    fill=_fill,
    implementations=[
        Implementation("ternary", run=reference.feed_forward_ternary, accepts=_ternary_accepts, sources=_SHARED[1:]),
        Implementation(
            "pallas_gpu",
            run=deferred("orchestai_kernels.feed_forward.pallas_gpu", "feed_forward_pallas_gpu"),
            platforms=("gpu",),
            accepts=vjp.fused_accepts,
            configs=ConfigSpace(tiles.GpuTiles, tiles.gpu_heuristic, tiles.gpu_candidates),
            interpretable=True,
            sources=(_FOLDER + "pallas_gpu.py", _PRODUCTS, *_SHARED),
        ),
        Implementation(
            "pallas_tpu",
            run=deferred("orchestai_kernels.feed_forward.pallas_tpu", "feed_forward_pallas_tpu"),
            platforms=("tpu",),
            accepts=vjp.fused_accepts,
            configs=ConfigSpace(tiles.TpuTiles, tiles.tpu_heuristic, tiles.tpu_candidates),
            interpretable=True,
            sources=(_FOLDER + "pallas_tpu.py", _PRODUCTS, *_SHARED),
        ),
        Implementation("xla", run=reference.feed_forward_xla, accepts=_xla_accepts, sources=_SHARED[1:]),
        Implementation("reference", run=reference.feed_forward_reference, sources=_SHARED[1:]),
    ],
)
"""The op behind `feed_forward`; its arguments are those of the reference."""
