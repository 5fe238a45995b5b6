"""The embedded default: a catalog of local tools, sample files for them, and the demonstration."""

from orchestai_jax.quickstart.catalog import load_embedded_catalog

__all__ = [
    "load_embedded_catalog",
]
