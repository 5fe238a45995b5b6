"""What the ops ask of the types of their arguments."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def expect_floating(**arrays: Any) -> None:
    """Raise ValueError for an array of integers, truth values or complex numbers: results have the arguments' type, so
    they would be cut off. None is passed over.
    """
    for name, array in arrays.items():
        if array is not None and not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating, got {array.dtype}")
