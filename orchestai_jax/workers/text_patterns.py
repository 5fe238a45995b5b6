"""Tools that read texts by their form: regular expressions, the words of an HTML page."""

from __future__ import annotations

import csv
import html.parser
import re
from pathlib import Path
from typing import Any

import regex

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.worker import WorkerError

MATCH_SECONDS = 10.0
"""A pattern that searches longer is stopped: some take time exponential in the length of the text."""

MAX_MATCHES = 100_000

_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figcaption", "figure", "footer", "form"}
    | {"h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table"}
    | {"tr", "ul", "title"}
)
_UNSEEN = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "object"})


def extract_matches_regex(call: ToolCall) -> dict[str, Any]:
    """A CSV of the matches: line, match, and a column for each group, under its name where it has one.

    Raises:
        WorkerError: the pattern is not valid, matches nothing, or takes too long.
    """
    text, pattern = call.text("text"), call.string("pattern")
    if not pattern:
        raise WorkerError("pattern is empty; give a regular expression such as [A-Z]{2}-\\d+")
    flags = regex.MULTILINE | (regex.IGNORECASE if call.arguments["ignore_case"] else 0)
    try:
        compiled = regex.compile(pattern, flags)
    except (regex.error, RecursionError, OverflowError) as error:
        raise WorkerError(f"pattern {pattern[:60]!r} is not a regular expression: {error}") from error
    names = {number: name for name, number in compiled.groupindex.items()}
    columns = ["line", "match", *(names.get(i, f"group_{i}") for i in range(1, compiled.groups + 1))]
    rows: list[list[Any]] = []
    line, position = 1, 0
    try:
        for match in compiled.finditer(text, timeout=MATCH_SECONDS):
            if not match[0]:
                continue  # `a*` matches the nothing between any two letters
            line, position = line + text.count("\n", position, match.start()), match.start()
            rows.append([line, match[0], *match.groups(default="")])
            if len(rows) > MAX_MATCHES:
                raise WorkerError(f"pattern {pattern[:60]!r} matches more than {MAX_MATCHES} times")
    except TimeoutError as error:
        raise WorkerError(f"pattern {pattern[:60]!r} searches longer than {MATCH_SECONDS:g} s on this text") from error
    if not rows:
        raise WorkerError(f"nothing in the text matches the pattern {pattern[:60]!r}")

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])

    return {"table": call.write(".csv", write)}


def html_to_text_parser(call: ToolCall) -> dict[str, Any]:
    """The words of an HTML page, a line a paragraph; scripts, styles and what is not seen are left out."""
    reader = _PageReader()
    reader.feed(call.text("text"))
    reader.close()
    lines = (re.sub(r"[ \t\r\f\v\n\xa0]+", " ", block).strip() for block in "".join(reader.parts).split("\0"))
    text = "\n".join(line for line in lines if line)
    if not text:
        raise WorkerError("the page has no words")
    return {"text": call.write_text(".txt", text + "\n")}


class _PageReader(html.parser.HTMLParser):
    """Collects the text; a NUL stands for the end of a block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or something that is not seen."""
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag in _BLOCKS or tag == "br":
            self.parts.append("\0")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        if self._unseen and tag == self._unseen[-1]:
            self._unseen.pop()
        elif tag in _BLOCKS:
            self.parts.append("\0")

    def handle_data(self, data: str) -> None:
        """Keep what is seen."""
        if not self._unseen:
            self.parts.append(data.replace("\0", ""))
