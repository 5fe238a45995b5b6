"""Online learning: a planner meets tools that it has never seen, and learns them from 200 runs without forgetting.

A tenth of UltraTool's tools, by a hash of their names, are new: a planner is trained on the training samples that need
none of them, over a catalog that lacks them. Then come 200 run records that need one, and the catalog of all tools:
`orchestai train configs/planner_update.yaml --from PLANNER data.records=… data.catalog=…`, in a process of its own.
Scored before and after, over all tools: the old validation part (its tools are the old ones), and samples with a new
tool that neither training nor the records hold. Nothing of the test file is read.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from _machine import ROOT, command_line, describe_machine
from _options import add_trainings, option_parser, settle_folders, write_result
from _script import run_script, wide_console
from _training_runs import over_samples, train_or_reuse
from new_tools import share
from planner_ultratool import QUICK
from rich.table import Table

from orchestai_jax.config import load_config
from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation import PlanningScores, bootstrap_interval, evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.training.training_samples import load_training_samples
from orchestai_jax.workflow import Catalog, RunRecord, Task, TaskRun, Workflow, append_record, save_catalog

FIGURES = ("node_f1", "link_f1", "accuracy")
MOST_LOST = 0.01
"""What the old part may lose of each figure."""
MOST_SECONDS = 120.0

EXAMPLES = """examples:
  python experiments/online_learning.py
  python experiments/online_learning.py --records 50
  python experiments/online_learning.py --quick
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    overrides = [f"training.phase1_supervised.num_epochs={options.epochs}", *(QUICK if options.quick else ())]
    base = load_config(options.config, [*overrides, *options.overrides])
    samples = load_training_samples(base)
    few = (300, 60) if options.quick else (None, None)
    train, validation = list(samples.train)[: few[0]], list(samples.validation)[: few[1]]
    new = {t.id for t in samples.catalog.task_types if share(t.id, "new") < options.share_new}
    old_catalog = samples.catalog.restricted_to({t.id for t in samples.catalog.task_types} - new)
    old_train, old_validation = ([s for s in part if not s.nodes & new] for part in (train, validation))
    with_new = sorted((s for s in [*train, *validation] if s.nodes & new), key=lambda s: share(s.id, "record"))
    count = min(options.records, len(with_new) // 2)
    records, new_test = with_new[:count], with_new[count:]
    console.print(f"{len(new)} new tools; {len(records)} runs with one, {len(new_test)} more samples to score")

    folder = options.workdir
    config = over_samples(base, old_train, old_validation, folder, old_catalog)
    all_tools = folder / "all_tools.json"
    save_catalog(samples.catalog, all_tools)
    run = train_or_reuse(config, folder / "planner", fresh=options.fresh, say=console.print)

    record_file = folder / "records.jsonl"
    record_file.unlink(missing_ok=True)
    for sample in records:
        append_record(record_file, as_record(sample))
    updated = folder / "updated"
    cost = update(run.workdir, updated, record_file, all_tools)
    parts = {"old validation": old_validation, "new tools": new_test}
    found = {name: compare(run.workdir, updated, part, samples.catalog) for name, part in parts.items()}
    lost = {name: -found["old validation"]["gain"][name]["mean"] for name in FIGURES}
    result = {
        "what": "UltraTool: a planner that learns new tools from run records, before and after",
        "command": command_line("online_learning.py", arguments),
        "quick": options.quick,
        "n": {"new_task_types": len(new), "records": len(records), "trained_on_before": len(old_train)}
        | {name.replace(" ", "_"): len(part) for name, part in parts.items()},
        "scores": found,
        "update": cost,
        "asked_for": {
            "lost_at_most": {"given": MOST_LOST, "found": lost, "reached": max(lost.values()) <= MOST_LOST},
            "seconds_at_most": {
                "given": MOST_SECONDS,
                "found": cost["wall_s"],
                "reached": cost["wall_s"] < MOST_SECONDS,
            },
        },
        "training_before": run.as_dict(),
        "machine": describe_machine(),
    }
    out = write_result(options.results, "online_learning", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def as_record(sample: PlanningSample) -> RunRecord:
    """The record of a run that went as the sample's plan says."""
    into: dict[int, list[str]] = {}
    for source, target in sample.dependencies:
        into.setdefault(target, []).append(f"t{source}")
    tasks = tuple(
        Task(id=f"t{j}", task_type=t, depends_on=tuple(into.get(j, ()))) for j, t in enumerate(sample.task_types)
    )
    ran = tuple(TaskRun(task=t.id, task_type=t.task_type, status="succeeded") for t in tasks)
    workflow = Workflow(instruction=sample.instruction, tasks=tasks)
    return RunRecord(run_id=sample.id, instruction=sample.instruction, workflow=workflow, tasks=ran, status="succeeded")


def update(
    planner: pathlib.Path, workdir: pathlib.Path, records: pathlib.Path, catalog: pathlib.Path
) -> dict[str, Any]:
    """Run the command in a process of its own; its wall and processor time from start to end, and its metrics."""
    if workdir.exists():
        workdir.rename(workdir.with_name(f"{workdir.name}-{time.time_ns()}"))
    command = [
        "train",
        str(ROOT / "configs" / "planner_update.yaml"),
        "--from",
        str(planner),
        "--workdir",
        str(workdir),
    ]
    given = [f"data.records={records}", f"data.catalog={catalog}", "system.progress=none", "--json"]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", "from orchestai_jax.cli import main; main()", *command, *given],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise ValueError(f"the update failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return {"wall_s": round(wall, 1), "processor_s": round(processor, 1), "steps": told["steps"]}


def compare(
    before: pathlib.Path, after: pathlib.Path, samples: Sequence[PlanningSample], catalog: Catalog
) -> dict[str, Any]:
    """Scores before and after over the whole catalog, and the gain sample by sample with its 95 % interval."""
    scores: list[PlanningScores] = [
        evaluate_planner(Planner.from_checkpoint(folder, catalog=catalog), samples).scores for folder in (before, after)
    ]
    gain = {}
    for name in FIGURES:
        difference = np.asarray(getattr(scores[1], name), float) - getattr(scores[0], name)
        gain[name] = {"mean": float(difference.mean()), "interval": list(bootstrap_interval(difference))}
    means = [{name: float(getattr(s, name).mean()) for name in FIGURES} for s in scores]
    return {"before": means[0], "after": means[1], "gain": gain}


def table(result: dict[str, Any]) -> Table:
    """The figures as people read them."""
    shown = Table("", "figure", "before", "after", "gain, 95 %")
    for part, found in result["scores"].items():
        for name in FIGURES:
            gain = found["gain"][name]
            shown.add_row(
                part,
                name.replace("_", " "),
                f"{found['before'][name]:.3f}",
                f"{found['after'][name]:.3f}",
                f"{gain['mean']:+.3f} [{gain['interval'][0]:+.3f}, {gain['interval'][1]:+.3f}]",
            )
    cost = result["update"]
    shown.caption = (
        f"{result['n']['records']} records in {cost['wall_s']:.0f} s, {cost['processor_s']:.0f} s of processor time"
    )
    return shown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(
        __doc__, EXAMPLES, config="planner_ultratool.yaml", overrides="dotted overrides of the first training"
    )
    parser.add_argument("--records", type=int, default=200, help="run records to learn from (default: 200)")
    parser.add_argument("--share-new", type=float, default=0.1, help="share of the tools that are new (default: 0.1)")
    parser.add_argument("--epochs", type=int, default=4, help="of the first training (default: 4)")
    add_trainings(parser, seeds=False)
    return settle_folders(parser.parse_args(arguments), "online_learning")


if __name__ == "__main__":
    sys.exit(run_script(main))
