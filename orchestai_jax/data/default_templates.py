"""Clauses and values for catalogs that bring no templates: made of ids, descriptions and types."""

from __future__ import annotations

import re

from orchestai_jax.data.clause_grammar import parse_clause
from orchestai_jax.data.template_clauses import PoolValue, TaskClauses
from orchestai_jax.workflow.catalog import ANY, Parameter, TaskType, describe

_FILES: dict[str, tuple[str, ...]] = {
    "image": ("photo.png", "cat.jpg", "holiday/beach.png", "scan_01.jpg", "logo.webp", "portrait.png", "chart.jpeg"),
    "audio": ("speech.wav", "interview.mp3", "recordings/take2.wav", "song.flac", "podcast.ogg", "voice memo.wav"),
    "video": ("clip.mp4", "lecture.mov", "trailer.mkv", "holiday/surf.mp4", "webcam.webm"),
    "table": ("sales.csv", "customers.csv", "data/orders.csv", "measurements.tsv", "inventory.csv", "prices.parquet"),
    "document": ("report.html", "manual.pdf", "docs/contract.pdf", "slides.html", "paper.pdf"),
    "text": ("notes.txt", "article.txt", "docs/readme.md", "letter.txt", "minutes.md", "'The harbour was quiet.'"),
}
_FILES["file"] = tuple(name for kind in ("image", "audio", "table", "document") for name in _FILES[kind][:3])

_LITERALS: dict[str, tuple[object, ...]] = {
    **_FILES,
    "path": _FILES["file"],
    "url": ("https://example.com/page", "https://example.org/news/42", "http://example.net/files/photo.png"),
    "integer": (2, 3, 5, 7, 10, 12, 24, 50, 100, 320),
    "number": (0.5, 1, 1.5, 2, 3.5, 10, 25, 42, 99.9),
    "boolean": (True, False),
    "string": ("blue", "Berlin", "next Monday", "Anna Smith", "A-1042", "green tea", "2024-05-17", "spring campaign"),
    "array": (["red", "blue"], ["Berlin", "Paris", "Rome"], [1, 2, 3], ["first", "second"]),
}
_THIRD_PERSON = re.compile(r"(?<=[a-z])(?<!s)s$")
_IES = re.compile(r"ies$")
_DEFINITION = re.compile(r"^\S+( \S+){0,3} (is|are|was|models?) ", re.IGNORECASE)
_TOOL = re.compile(r"^(\S+ ){1,4}(tool|service|system|api|calculator|assistant)$", re.IGNORECASE)
_SIBILANT = re.compile(r"(ss|sh|ch|x|zz)es$")


def default_values(data_type: str, parameter: Parameter | None = None) -> tuple[PoolValue, ...]:
    """Values for an input port of a data type, or for a parameter: its enum, else by its type.

    Empty where nothing can be written into a sentence (JSON, objects): such an input must come from another task.
    """
    if parameter is not None and parameter.enum:
        return tuple(PoolValue(say=str(v), value=v) for v in parameter.enum if v is not None)
    values = _LITERALS.get("string" if data_type == ANY else data_type, ())
    return tuple(PoolValue(say=_say(value), value=value) for value in values)


def default_clauses(task_type: TaskType, ports: tuple[str, ...], needed: tuple[str, ...]) -> TaskClauses:
    """Clauses for a task type: its description and its id in words, with its inputs and parameters.

    `ports` names what an earlier task may fill (inputs, or parameters where there are no inputs), `needed` what an
    instruction must give. Lines come in pairs, with inputs and without, for types whose inputs are all optional.
    """
    words = _plain(describe(task_type.id, ""))
    phrase = _imperative(task_type.description) or words
    inputs = [port.name for port in task_type.inputs if port.name in ports]
    required = [name for name in inputs if name in needed] or inputs[:1]
    named = "".join(f" with {_plain(describe(slot, ''))} {{{slot}}}" for slot in needed if slot not in inputs)
    do: list[str] = []
    thing: list[str] = []
    for shown in (required, []) if required and required[0] not in needed else (required,):
        listed = " and ".join(f"{{{slot}}}" for slot in shown)
        on, of, to = (f" {word} {listed}" if listed else "" for word in ("on", "for", "using"))
        do += [
            f"{phrase}{of}{named}",
            f"(run|apply|use|do) {words}{on}{named}",
            f"{phrase}{to}{named}",
            f"(do|perform) the {words} step{of}{named}",
            f"(use|call) the {words} tool{of}{named}",
            f"take care of this{of}: {phrase}{named}",
            f"{phrase}{on}{named}",
        ]
        thing += [f"the (result|output) of {words}{of}{named}", f"what {words} gives{of}{named}"]
    return TaskClauses(do=tuple(map(parse_clause, do)), thing=tuple(map(parse_clause, thing)))


def _plain(text: str) -> str:
    """Text without the characters that mean something in a template."""
    return " ".join(re.sub(r"[(){}|]", " ", text).split())


def _imperative(description: str) -> str:
    """`Downloads an image from a given URL.` becomes `download an image from a given URL`, a definition nothing."""
    sentence = _plain(re.split(r"(?<=[.!?])\s|\n", description.strip(), maxsplit=1)[0]).rstrip(".!? ")
    head, _, rest = sentence.partition(" ")
    if not head or _DEFINITION.search(sentence):
        return ""
    if head.isalpha() and not (head.isupper() and len(head) > 1):
        head = head[0].lower() + head[1:]
        if len(head) > 3:
            head = _SIBILANT.sub(r"\1", _IES.sub("y", head))
            head = _THIRD_PERSON.sub("", head)
    phrase = f"{head} {rest}".strip()
    return f"use the {phrase}" if _TOOL.search(phrase) and not head.startswith(("use", "a", "the")) else phrase


def _say(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:-1])) + f" and {value[-1]}"
    return str(value).lower() if isinstance(value, bool) else str(value)
