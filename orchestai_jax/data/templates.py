"""The table of templates that instructions are composed from, and its YAML."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict

from orchestai_jax.data.clause_grammar import Clause
from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.default_templates import default_values
from orchestai_jax.data.located_json import read_text
from orchestai_jax.data.template_clauses import KINDS, PoolValue, TaskClauses
from orchestai_jax.data.template_frames import Frames
from orchestai_jax.workflow.catalog import Catalog, TaskType


class Templates(BaseModel):
    """The templates of a catalog: clauses of each task type, pools of values, frames, synonyms.

    Example of the YAML::

        task_types:
          resize_image:
            do: |
              (resize|scale) {image} to {width} pixels
              make {image} {width} pixels wide
            short: ["resize to {width} pixels"]
            thing: ["a {width} pixel wide version of {image}"]
            names: [the resized picture]
        values:                       # by task type and slot, by slot, or by data type; the first that is there counts
          resize_image.width: [320, {say: half a thousand, value: 500}]
          filter_table.condition: [{say: amount over 100, set: {column: amount, operator: ">", value: 100}}]
          image: [photo.png, cat.jpg]
        synonyms: {picture: [photo, image]}   # of words in clauses, never in values
        frames: {closers: [Thanks!]}

    Task types of the catalog that have no entry are asked for with clauses made of their id and description.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, arbitrary_types_allowed=True)

    task_types: dict[str, TaskClauses] = {}
    values: dict[str, tuple[PoolValue, ...]] = {}
    synonyms: dict[str, tuple[str, ...]] = {}
    frames: Frames = Frames()

    def pool(self, task_type: TaskType, slot: str) -> tuple[PoolValue, ...]:
        """The values for a slot of a task type that is no input port, from the most to the least specific key."""
        return self.values.get(f"{task_type.id}.{slot}") or self.values.get(slot) or ()


def load_templates(path: str | os.PathLike[str]) -> Templates:
    """Reads a template table from YAML.

    Raises:
      DataError: the file cannot be read, is not YAML, or does not follow the schema (the field is named).
    """
    text = read_text(path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise DataError(f"{place}: is not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a mapping with task_types and values, got {type(content).__name__}")
    return parse_templates(content, str(path))


def parse_templates(content: Mapping[str, Any], name: str = "templates") -> Templates:
    """Makes a template table of plain data, as YAML gives it; `name` stands before the errors.

    Raises:
      DataError: it does not follow the schema (the field is named).
    """
    try:
        return Templates.model_validate(dict(content))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise DataError(f"{name}: field `{field}`: {message}{more}") from None


def check_templates(templates: Templates, catalog: Catalog) -> None:
    """Refuses templates that do not belong to the catalog.

    Raises:
      DataError: a task type that the catalog lacks, a slot that is neither port nor parameter nor pool, a parameter
        slot without values, or a pool that sets a parameter that its task type lacks.
    """
    for task_type_id, kind, clause in _clauses(templates):
        if task_type_id not in catalog.index:
            raise DataError(f"templates: task type `{task_type_id}` is not in the catalog `{catalog.name}`")
        task_type = catalog.task_type(task_type_id)
        known = {port.name for port in task_type.inputs} | {"input"}
        parameters = {parameter.name for parameter in task_type.parameters}
        for slot in sorted(clause.slots() - known):
            pool = templates.pool(task_type, slot)
            place = f"templates: {task_type_id}.{kind}: `{clause.source}`"
            if not pool and slot not in parameters:
                fillable = ", ".join(sorted(known | parameters))
                raise DataError(f"{place}: slot {{{slot}}} is no input or parameter ({fillable}) and has no `values`")
            parameter = next((p for p in task_type.parameters if p.name == slot), None)
            if not pool and parameter is not None and not default_values(parameter.type, parameter):
                raise DataError(f"{place}: slot {{{slot}}} of type {parameter.type} needs entries under `values`")
            for entry in pool:
                unknown = set(entry.set or ()) - parameters - {port.name for port in task_type.inputs}
                if unknown or (entry.set is None and slot not in parameters):
                    names = ", ".join(sorted(unknown)) or slot
                    raise DataError(
                        f"{place}: the value `{entry.say}` of {{{slot}}} sets {names}, which it does not have"
                    )


def _clauses(templates: Templates) -> Iterator[tuple[str, str, Clause]]:
    for task_type_id, clauses in templates.task_types.items():
        for kind in KINDS:
            for clause in getattr(clauses, kind):
                yield task_type_id, kind, clause
