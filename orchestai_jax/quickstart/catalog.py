"""The embedded catalog: `catalog.yaml` beside this file."""

from __future__ import annotations

import functools
import importlib.resources

import yaml

from orchestai_jax.workflow.catalog import Catalog


@functools.cache
def load_embedded_catalog() -> Catalog:
    """The catalog of the local tools that ships with the package (read once; the value is frozen)."""
    text = importlib.resources.files("orchestai_jax.quickstart").joinpath("catalog.yaml").read_text(encoding="utf-8")
    return Catalog.model_validate(yaml.safe_load(text))
