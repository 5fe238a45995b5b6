"""What an instruction mentions literally: quoted text, URLs, e-mail addresses, files; each with its position.

Every search is linear in the text: what was found is masked (same length), so that later searches skip it.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from typing import Any, Literal

from orchestai_jax.planner.arguments.lexicon import EXTENSION_TYPES

Kind = Literal["quoted", "passage", "url", "email", "file", "date", "number"]

MASK = "\ufffc"
"""Stands for every character of a mention that was found (U+FFFC, the object replacement character)."""

MAX_MENTIONS = 400
"""At most this many mentions of a kind are looked at, so that time stays bounded on texts made of nothing else."""

_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\"'`“”]+|\bwww\.[^\s<>\"'`“”]+", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_DATE = re.compile(
    r"(?<![\w.:/-])(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|(?:\d{1,2}(?:st|nd|rd|th)?\s)?(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r"(?:\s\d{1,2}(?:st|nd|rd|th)?(?!\d))?(?:,?\s\d{4})?)(?![\w/])"
)
_TOKEN = re.compile(r"[^\s,;|<>*?\"“”«»`\ufffc]+")
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,8})(?![A-Za-z0-9_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FOREIGN_PREFIX = re.compile(r"^.*[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af](?=[A-Za-z])")
_OUTPUT_CUE = re.compile(
    r"(?:\b(?:as|into|called|named|output|destination)|\b(?:save|write|export|store|put|output)\w*\s(?:\S+\s){0,4}(?:to|in)"
    r"|\b(?:convert|turn|transcod|encod|renam|transform|chang)\w*\s(?:\S+\s){1,6}to)\s*:?\s*(?:the\s|a\s)?(?:file\s|name\s)?$",
    re.IGNORECASE,
)
# `mix bells.wav into music.wav` reads both; `mix a.wav and b.wav into mix.wav` writes the last.
_MERGED_INTO = re.compile(
    r"\b(?:mix|blend|merg|fold|fad|lay|work|insert|past|join|put|add|splic|slip|drop|overlay|stitch)\w*\s(?:the\s)?"
    r"(?:\w+\s){0,2}['\"]?(?!\S*\sand\s)[^\s,'\"]*\.\w{1,8}['\"]?\s(?:\w+\s){0,2}into\s(?:the\s)?(?:\w+\s)?['\"]?$",
    re.IGNORECASE,
)
_PASSAGE_CUE = re.compile(
    r"\b(?:text|passage|paragraph|message|note|letter|article|sentence|this)(?:\s+(?:below|here))?\s*[:：]\s+",
    re.IGNORECASE,
)
_QUOTES = (('"', '"'), ("“", "”"), ("«", "»"), ("„", "“"), ("`", "`"), ("‘", "’"), ("'", "'"))


@dataclasses.dataclass(frozen=True, slots=True)
class Mention:
    """Something that the instruction says literally, [`start`, `end`) in characters."""

    kind: Kind
    start: int
    end: int
    text: str
    """As the instruction has it, without quotes."""
    value: Any = None
    """number: int or float in `unit`; otherwise None."""
    unit: str = ""
    """number: canonical unit (px, %, s, Hz, deg, dB, kB, factor, …), empty for a bare number."""
    role: str = ""
    """number: width, height, start, end …; file: `output` where the text says that it is to be written."""
    data_type: str = ""
    """file: the data type that its extension names."""


def mask(text: str, start: int, end: int) -> str:
    """The text with [start, end) masked."""
    return text[:start] + MASK * (end - start) + text[end:]


def _mask_all(text: str, mentions: list[Mention]) -> str:
    pieces, at = [], 0
    for mention in sorted(mentions, key=lambda m: m.start):
        if mention.start < at:
            continue
        pieces += [text[at : mention.start], MASK * (mention.end - mention.start)]
        at = mention.end
    return "".join([*pieces, text[at:]])


def file_type(name: str) -> str | None:
    """The data type that a file name's extension names, None for an unknown extension or none."""
    _, dot, extension = name.rpartition(".")
    return EXTENSION_TYPES.get(extension.lower()) if dot else None


def find_literals(text: str) -> tuple[list[Mention], str]:
    """Quoted text, URLs, addresses, files, dates and a passage after a colon; and the text with them masked."""
    quoted = _quoted(text)
    masked = _mask_all(text, quoted)
    found = list(quoted)
    patterns: tuple[tuple[Kind, re.Pattern[str]], ...] = (("url", _URL), ("email", _EMAIL))
    for kind, pattern in patterns:
        hits = []
        for match in pattern.finditer(masked):
            hit = match.group().rstrip(".,;:!?)]}'’…").split(MASK)[0]
            if hit:
                hits.append(Mention(kind, match.start(), match.start() + len(hit), hit))
        masked = _mask_all(masked, hits)
        found += hits
    files = _bare_files(masked)
    masked = _mask_all(masked, files)
    dates = [Mention("date", m.start(), m.end(), m.group()) for m in _DATE.finditer(masked)]
    masked = _mask_all(masked, dates)
    found += files + dates
    passage = _passage(masked, text, [m for m in found if m.kind == "file"])
    if passage is not None:
        found = [m for m in found if m.start < passage.start]
        found.append(passage)
        masked = mask(masked, passage.start, passage.end)
    found = [_with_role(m, text) if m.kind == "file" else m for m in found]
    return sorted(found, key=lambda m: m.start), masked


