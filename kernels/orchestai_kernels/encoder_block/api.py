"""`encoder_block`: the public function, and which implementation of it runs."""

from __future__ import annotations

import pathlib
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orchestai_kernels.cpu.config import CONFIGS, SOURCES, available
from orchestai_kernels.dispatch import Implementation, Op, bucket
from orchestai_kernels.encoder_block.cpu import accepts, cpu
from orchestai_kernels.encoder_block.reference import reference
from orchestai_kernels.encoder_block.weights import BlockWeights
from orchestai_kernels.floating import expect_floating

_HERE = pathlib.Path(__file__).parent
_REFERENCE = (_HERE / "reference.py", _HERE / "weights.py")


def encoder_block(
    x: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    weights: BlockWeights,
    *,
    heads: int,
    epsilon: float = 1e-12,
    implementation: str = "auto",
    config: Any = None,
) -> Float[Array, "batch n hidden"]:
    """One post-norm block (Devlin et al. 2019): x = norm(x + attention(x)), then norm(x + feed_forward(x)).

    Attention goes to the tokens where `mask` is True. What comes out of tokens behind a sequence's last one that is
    True means nothing: `cpu` does not compute them, and leaves zeros. Differentiable in x and the weights.

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
    y: Array = ENCODER_BLOCK(
        x, mask, weights, heads=heads, epsilon=epsilon, implementation=implementation, config=config
    )
    return y


def _key(x: Any, mask: Any, weights: BlockWeights, *, heads: int, epsilon: float) -> str:
    batch, length, hidden = x.shape
    sizes = f"hidden{hidden} heads{heads} wide{weights.up.kernel.shape[-1]}"
    return f"batch{bucket(batch)} tokens{bucket(length)} {sizes} {x.dtype}"


ENCODER_BLOCK = Op(
    "encoder_block",
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
