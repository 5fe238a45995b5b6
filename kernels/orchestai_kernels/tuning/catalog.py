"""Every op of the package with its named shapes, and what of it runs on this machine."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping, Sequence

from orchestai_kernels import records
from orchestai_kernels.dispatch import OPS, Op, current_settings
from orchestai_kernels.shapes import NamedShape, TransformerSize

OP_NAMES = (
    "attention",
    "cached_attention",
    "encoder_block",
    "feed_forward",
    "graph_attention",
    "ternary_encoder_block",
    "ternary_matmul",
    "int8_matmul",
)
"""The packages that hold an op each, of the same name."""


def ops(names: Sequence[str] = ()) -> dict[str, Op]:
    """The ops of these names, or all. Raises ValueError for an unknown name."""
    for name in names or OP_NAMES:
        if name not in OP_NAMES:
            raise ValueError(f"op is one of {', '.join(OP_NAMES)}, not {name!r}")
        importlib.import_module(f"orchestai_kernels.{name}")
    return {name: OPS[name] for name in names or OP_NAMES}


def named_shapes(op: str, size: TransformerSize | None = None, names: Sequence[str] = ()) -> Mapping[str, NamedShape]:
    """An op's named shapes, or those of a transformer; none where it has none. `names` keeps only some.

    Raises ValueError for a name that the op does not have.
    """
    path = f"orchestai_kernels.{op}.shapes"
    if importlib.util.find_spec(path) is None:
        shapes: Mapping[str, NamedShape] = {}
    else:
        module = importlib.import_module(path)
        shapes = module.SHAPES
        if size is not None:
            shapes = module.for_transformer(size) if hasattr(module, "for_transformer") else {}
    unknown = [name for name in names if name not in shapes]
    if unknown:
        raise ValueError(f"{op} has no shape {unknown[0]!r}; it has {', '.join(shapes) or 'none'}")
    return {name: shape for name, shape in shapes.items() if not names or name in names}


@dataclasses.dataclass(frozen=True)
class Listing:
    """One implementation on this machine."""

    op: str
    """Name of the op."""
    implementation: str
    """Its name."""
    runs: bool
    """Whether it runs here."""
    why_not: str | None
    """The reason where it does not."""
    fastest: int
    """Current records of this device in which it is the fastest."""
    records: int
    """Current records of this device."""
    stale: int
    """Records of this device that are not used: measured with other kernel source."""


def listing(names: Sequence[str] = ()) -> list[Listing]:
    """What runs on this machine, op by op."""
    rows: list[Listing] = []
    folder = current_settings().records or records.PACKAGED
    for name, op in ops(names).items():
        sources = {key: implementation.source_hash() for key, implementation in op.implementations.items()}
        entries = records.read_record(records.record_path(folder, records.device_name(), name)).values()
        current = [entry for entry in entries if records.is_current(entry, sources)]
        fastest = [entry.ranked()[0].implementation for entry in current if entry.ranked()]
        rows += [
            Listing(
                name,
                implementation,
                reason is None,
                reason,
                fastest.count(implementation),
                len(current),
                len(entries) - len(current),
            )
            for implementation, reason in op.here().items()
        ]
    return rows
