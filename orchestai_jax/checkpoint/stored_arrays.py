"""Arrays of a saved state, read with TensorStore, by which orbax wrote them: orbax takes long to import and set up."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable

import numpy as np

from orchestai_jax.checkpoint.leaves import Leaf


def is_readable(state: pathlib.Path) -> bool:
    """Whether orbax wrote the state in the form that is read here: Zarr arrays in OCDBT."""
    try:
        described = json.loads((state / "_METADATA").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return described.get("use_ocdbt") is True and described.get("use_zarr3") is False


def read_arrays(state: pathlib.Path, leaves: Iterable[Leaf]) -> list[np.ndarray]:
    """The arrays of these leaves, all at once.

    Raises ValueError, as TensorStore words it, for one that is not there.
    """
    import tensorstore

    context = tensorstore.Context()
    opened = [
        tensorstore.open(
            {
                "driver": "zarr",
                "kvstore": {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}, "path": f"{name}/"},
            },
            read=True,
            open=True,
            context=context,
        )
        for name in (".".join(str(key) for _, key in leaf.path) or "value" for leaf in leaves)
    ]
    return [read.result() for read in [array.result().read() for array in opened]]
