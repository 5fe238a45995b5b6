"""Where arrays lie on a mesh of devices: from parameter names to logical axes to the mesh's axes, in two tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from orchestai_jax.config import MeshConfig

MESH_AXES = ("replica", "data", "tensor")

LOGICAL_TO_MESH: dict[str, tuple[str, ...] | None] = {
    "batch": ("replica", "data"),
    "heads": ("tensor",),
    "hidden": ("tensor",),
    "vocabulary": ("tensor",),
    "width": None,
    "layers": None,
}
"""The mesh axes that a logical axis is cut over; None = every device holds all of it."""

PARAMETER_AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Language models: stacked layers, weights [layers, out, in].
    (r"layers\.attention\.qkv\.weight", ("layers", "heads", "width")),
    (r"layers\.attention\.out\.weight", ("layers", "width", "heads")),
    (r"layers\.feed_forward\.gate_up\.weight", ("layers", "hidden", "width")),
    (r"layers\.feed_forward\.down\.weight", ("layers", "width", "hidden")),
    (r"embedding|head", ("vocabulary", "width")),
    # Planners: kernels [in, out].
    (r".*attention\.(query|key|value)\.kernel", ("width", "heads")),
    (r".*attention\.(query|key|value)\.bias", ("heads",)),
    (r".*attention\.out\.kernel", ("heads", "width")),
    (r".*feed_forward\.up\.kernel", ("width", "hidden")),
    (r".*feed_forward\.up\.bias", ("hidden",)),
    (r".*feed_forward\.down\.kernel", ("hidden", "width")),
)
"""Pattern of a parameter's whole dotted name to its logical axes; parameters that none matches are on every device."""


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over the first devices (all of them where there are several processes).

    Raises ValueError where there are too few, or where processes would be left without work.
    """
    found = list(jax.devices() if devices is None else devices)
    wanted = config.num_devices
    shown = f"mesh: {config.replica} × {config.data} × {config.tensor} wants {wanted} devices"
    if wanted > len(found):
        raise ValueError(f"{shown}, there are {len(found)} ({found[0].platform}); lower replica, data or tensor")
    if jax.process_count() > 1 and wanted != len(found):
        raise ValueError(f"{shown}, the {jax.process_count()} processes have {len(found)}; use all of them")
    shape = (config.replica, config.data, config.tensor)
    return Mesh(np.array(found[:wanted], dtype=object).reshape(shape), MESH_AXES)


def parameter_sharding(mesh: Mesh, name: str, shape: tuple[int, ...]) -> NamedSharding:
    """Where the parameter of a dotted name lies; an axis that cannot be cut evenly is not cut."""
    for pattern, axes in PARAMETER_AXES:
        if re.fullmatch(pattern, name) and len(axes) == len(shape):
            return NamedSharding(mesh, _spec(mesh, axes, shape))
    return replicated(mesh)


def uncut_parameters(mesh: Mesh, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Names of the parameters that the table cuts but whose sizes the mesh does not divide."""
    uncut = []
    for name, shape in shapes.items():
        axes = next((axes for p, axes in PARAMETER_AXES if re.fullmatch(p, name) and len(axes) == len(shape)), ())
        wanted = any(_parts(mesh, axis) > 1 for axis in axes)
        if wanted and parameter_sharding(mesh, name, shape).is_fully_replicated:
            uncut.append(name)
    return uncut


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec(LOGICAL_TO_MESH["batch"]))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def _spec(mesh: Mesh, axes: tuple[str, ...], shape: tuple[int, ...]) -> PartitionSpec:
    cut = [
        LOGICAL_TO_MESH[axis] if size % _parts(mesh, axis) == 0 else None
        for axis, size in zip(axes, shape, strict=True)
    ]
    return PartitionSpec(*cut)


def _parts(mesh: Mesh, axis: str) -> int:
    return int(np.prod([mesh.shape[name] for name in LOGICAL_TO_MESH[axis] or ()], dtype=int))
