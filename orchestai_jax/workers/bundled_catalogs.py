"""Catalogs that ship beside the quickstart's own: more local tools, and the tasks of models."""

from __future__ import annotations

import functools
import importlib.resources
from typing import Literal, get_args

import yaml

from orchestai_jax.workflow.catalog import Catalog

BundledCatalog = Literal["extended_tools", "model_tasks"]
BUNDLED_CATALOGS: tuple[BundledCatalog, ...] = get_args(BundledCatalog)


@functools.cache
def load_bundled_catalog(name: BundledCatalog) -> Catalog:
    """A catalog of this room (read once; the value is frozen).

    Args:
        name: `extended_tools`: local tools with their workers; `model_tasks`: task types of language, picture and
            audio models, without workers, which discovery adds.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in BUNDLED_CATALOGS:
        raise ValueError(f"there is no bundled catalog {name!r}; there are {', '.join(BUNDLED_CATALOGS)}")
    folder = importlib.resources.files("orchestai_jax.workers").joinpath("catalogs")
    return Catalog.model_validate(yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")))
