"""How good a worker's output is, measured by the task and never by the worker's own means.

Each measure is in 0 to 1, larger is better:

- resize: PSNR to the ideal band-limited resampling, 15 dB → 0, 45 dB → 1.
- compress: geometric mean of fidelity (PSNR to the source, 20 dB → 0, 45 dB → 1) and share of the bytes saved.
- blur: PSNR to a double-precision Gaussian cut off at 6 standard deviations, 30 dB → 0, 80 dB → 1.
- denoise (pictures and recordings): share of the noise power removed, against the clean original `X` of `X_noisy`.
- palette: share of the colour variance that the palette explains.
- resample: signal-to-noise ratio to a windowed-sinc reference with a much longer filter, 0 dB → 0, 80 dB → 1.
- summarize: 1 - Jensen-Shannon divergence (base 2) of the word distributions of text and summary, which agrees with
  people's judgement of summaries better than other measures that need no model summary (Louis & Nenkova 2013).
- keywords: F1 over word stems against the keywords that a person gave, `X.keywords.txt` beside `X.txt`.
- language: 1 where it is that of the file's name (`letter.de.txt`), else 0.
- aggregate, join, describe: share of the cells that equal an independent computation's.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.language_samples import CODES
from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.paths import resolve_inside
from orchestai_jax.workers.words import content_words, stem, words_of
from orchestai_jax.workers.worker import Output, WorkerContext
from orchestai_jax.workflow.catalog import TaskType

Measure = Callable[[ToolCall, Mapping[str, Any], Path], float | None]


def measure_quality(task_type: TaskType, arguments: Mapping[str, Any], output: Output, root: Path) -> float | None:
    """Quality of one output in 0 to 1, None where it cannot be measured.

    That is so for task types without a measure, and where the reference is missing (the clean original of a noisy file,
    the keywords or the language of a text).

    Args:
        task_type: what was done.
        arguments: as the worker got them.
        output: what the worker gave.
        root: the folder that the paths are relative to.

    Raises:
        WorkerError: arguments or output name files that cannot be read.
    """
    measure = _MEASURES.get(task_type.id)
    if measure is None:
        return None
    call = ToolCall(task_type, check_arguments(task_type, arguments), WorkerContext(root, root, "quality"))
    quality = measure(call, output.values, root)
    return None if quality is None else min(1.0, max(0.0, quality))


def has_measure(task_type_id: str) -> bool:
    """Whether outputs of a task type can be measured."""
    return task_type_id in _MEASURES


def _summary(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    summary = ToolCall(call.task_type, {"text": values["text"]}, call.context).text("text")
    text, short = Counter(content_words(call.text("text"))), Counter(content_words(summary))
    if not text or not short:
        return 0.0
    divergence = 0.0
    for word in text | short:
        p, q = text[word] / text.total(), short[word] / short.total()
        middle = (p + q) / 2
        divergence += sum(0.5 * x * math.log2(x / middle) for x in (p, q) if x)
    return 1 - divergence


def _keywords(call: ToolCall, values: Mapping[str, Any], root: Path) -> float | None:
    path = call.text_file("text")
    reference = None if path is None else path.with_name(f"{path.stem}.keywords.txt")
    if reference is None or not reference.is_file():
        return None
    gold = {stem(word) for word in words_of(reference.read_text(encoding="utf-8"))}
    given = {stem(word) for word in words_of(values["keywords"])}
    return 2 * len(gold & given) / (len(gold) + len(given))


def _language(call: ToolCall, values: Mapping[str, Any], root: Path) -> float | None:
    path = call.text_file("text")
    suffixes = [] if path is None else path.suffixes
    expected = CODES.get(suffixes[-2].lstrip(".")) if len(suffixes) > 1 else None
    return None if expected is None else float(values["language"] == expected)


def _lazy(module: str, function: str) -> Measure:
    """A measure of another module, imported at its first use (it needs the tool libraries)."""

    def measure(call: ToolCall, values: Mapping[str, Any], root: Path) -> float | None:
        import importlib

        return getattr(importlib.import_module(f"orchestai_jax.workers.{module}"), function)(call, values, root)

    return measure


def _cells(expected: list[list[Any]], path: Path) -> float:
    from orchestai_jax.workers.table_rows import read_rows

    _, rows = read_rows(path)
    found = list(rows)
    cells = max(len(expected), len(found)) * max(map(len, itertools.chain(expected, found)), default=0)
    equal = sum(
        _same(a, b)
        for left, right in zip(expected, found, strict=False)
        for a, b in zip(left, right, strict=False)
    )  # fmt: skip
    return equal / cells if cells else 1.0


def _same(expected: Any, found: Any) -> bool:
    if expected is None or found is None:
        return expected is found
    try:
        return math.isclose(float(expected), float(found), rel_tol=1e-9, abs_tol=1e-9)
    except (TypeError, ValueError):
        return str(expected) == str(found)


def _aggregate(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    import numpy as np

    from orchestai_jax.workers.table_python import choose_columns
    from orchestai_jax.workers.table_rows import read_rows

    columns, rows = read_rows(call.file("table"))
    table = list(rows)
    group, column = choose_columns(call, columns, iter(table))
    keys = np.array(["" if row[columns.index(group)] is None else str(row[columns.index(group)]) for row in table])
    names, places = np.unique(keys, return_inverse=True)
    if column is None:
        results: list[Any] = np.bincount(places).tolist()
    else:
        cells = np.array([float(row[columns.index(column)] or "nan") for row in table])
        order = np.argsort(places, kind="stable")
        groups = np.split(cells[order], np.cumsum(np.bincount(places))[:-1])
        function = getattr(np, call.string("function"))
        kept = [g[~np.isnan(g)] for g in groups]
        results = [float(function(g)) if len(g) else None for g in kept]
    expected = [[str(name) or None, result] for name, result in zip(names, results, strict=True)]
    return _cells(expected, resolve_inside(root, values["table"]))


def _join(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    """Nested loops over sorted keys; independent of the engines' hash tables."""
    import bisect

    from orchestai_jax.workers.table_rows import read_rows, shared_column

    left_columns, left = read_rows(call.file("left"))
    right_columns, right = read_rows(call.file("right"))
    left_key, right_key = shared_column(left_columns, right_columns, call.string("key"))
    at, other = left_columns.index(left_key), right_columns.index(right_key)
    table = sorted((row for row in right if row[other] is not None), key=lambda row: str(row[other]))
    keys = [str(row[other]) for row in table]
    expected: list[list[Any]] = []
    for row in left:
        start, end = 0, 0
        if row[at] is not None:
            start, end = bisect.bisect_left(keys, str(row[at])), bisect.bisect_right(keys, str(row[at]))
        expected += [[*row, *match[:other], *match[other + 1 :]] for match in table[start:end]]
        if start == end and call.string("how") == "left":
            expected.append([*row, *[None] * (len(right_columns) - 1)])
    return _cells(expected, resolve_inside(root, values["table"]))