def _quoted(text: str) -> list[Mention]:
    spans: list[tuple[int, int]] = []
    for opening, closing in _QUOTES:
        single = closing in "'’"
        closers = [m.start() for m in re.finditer(re.escape(closing), text)]
        # An apostrophe inside a word neither opens nor closes; nor does the inch sign after a number open.
        closers = [i for i in closers if not (single and text[i + 1 : i + 2].isalnum())]
        breaks = [m.start() for m in re.finditer("\n", text)] if single else []
        at = 0
        for match in re.finditer(re.escape(opening), text):
            start = match.start()
            if start < at or (start > 0 and text[start - 1].isalnum() and opening != "«"):
                continue
            k = bisect.bisect_right(closers, start)
            if k == len(closers):
                break
            end = closers[k]
            line = bisect.bisect_right(breaks, start)
            if end == start + 1 or (line < len(breaks) and breaks[line] < end):
                continue
            spans.append((start, end))
            at = end + 1
    mentions: list[Mention] = []
    reached = 0
    for start, end in sorted(spans, key=lambda s: (s[0], -s[1])):
        inside = text[start + 1 : end]
        if start < reached or not inside.strip():
            continue
        reached = end + 1
        data_type = None if len(inside) > 255 or _CONTROL.search(inside) else file_type(inside.strip())
        if data_type is not None or _looks_like_path(inside):
            mentions.append(Mention("file", start, end + 1, inside.strip(), data_type=data_type or "file"))
        else:
            mentions.append(Mention("quoted", start, end + 1, inside))
    return mentions


def _looks_like_path(name: str) -> bool:
    return name.startswith(("./", "../", "~/", ".\\")) and len(name) > 2 and not _CONTROL.search(name)


def _bare_files(masked: str) -> list[Mention]:
    found: list[Mention] = []
    for token in _TOKEN.finditer(masked):
        word = token.group()[:1024]
        if "." not in word or len(found) >= MAX_MENTIONS:
            continue
        at = 0
        ends = [m for m in _EXTENSION.finditer(word) if m.group(1).lower() in EXTENSION_TYPES]
        for k, extension in enumerate(ends):
            follows = word[extension.end() : extension.end() + 1]
            # `archive.tar.gz` is one name: only the last extension ends it; `a.png/b.png` is a path.
            if follows in ("/", "\\") or (k + 1 < len(ends) and follows == "."):
                continue
            name = word[at : extension.end()]
            stripped = name.lstrip("([{<'’‘:=!¡¿")
            cut = _FOREIGN_PREFIX.match(stripped)
            if cut:
                stripped = stripped[cut.end() :]
            start = token.start() + at + len(name) - len(stripped)
            at = extension.end()
            stem = stripped.rpartition(".")[0]
            if stem and stem[-1] not in "/\\" and any(c.isalnum() for c in stem):
                data_type = EXTENSION_TYPES[extension.group(1).lower()]
                found.append(Mention("file", start, start + len(stripped), stripped, data_type=data_type))
        if not ends and _looks_like_path(word):
            name = word.rstrip(".,;:!?)]}'’")
            if len(name) > 2:
                found.append(Mention("file", token.start(), token.start() + len(name), name, data_type="file"))
    return found


def _passage(masked: str, text: str, files: list[Mention]) -> Mention | None:
    """The text after `… the following text:` where it is long enough not to be a file name or a list of options."""
    for match in _PASSAGE_CUE.finditer(masked):
        rest = text[match.end() :].strip()
        start = match.end() + (len(text[match.end() :]) - len(text[match.end() :].lstrip()))
        # `do this: resize photo.png` gives steps, not a text.
        if masked[start : start + 1] == MASK or any(m.start > start for m in files):
            return None
        if len(rest.split(None, 4)) >= 4:
            return Mention("passage", start, start + len(rest), rest)
        return None
    return None


def _with_role(mention: Mention, text: str) -> Mention:
    before = text[max(0, mention.start - 120) : mention.start]
    # Only the sentence that the file stands in can say that it is to be written.
    before = re.split(r"[.!?;\n]\s|[,\ufffc]\s", before)[-1]
    if _MERGED_INTO.search(before) and mention.data_type != "file":
        return mention
    return dataclasses.replace(mention, role="output") if _OUTPUT_CUE.search(before) else mention
