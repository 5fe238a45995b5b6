"""The table of templates that instructions are composed from, and its YAML."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orchestai_jax.data.clause_grammar import Clause, parse_clause
from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.located_json import read_text
from orchestai_jax.workflow.catalog import Catalog, TaskType

KINDS = ("do", "short", "thing", "done", "ask", "need")
"""The kinds of clauses, see `TaskClauses`."""


def _as_lines(value: Any) -> Any:
    """A block of text is a list of its lines that are not blank."""
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


def _as_clause(value: Any) -> Any:
    return parse_clause(value) if isinstance(value, str) else value


Lines = Annotated[tuple[Annotated[Clause, BeforeValidator(_as_clause)], ...], BeforeValidator(_as_lines)]
"""Template lines: a list, or a block of text with one a line."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class TaskClauses(_Frozen):
    """How people ask for one task type. Slots name its input ports, its parameters, or entries of `Templates.values`.

    Input ports that are filled but not named in a line are listed with the first one that is: with `zip {first}` and
    three files, `zip a.png, b.csv and the chart`. `{input}` stands for the first input port.
    """

    do: Lines
    """Imperatives: `crop {image} to a square`. Needed."""
    short: Lines = ()
    """Imperatives whose object the clause before has named: `crop to a square`."""
    thing: Lines = ()
    """Noun phrases for what comes out: `a square cut-out of {image}`. Also stand inside a consumer's clause."""
    done: Lines = ()
    """What the input is to be: `cropped to a square`."""
    ask: Lines = ()
    """Questions without their mark: `what is in the middle of {image}`."""
    need: Lines = ()
    """Sentences that only imply the task, without the full stop: `{image} has too much around the subject`."""
    names: tuple[str, ...] = ()
    """What later clauses call the result: `the cut-out`. Without them: `the output of the crop image step`."""

    @pydantic.field_validator("names", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        lines = _as_lines(value)
        return [line.strip() for line in lines] if isinstance(lines, list) and isinstance(value, str) else lines


class PoolValue(_Frozen):
    """One entry of a pool: how it reads in the instruction, and what it means as arguments.

    In YAML a bare scalar is short for `{say: scalar, value: scalar}`. `set` gives several parameters at once:
    `{say: "the amount is above 100", set: {column: amount, operator: ">", value: 100}}`.
    """

    say: str
    value: Any = None
    set: dict[str, Any] | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_scalar(cls, given: Any) -> Any:
        if isinstance(given, PoolValue):
            return given
        if isinstance(given, dict):
            if ("value" in given) == ("set" in given):
                raise ValueError("give either `value` or `set` beside `say`")
            return {"say": str(given["value"]), **given} if "say" not in given and "value" in given else given
        if given is None or isinstance(given, list):
            raise ValueError("expected a scalar, or a mapping with say and value or set")
        return {"say": str(given).lower() if isinstance(given, bool) else str(given), "value": given}


class Frames(_Frozen):
    """What clauses are put into. Every list has a default; `{do}`, `{thing}`, … stand for the clause.

    Lines may hold alternatives as clauses do.
    """

    do: Lines = Field(
        default=(
            "{do}.",
            "{do}.",
            "{do}.",
            "please {do}.",
            "(can|could|would) you (please|) {do}?",
            "I (need|want|would like) you to {do}.",
            "{do}, please.",
            "(hi|hello|hey), please {do}.",
            "help me to {do}.",
            "I have to {do}.",
            "let's {do}.",
        ),
        validate_default=True,
    )
    thing: Lines = Field(
        default=(
            "I (need|want|would like|am looking for) {thing}.",
            "(give|get|make|send) me {thing}(, please|).",
            "(can|could) I (have|get) {thing}?",
            "please (prepare|create|make) {thing}.",
            "{thing}(, please|).",
        ),
        validate_default=True,
    )
    done: Lines = Field(
        default=(
            "I (need|want|would like) (to have|) {subject} {done}.",
            "{subject} (should|must|has to) be {done}.",
            "please get {subject} {done}.",
        ),
        validate_default=True,
    )
    ask: Lines = Field(default=("{ask}?",), validate_default=True)
    need: Lines = Field(default=("{need}.",), validate_default=True)
    then: tuple[str, ...] = (
        ", then ",
        " and then ",
        ", and then ",
        " and ",
        ", ",
        ". Then ",
        ". After that, ",
        ". Next, ",
        "; after that ",
        ". Afterwards ",
        ", after which please ",
        ". ",
    )
    """Between a clause and one that uses its result."""
    also: tuple[str, ...] = (
        " and ",
        ", and also ",
        ". Also, ",
        ". In addition, ",
        "; separately, ",
        ". Besides, ",
        ". Independently of that, ",
        ". ",
        ", ",
        ". And ",
    )
    """Between clauses that have nothing to do with each other."""
    finally_: tuple[str, ...] = Field(default=(". Finally, ", ", and finally ", ". Lastly, ", ", and at the end "))
    """Before the last of three or more clauses."""
    reversed: Lines = Field(
        default=(
            "{later}, but first {earlier}.",
            "{later}, but before that {earlier}.",
            "before you {later}, {earlier}.",
            "{later}. Before that, {earlier}.",
        ),
        validate_default=True,
    )
    """Two clauses, told in the other order than they are done in."""
    closers: tuple[str, ...] = (
        "Thanks!",
        "Thank you.",
        "I need it today.",
        "It is for a presentation.",
        "Many thanks.",
    )
    pronouns: dict[str, tuple[str, ...]] = Field(
        default={
            "any": ("it", "the result", "that"),
            "image": ("it", "the picture", "the image", "the result"),
            "audio": ("it", "the recording", "the audio", "the result"),
            "table": ("it", "the table", "the result"),
            "text": ("it", "the text", "the result"),
            "document": ("it", "the document", "the result"),
        }
    )
    """By data type (`any` for the others): what stands for the result of the clause just before."""
    mentions: dict[str, Lines] = Field(
        default={
            "any": ("{value}",),
            "image": ("{value}", "{value}", "the (picture|image|photo) {value}", "my (picture|photo) {value}"),
            "audio": ("{value}", "{value}", "the (recording|audio file) {value}", "my recording {value}"),
            "table": ("{value}", "{value}", "the (table|data|spreadsheet) {value}", "the table in {value}"),
            "text": ("{value}", "{value}", "the text (in|of) {value}"),
            "document": ("{value}", "the document {value}"),
        },
        validate_default=True,
    )
    """By data type (`any` for the others): how a file or other literal input is mentioned."""
    again: dict[str, tuple[str, ...]] = {}
    """By data type: what stands for a literal input that an earlier clause had too (`the same picture`); where there is
    nothing, it is named again."""


class Templates(_Frozen):
    """The templates of a catalog: clauses of each task type, pools of values, frames, synonyms.

    Example of the YAML::

        task_types:
          resize_image:
            do: |
              (resize|scale) {image} to {width} pixels
              make {image} {width} pixels wide
            short: [resize to {width} pixels]
            thing: [a {width} pixel wide version of {image}]
            names: [the resized picture]
        values:                       # by task type and slot, by slot, or by data type; the first that is there counts
          resize_image.width: [320, {say: half a thousand, value: 500}]
          filter_table.condition: [{say: amount over 100, set: {column: amount, operator: ">", value: 100}}]
          image: [photo.png, cat.jpg]
        synonyms: {picture: [photo, image]}   # of words in clauses, never in values
        frames: {closers: [Thanks!]}

    Task types of the catalog that have no entry are asked for with clauses made of their id and description.
    """

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
            for entry in pool:
                unknown = set(entry.set or ()) - parameters - {port.name for port in task_type.inputs}
                if unknown or (entry.set is None and slot not in parameters):
                    names = ", ".join(sorted(unknown)) or slot
                    raise DataError(
                        f"{place}: the value `{entry.say}` of {{{slot}}} sets {names}, which it does not have"
                    )


def _clauses(
    templates: Templates,
) -> Iterator[tuple[str, Literal["do", "short", "thing", "done", "ask", "need"], Clause]]:
    for task_type_id, clauses in templates.task_types.items():
        for kind in KINDS:
            for clause in getattr(clauses, kind):
                yield task_type_id, kind, clause
