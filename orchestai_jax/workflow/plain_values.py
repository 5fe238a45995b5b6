"""Arrays, numbers of array libraries and tuples as what JSON has for them."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """`value` with arrays (of NumPy, JAX, PyTorch: whatever has `dtype` and `tolist`) and tuples as lists.

    What is none of these stays as it is: whoever writes JSON says what cannot be written.
    """
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return plain(value.tolist())
    return value
