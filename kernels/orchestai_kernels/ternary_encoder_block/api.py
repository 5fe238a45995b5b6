"""`ternary_encoder_block`: the public function, and which implementation of it runs."""

from __future__ import annotations

import pathlib
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orchestai_kernels.cpu.config import CONFIGS, SOURCES, available
from orchestai_kernels.dispatch import Implementation, Op, bucket
from orchestai_kernels.floating import expect_floating
from orchestai_kernels.ternary_encoder_block.cpu import accepts, cpu
from orchestai_kernels.ternary_encoder_block.reference import reference
from orchestai_kernels.ternary_encoder_block.weights import TernaryBlockWeights

_HERE = pathlib.Path(__file__).parent
_REFERENCE = (
    *(_HERE / name for name in ("reference.py", "weights.py")),
    *(_HERE.parent / "encoder_block" / name for name in ("reference.py", "weights.py")),
    _HERE.parent / "rms_norm.py",
)


def ternary_encoder_block(
    x: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    weights: TernaryBlockWeights,
    *,
    heads: int,
    epsilon: float = 1e-12,
    sub_epsilon: float = 1e-5,
    implementation: str = "auto",
    config: Any = None,
) -> Float[Array, "batch n hidden"]:
    """One post-norm block (Devlin et al. 2019) whose matrices are ternary and packed, with activations in int8, one
    scale a token, wherever they meet one (`ternary_matmul`); with BitNet's sub-norms where the weights have them.

    Attention goes to the tokens where `mask` is True. What comes out of tokens behind a sequence's last one that is
    True means nothing: `cpu` does not compute them, and leaves zeros. A token with a NaN or an infinity gives NaN.
    Differentiable as `reference` is: straight through to x.

    Raises ValueError where shapes do not fit, and for an x that is not floating; NotImplementedError where the named
    implementation cannot run.
    """
    expect_floating(x=x)
    if x.ndim != 3:
        raise ValueError(f"x must be [batch, n, hidden], got {tuple(x.shape)}")
    if tuple(mask.shape) != tuple(x.shape[:2]) or mask.dtype != jnp.bool_:
        raise ValueError(f"mask must be bool {tuple(x.shape[:2])}, got {mask.dtype} {tuple(mask.shape)}")
    if heads < 1 or x.shape[-1] % heads:
        raise ValueError(f"heads must divide x's {x.shape[-1]} columns, got {heads}")
    weights.check(x.shape[-1])
    options = {"heads": heads, "epsilon": epsilon, "sub_epsilon": sub_epsilon}
    y: Array = TERNARY_ENCODER_BLOCK(x, mask, weights, **options, implementation=implementation, config=config)
    return y


def _key(x: Any, mask: Any, weights: TernaryBlockWeights, *, heads: int, epsilon: float, sub_epsilon: float) -> str:
    batch, length, hidden = x.shape
    norms = " sub_norms" if weights.attention_sub_norm is not None else ""
    sizes = f"hidden{hidden} heads{heads} wide{weights.wide}{norms}"
    return f"batch{bucket(batch)} tokens{bucket(length)} {sizes} {x.dtype}"


TERNARY_ENCODER_BLOCK = Op(
    "ternary_encoder_block",
    key=_key,
    implementations=[
        Implementation(
            "cpu",
            run=cpu,
            platforms=("cpu",),
            available=available,
            accepts=accepts,
            configs=CONFIGS,
            sources=(_HERE / "cpu.py", *_REFERENCE, *SOURCES),
        ),
        Implementation("reference", run=reference, sources=_REFERENCE),
    ],
)
"""The op with its implementations, in the order in which `auto` tries them."""
