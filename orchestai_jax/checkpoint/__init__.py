"""Checkpoints: asynchronous, atomic, versioned, with checksums; and their readers."""

from orchestai_jax.checkpoint.errors import CheckpointDamagedError, CheckpointError
from orchestai_jax.checkpoint.manifest import FORMAT_VERSION
from orchestai_jax.checkpoint.reader import CHECKPOINTS, CheckpointReader, Restored, complete_steps, open_checkpoint
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
