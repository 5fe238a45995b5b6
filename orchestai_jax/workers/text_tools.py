"""Tools on plain text: statistics, word counts, contacts, replacing, comparing."""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from pathlib import Path
from typing import Any

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.words import ENGLISH_STOP_WORDS, paragraphs_of, sentences_of, words_of
from orchestai_jax.workers.worker import WorkerError

WORDS_PER_MINUTE = 238
"""Mean silent reading speed of English non-fiction (Brysbaert 2019)."""

_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'()\[\]{}]+[^\s<>\"'()\[\]{}.,;:!?]", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_PHONE = re.compile(r"(?<![\w.+/-])\+?(?:\(\d{1,5}\)|\d{1,5})(?:[ ./-]?(?:\(\d{1,5}\)|\d{1,5})){1,7}(?![\w/-])(?!\.\d)")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")


def text_statistics_counter(call: ToolCall) -> dict[str, Any]:
    """Counts, reading time, and the Flesch reading ease (Flesch 1948; meant for English)."""
    text = call.text("text")
    words, sentences = words_of(text), sentences_of(text)
    if not words or not sentences:
        raise WorkerError("the text has no words")
    syllables = sum(_syllables(word) for word in words)
    ease = 206.835 - 1.015 * len(words) / len(sentences) - 84.6 * syllables / len(words)
    return {
        "statistics": {
            "characters": len(text),
            "words": len(words),
            "distinct_words": len(set(words)),
            "sentences": len(sentences),
            "paragraphs": len(paragraphs_of(text)),
            "words_per_sentence": round(len(words) / len(sentences), 2),
            "reading_minutes": round(len(words) / WORDS_PER_MINUTE, 2),
            "reading_ease": round(ease, 1),
        }
    }


def word_frequencies_counter(call: ToolCall) -> dict[str, Any]:
    """A CSV of the most frequent words that are no stop words."""
    words = [w for w in words_of(call.text("text")) if w not in ENGLISH_STOP_WORDS and len(w) > 1]
    if not words:
        raise WorkerError("the text has no words to count")
    counts = Counter(words)
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: call.integer("count", 1, 100_000)]

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("word", "count"), *rows])

    return {"table": call.write(".csv", write)}


def extract_contacts_patterns(call: ToolCall) -> dict[str, Any]:
    """E-mail addresses, phone numbers and links, each once, in order."""
    found: dict[str, list[str]] = {"emails": [], "phones": [], "urls": []}
    for kind, _, _, value in find_contacts(call.text("text")):
        if value not in found[kind]:
            found[kind].append(value)
    return {"contacts": found}


def redact_text_patterns(call: ToolCall) -> dict[str, Any]:
    """The text with every contact replaced."""
    text, replacement = call.text("text"), call.string("replacement")
    parts: list[str] = []
    position = 0
    for _, start, end, _ in find_contacts(text):
        parts += [text[position:start], replacement]
        position = end
    return {"text": call.write_text(_suffix(call, "text"), "".join(parts) + text[position:])}


def replace_text_literal(call: ToolCall) -> dict[str, Any]:
    """The text with a phrase replaced wherever it occurs.

    Raises:
        WorkerError: the phrase is empty or does not occur (a copy without any change would look like success).
    """
    text, find = call.text("text"), call.string("find")
    if not find:
        raise WorkerError("find is empty; give the word or phrase to replace")
    if find not in text:
        raise WorkerError(f"{find[:60]!r} does not occur in the text")
    return {"text": call.write_text(_suffix(call, "text"), text.replace(find, call.string("replacement")))}


def compare_texts_difflib(call: ToolCall) -> dict[str, Any]:
    """A unified diff; where the texts are equal it says so."""
    first, second = call.text("first").splitlines(), call.text("second").splitlines()
    if len(first) + len(second) > 40_000:
        raise WorkerError(f"the texts have {len(first) + len(second)} lines together; at most 40000 can be compared")
    lines = list(difflib.unified_diff(first, second, "first", "second", lineterm=""))
    return {"text": call.write_text(".txt", "\n".join(lines or ["The texts are equal."]) + "\n")}


def find_contacts(text: str) -> list[tuple[str, int, int, str]]:
    """Every (kind, start, end, value) in order, without overlaps; kinds are emails, phones and urls.

    A run of digits counts as a phone number with 7 to 15 digits (ITU-T E.164), unless it is a date.
    """
    found = [("urls", m.start(), m.end(), m[0]) for m in _URL.finditer(text)]
    found += [("emails", m.start(), m.end(), m[0]) for m in _EMAIL.finditer(text)]
    for match in _PHONE.finditer(text):
        digits = sum(c.isdigit() for c in match[0])
        separated = match[0].startswith("+") or not match[0].isdigit()
        if 7 <= digits <= 15 and separated and not _DATE.match(match[0]):
            found.append(("phones", match.start(), match.end(), match[0]))
    kept: list[tuple[str, int, int, str]] = []
    for item in sorted(found, key=lambda f: (f[1], -f[2])):
        if not kept or item[1] >= kept[-1][2]:
            kept.append(item)
    return kept


def _syllables(word: str) -> int:
    groups = len(re.findall(r"[aeiouyäöüáéíóúàèìòùâêîôûåæø]+", word))
    if word.endswith("e") and not word.endswith("le") and groups > 1:
        groups -= 1
    return max(1, groups)


def _suffix(call: ToolCall, name: str) -> str:
    path = call.text_file(name)
    return path.suffix.lower() if path is not None and path.suffix else ".txt"
