"""What can be looked into: arrays that hold values, not tracers."""

import jax
import numpy as np
from jax.core import Tracer


def values_of(array: object) -> np.ndarray | None:
    """The array's values as NumPy, or None while it is being traced (under jit, vmap, grad or eval_shape)."""
    if isinstance(array, (Tracer, jax.ShapeDtypeStruct)):
        return None
    return np.asarray(array)


def expect(name: str, given: object, allowed: object) -> None:
    """Raise ValueError naming both values unless they are equal."""
    if given != allowed:
        raise ValueError(f"{name} must be {allowed}, got {given}")
