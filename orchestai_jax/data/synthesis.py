"""Synthetic planning samples over any catalog: a plan is grown, then worded from templates."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestai_jax.data.clause_wording import ClauseWriter, TemplateSplit
from orchestai_jax.data.composition import Composition, compose
from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.plan_draft import CatalogView, Draft, Upstream
from orchestai_jax.data.plan_growth import PlanGrower
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.data.templates import Templates, check_templates
from orchestai_jax.workflow.catalog import Catalog

_log = logging.getLogger(__name__)

_TRIES_A_SAMPLE = 40
_TRIES_A_SHAPE = 20
"""Attempts without success after which a shape counts as impossible for the catalog."""


class ShapeWeights(BaseModel):
    """How often each shape of plan is made, in proportion."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    node: float = Field(default=0.3, ge=0)
    """A single task."""
    chain: float = Field(default=0.4, ge=0)
    """Tasks one after the other."""
    dag: float = Field(default=0.3, ge=0)
    """Joins, fan-outs, diamonds and parallel branches."""

    @model_validator(mode="after")
    def _some(self) -> ShapeWeights:
        if self.node + self.chain + self.dag <= 0:
            raise ValueError("at least one of node, chain, dag must be above 0")
        return self


class SynthesisConfig(BaseModel):
    """What `synthesize` makes. The same config, catalog and templates give the same samples."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    n: int = Field(ge=1)
    """Number of samples, all with different instructions."""
    seed: int = Field(default=0, ge=0)
    shapes: ShapeWeights = ShapeWeights()
    max_tasks: int = Field(default=5, ge=1)
    """Most tasks of a plan."""
    template_split: TemplateSplit = "all"
    """`train` leaves every `held_out_every`-th line of each list of clauses out, `held_out` uses only these."""
    held_out_every: int = Field(default=5, ge=2)
    paraphrase: float = Field(default=0.3, ge=0, le=1)
    """Probability with which a word of a clause is replaced by one of its synonyms."""
    polite: float = Field(default=0.5, ge=0, le=1)
    """Share of imperatives put into a frame such as `could you …?`."""


def synthesize(catalog: Catalog, config: SynthesisConfig, templates: Templates | None = None) -> list[PlanningSample]:
    """Makes `config.n` samples: plans whose inputs and outputs fit by type, and an instruction for each.

    A sample carries its task types in a topological order, dependencies, `arguments` ({name: {"value": …}} or
    {name: {"task": position, "output": name}}) and `step_texts` (each task's own clause). Where the catalog has a tool
    graph, tasks follow one another along its links. A task type stands at most once in a plan. Ids are hashes of the
    instruction.

    Args:
      catalog: any catalog with at least one task type.
      config: how many, which shapes, which templates.
      templates: clauses and values for this catalog; without them they are made of ids and descriptions.

    Raises:
      DataError: the templates do not belong to the catalog, no plan of any wanted shape can be worded, or the catalog
        and templates do not give `n` different instructions.
    """
    if not catalog.task_types:
        raise DataError(f"the catalog `{catalog.name}` has no task types; nothing can be synthesised")
    table = templates or Templates()
    check_templates(table, catalog)
    view = CatalogView(catalog, table)
    writer = ClauseWriter(view, config.template_split, config.held_out_every, config.paraphrase)
    grower = PlanGrower(view, config.max_tasks)
    rng = np.random.default_rng([config.seed, 0x5EED])
    weights = {name: weight for name, weight in config.shapes if weight > 0}
    if config.max_tasks == 1:
        weights = {name: weight for name, weight in weights.items() if name == "node"} or {"node": 1.0}
    misses = dict.fromkeys(weights, 0)
    samples: dict[str, PlanningSample] = {}
    repeated = 0
    while len(samples) < config.n and weights:
        names = list(weights)
        shape = names[int(rng.choice(len(names), p=np.array(list(weights.values())) / sum(weights.values())))]
        draft = grower.grow(shape, rng)
        composition = compose(draft, writer, config.polite, rng) if draft is not None else None
        if draft is None or composition is None:
            misses[shape] += 1
            if misses[shape] >= _TRIES_A_SHAPE:
                _log.warning("catalog `%s`: no plan of shape %s can be made; left out", catalog.name, shape)
                del weights[shape]
            continue
        misses[shape] = 0
        key = " ".join(composition.instruction.casefold().split())
        if key in samples:
            repeated += 1
            if repeated > _TRIES_A_SAMPLE * config.n:
                raise DataError(
                    f"only {len(samples)} different instructions of {config.n} could be made for the catalog "
                    f"`{catalog.name}`; ask for fewer, or give more templates and values"
                )
            continue
        samples[key] = _sample(draft, composition)
    if not weights:
        raise DataError(
            f"no plan of the wanted shapes can be worded for the catalog `{catalog.name}` with templates "
            f"`{config.template_split}`: inputs need values, or templates that mention every required parameter"
        )
    return list(samples.values())


def _sample(draft: Draft, composition: Composition) -> PlanningSample:
    arguments: list[dict[str, Any]] = []
    for task, parameters in zip(draft.tasks, composition.parameters, strict=True):
        filled: dict[str, Any] = {}
        for name, fill in task.fills.items():
            if isinstance(fill, Upstream):
                filled[name] = {"task": fill.task, "output": fill.output}
            else:
                filled.update({k: {"value": v} for k, v in (fill.set or {name: fill.value}).items()})
        arguments.append({**filled, **{name: {"value": value} for name, value in parameters.items()}})
    digest = hashlib.sha256(json.dumps([composition.instruction]).encode()).hexdigest()
    return PlanningSample(
        id=f"synthetic-{digest[:16]}",
        instruction=composition.instruction,
        task_types=tuple(task.task_type.id for task in draft.tasks),
        dependencies=tuple(sorted(draft.edges)),
        step_texts=composition.step_texts,
        arguments=tuple(arguments),
    )
