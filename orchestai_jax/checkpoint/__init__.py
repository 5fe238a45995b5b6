"""Checkpoints: asynchronous, atomic, versioned, with checksums; and their readers."""

from typing import TYPE_CHECKING

from orchestai_jax.checkpoint.errors import CheckpointDamagedError, CheckpointError
from orchestai_jax.checkpoint.manifest import FORMAT_VERSION
from orchestai_jax.checkpoint.reader import CHECKPOINTS, CheckpointReader, Restored, complete_steps, open_checkpoint
from orchestai_jax.lazy_names import lazy_names

if TYPE_CHECKING:
    from orchestai_jax.checkpoint.store import CheckpointStore

__all__ = [
    "CHECKPOINTS",
    "FORMAT_VERSION",
    "CheckpointDamagedError",
    "CheckpointError",
    "CheckpointReader",
    "CheckpointStore",
    "Restored",
    "complete_steps",
    "open_checkpoint",
]

__getattr__ = lazy_names(__name__, {"store": ("CheckpointStore",)})
"""It imports orbax, which reading does without."""
