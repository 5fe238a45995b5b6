"""The embedded default: a catalog of local tools, sample files for them, and the demonstration."""

from orchestai_jax.quickstart.catalog import load_embedded_catalog
from orchestai_jax.quickstart.sample_files import SAMPLE_TYPES, write_sample_files

__all__ = [
    "SAMPLE_TYPES",
    "load_embedded_catalog",
    "write_sample_files",
]
