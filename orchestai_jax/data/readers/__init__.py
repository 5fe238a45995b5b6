"""Readers of planning samples, one file a format."""

from orchestai_jax.data.readers.formats import FORMATS, load_samples
from orchestai_jax.data.readers.planning import sample_to_json, save_samples

__all__ = [
    "FORMATS",
    "load_samples",
    "sample_to_json",
    "save_samples",
]
