"""Runs the plans of the held-out requests on the sample files, and prepares some of them to be shown."""

from __future__ import annotations

import asyncio
import base64
import csv
import dataclasses
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestai_jax.data import PlanningSample
from orchestai_jax.execution import RunPolicies, RunRefusedError, execute
from orchestai_jax.workers import local_workers
from orchestai_jax.workflow import Catalog, RunRecord, Value, Workflow, WorkflowError, append_record, to_svg

SHOWN_KINDS = (("image",), ("audio",), ("table", "text"))
"""One request is shown for each of these kinds of data."""

_MAX_PICTURE = 460
"""Pictures are shown at most this wide and high, in pixels."""
_MAX_AUDIO_BYTES = 400_000
_MAX_TEXT = 900
_MAX_ROWS = 6


@dataclasses.dataclass(frozen=True)
class HeldOutRun:
    """What became of one request."""

    sample: PlanningSample
    workflow: Workflow
    record: RunRecord | None
    """None where the plan was refused before anything started."""
    refused: str | None = None

    @property
    def status(self) -> str:
        """`refused`, or the record's status."""
        return self.record.status if self.record is not None else "refused"

    @property
    def plan_right(self) -> bool:
        """Whether exactly the gold task types were planned."""
        return {task.task_type for task in self.workflow.tasks} == self.sample.nodes

    @property
    def error(self) -> str | None:
        """The first cause, where the run did not succeed."""
        if self.refused is not None:
            return self.refused
        runs = self.record.tasks if self.record is not None else ()
        return next((run.error for run in runs if run.status == "failed"), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain figures for JSON."""
        return {
            "instruction": self.sample.instruction,
            "wanted": list(self.sample.task_types),
            "planned": [task.task_type for task in self.workflow.tasks],
            "plan_right": self.plan_right,
            "status": self.status,
            "seconds": self.record.duration_s if self.record is not None else 0.0,
            "error": self.error,
        }


def run_plans(
    samples: Sequence[PlanningSample],
    plans: Sequence[Workflow],
    catalog: Catalog,
    root: Path,
    records: Path,
    *,
    max_concurrency: int,
    planner_info: Mapping[str, Any],
    progress: Callable[[int, int, str], None] | None = None,
) -> list[HeldOutRun]:
    """Run each plan, one after the other, outputs under `root/outputs`; each run is appended to `records`."""
    workers = local_workers(catalog)
    runs = []
    for number, (sample, workflow) in enumerate(zip(samples, plans, strict=True)):
        if progress is not None:
            progress(number, len(samples), sample.instruction)
        try:
            record = asyncio.run(
                execute(
                    workflow,
                    catalog,
                    workers,
                    root=root,
                    output_folder=f"outputs/{number + 1:03d}",
                    max_concurrency=max_concurrency,
                    policies=RunPolicies(fallback_workers=0),  # it is the plan's own choice that is judged
                    planner_info=planner_info,
                )
            )
        except (WorkflowError, RunRefusedError) as error:
            runs.append(HeldOutRun(sample, workflow, None, " ".join(str(error).split())))
            continue
        append_record(records, record)
        runs.append(HeldOutRun(sample, workflow, record))
    return runs


def pick_shown(samples: Sequence[PlanningSample], catalog: Catalog) -> list[int]:
    """Which requests are shown: for each kind of data the one with most tasks (the first of them).

    Chosen by what was asked for, before anything is known of how it went.
    """
    shown: list[int] = []
    for kinds in SHOWN_KINDS:
        fitting = [
            i
            for i, sample in enumerate(samples)
            if i not in shown and catalog.task_type(sample.task_types[0]).inputs[0].type in kinds
        ]
        if fitting:
            shown.append(max(fitting, key=lambda i: len(samples[i].task_types)))
    return shown


def shown_run(run: HeldOutRun, catalog: Catalog, root: Path) -> dict[str, Any]:
    """Everything the report shows of a run: drawing, times, inputs and outputs, as plain JSON."""
    record = run.record
    took = {task.task: f"{task.duration_s * 1000:.0f} ms" for task in record.tasks} if record is not None else {}
    files = [
        (task.id, argument.value)
        for task in run.workflow.tasks
        for argument in task.arguments.values()
        if isinstance(argument, Value) and isinstance(argument.value, str) and (root / argument.value).is_file()
    ]
    return {
        **run.as_dict(),
        "confidence": run.workflow.confidence,
        "notes": list(run.workflow.notes),
        "svg": to_svg(run.workflow, catalog, annotations=took, caption=False),
        "workflow": run.workflow.model_dump(mode="json"),
        "tasks": [task.model_dump(mode="json", exclude={"outputs"}) for task in (record.tasks if record else ())],
        "inputs": [exhibit("", name, root) for name in dict.fromkeys(name for _, name in files)],
        "outputs": [
            exhibit(f"{task.task_type}: {name}", value, root)
            for task in (record.tasks if record is not None else ())
            for name, value in task.outputs.items()
        ],
    }


def exhibit(title: str, value: Any, root: Path) -> dict[str, Any]:
    """A value to look at: `kind` is picture, sound, table, text or file, `content` what is shown of it."""
    path = root / value if isinstance(value, str) and 0 < len(value) < 200 and "\n" not in value else None
    if path is None or not path.is_file():
        text = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)
        return {"title": title, "kind": "text", "content": _shortened(text)}
    entry = {"title": f"{title} ({path.name})" if title else path.name, "bytes": path.stat().st_size}
    suffix = path.suffix.lower()
    if suffix in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"):
        return {**entry, "kind": "picture", "content": _picture(path)}
    if suffix == ".wav" and entry["bytes"] <= _MAX_AUDIO_BYTES:
        return {**entry, "kind": "sound", "content": _data_uri("audio/wav", path.read_bytes())}
    if suffix in (".csv", ".tsv"):
        return {**entry, "kind": "table", "content": _rows(path)}
    if suffix == ".jsonl":
        return {**entry, "kind": "table", "content": _json_rows(path)}
    if suffix == ".zip":
        return {**entry, "kind": "text", "content": "\n".join(_packed(path))}
    if suffix in (".txt", ".md", ".json"):
        return {**entry, "kind": "text", "content": _shortened(path.read_text(encoding="utf-8", errors="replace"))}
    return {**entry, "kind": "file", "content": None}


def _picture(path: Path) -> str:
    """A picture as a data URI, made small; JPEG, or PNG where it has few colours or is see-through."""
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        small = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
        small.thumbnail((_MAX_PICTURE, _MAX_PICTURE))
        buffer = io.BytesIO()
        if small.mode == "RGBA" or small.getcolors(4096) is not None:
            small.save(buffer, "PNG", optimize=True)
            return _data_uri("image/png", buffer.getvalue())
        small.save(buffer, "JPEG", quality=82)
        return _data_uri("image/jpeg", buffer.getvalue())


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        return list(itertools.islice(rows, _MAX_ROWS + 1))


def _json_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in itertools.islice(file, _MAX_ROWS)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [names, *([str(row.get(name, "")) for name in names] for row in rows)]


def _packed(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [f"{entry.filename}  {entry.file_size} bytes" for entry in archive.infolist()]


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT].rstrip()} …"


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