def _describe(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    import numpy as np

    from orchestai_jax.workers.table_rows import is_number, read_rows

    columns, rows = read_rows(call.file("table"))
    expected: list[list[Any]] = []
    for name, column in zip(columns, zip(*rows, strict=True), strict=True):
        present = [cell for cell in column if cell is not None]
        head = [len(present), len(column) - len(present), len(set(present))]
        if present and all(map(is_number, present)):
            x = np.array(present, dtype=np.float64)
            deviation = x.std(ddof=1) if len(x) > 1 else None
            expected.append([name, "number", *head, x.mean(), deviation, x.min(), x.max()])
        else:
            texts = sorted(str(cell).lower() if isinstance(cell, bool) else str(cell) for cell in present)
            expected.append([name, "text", *head, None, None, *((texts[0], texts[-1]) if texts else (None, None))])
    return _cells(expected, resolve_inside(root, values["table"]))


_MEASURES: dict[str, Measure] = {
    "summarize_text": _summary,
    "extract_keywords": _keywords,
    "detect_language": _language,
    "aggregate_table": _aggregate,
    "join_tables": _join,
    "describe_table": _describe,
    "resize_image": _lazy("signal_quality", "resize_quality"),
    "compress_image": _lazy("signal_quality", "compression_quality"),
    "blur_image": _lazy("signal_quality", "blur_quality"),
    "denoise_image": _lazy("signal_quality", "image_denoising_quality"),
    "extract_palette": _lazy("signal_quality", "palette_quality"),
    "resample_audio": _lazy("signal_quality", "resampling_quality"),
    "denoise_audio": _lazy("signal_quality", "audio_denoising_quality"),
}
