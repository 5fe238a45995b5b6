"""Metrics as JSON lines: appended and flushed, cut back to the step that a run is resumed at."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Self

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Writes a work folder's metrics.

    One line: `{"step", "epoch", "split", "values", "learning_rate", "wall_s"}`; `split` is `train`, `validation` or
    `event` (whose values hold `event`, its name); `wall_s` is seconds of training, those before a resume included, and
    the only field that differs between a run and its repetition.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self._file = self.path.open("a", encoding="utf-8")

    @classmethod
    def resumed_at(cls, path: str | pathlib.Path, step: int) -> Self:
        """Open the log with the lines of later steps (and a torn last line) removed."""
        path = pathlib.Path(path)
        kept = [line for line in read_metrics(path) if line["step"] <= step] if path.exists() else []
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(_line(line) for line in kept), encoding="utf-8")
        os.replace(temporary, path)
        return cls(path)

    def write(
        self,
        *,
        step: int,
        epoch: int,
        split: str,
        values: Mapping[str, float | str],
        learning_rate: float,
        wall_s: float,
    ) -> None:
        """Append a line and flush it."""
        line = {
            "step": step,
            "epoch": epoch,
            "split": split,
            "values": dict(values),
            "learning_rate": learning_rate,
            "wall_s": round(wall_s, 3),
        }
        self._file.write(_line(line))
        self._file.flush()

    def sync(self) -> None:
        """Make sure that what is written survives a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


def read_metrics(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """Every line of a metrics file, in order; a torn last line is left out.

    Raises ValueError naming the line for a broken one before the last.
    """
    path = pathlib.Path(path)
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    read: list[dict[str, Any]] = []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            if not isinstance(line, dict) or not {"step", "epoch", "split", "values"} <= line.keys():
                raise ValueError("step, epoch, split or values missing")
        except ValueError as error:
            if number == len(lines):  # no newline after it: the process was killed while writing it
                break
            raise ValueError(f"{path}:{number}: not a line of metrics ({error})") from None
        if number < len(lines):
            read.append(line)
    return read
