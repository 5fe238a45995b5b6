"""The closed circle: a planner trained on few instructions runs many others, and is trained again on what came of them.

1. A first planner is trained on `--initial` made-up instructions of the quickstart, worker labels by the figures that
   the catalog declares.
2. `--pool` other instructions are run on local workers and real files, several plans each, some tasks by other workers
   than the planned ones. A run is accepted when it gives the results that the instruction is after (`_goals.py`); the
   plan that the instruction was worded from is told to nobody.
3. A second planner is trained on the old instructions and on the runs that `data.learnable_runs` keeps, for as many
   steps, with worker labels by what the runs measured. With `--rounds 2` it runs the instructions that were not got
   right yet, and is trained again.
4. Another one is trained on the same runs without the verdicts: what it is worth to know only that a run went through.
5. All are scored on instructions of clauses that no training and no run had, and on the hand-written development
   requests. The differences have paired 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib.resources
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _goals import GoalCheck, runnable
from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from _training_runs import train_or_reuse
from rich.console import Console
from rich.table import Table

from orchestai_jax.config import Preference, RunConfig, parse_config
from orchestai_jax.data import PlanningSample, learnable_runs, load_samples, save_samples
from orchestai_jax.evaluation import PlanningScores, bootstrap_interval, predicted_plan, score_plans
from orchestai_jax.execution import CollectionSettings, CollectionSummary, collect
from orchestai_jax.planner import Planner
from orchestai_jax.quickstart import (
    WorkerFigures,
    WorkerOutcomes,
    best_worker,
    load_embedded_catalog,
    load_requests,
    make_training_data,
    measure_workers,
    write_sample_files,
)
from orchestai_jax.workers import local_workers
from orchestai_jax.workflow import Catalog, RunRecord, append_record, read_records, save_catalog

EXAMPLES = """examples:
  python experiments/closed_circle.py
  python experiments/closed_circle.py --pool 800 --candidates 6 --seed 1
  python experiments/closed_circle.py --quick
"""

FIGURES = ("node_f1", "link_f1", "accuracy")
"""The figures that have one value an instruction, so that differences can be paired."""

BATCH = 16


@dataclasses.dataclass(frozen=True)
class Material:
    """Everything that is fixed before the first training."""

    catalog: Catalog
    measured: WorkerOutcomes
    """What the workers really do; the truth that worker choices are scored by, never trained on."""
    initial: list[PlanningSample]
    validation: list[PlanningSample]
    pool: list[PlanningSample]
    """Instructions whose intended plans run; the plans are for the check and for counting alone."""
    tests: dict[str, list[PlanningSample]]
    check: GoalCheck


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    workdir = options.workdir.resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    material = prepare(options, workdir, console)
    result: dict[str, Any] = {
        "command": command_line("closed_circle.py", arguments),
        "machine": describe_machine(),
        "seed": options.seed,
        "settings": {k: v for k, v in vars(options).items() if k not in ("workdir", "out", "seed")},
        "instructions": {
            "initial": len(material.initial),
            "validation": len(material.validation),
            "pool": len(material.pool),
            **{name: len(samples) for name, samples in material.tests.items()},
        },
        "trainings": {},
        "rounds": [],
        "arms": {},
    }
    first = train("before", material, label(material.initial, declared(material.catalog)), options, workdir, result)
    scores = {"before": score("before", first, material, result)}
    records: list[RunRecord] = []
    planner = first
    for number in range(1, options.rounds + 1):
        path = workdir / f"records-{number}.jsonl"
        result["rounds"].append(gather(planner, open_goals(material.pool, records), material, options, path, console))
        records += read_records(path)[0]
        arm = "after" if number == options.rounds else f"round-{number}"
        planner = learn(arm, records, material, options, workdir, result, judged=True)
        scores[arm] = score(arm, planner, material, result)
    result["runs"] = len(records)
    if not options.without_unjudged:
        planner = learn("unjudged", records, material, options, workdir, result, judged=False)
        scores["unjudged"] = score("unjudged", planner, material, result)
    result["differences"] = {
        arm: {name: differences(scores["before"][name], scores[arm][name]) for name in material.tests}
        for arm in scores
        if arm != "before"
    }
    show(result, console)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(f"results in {options.out}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--initial", type=int, default=240, help="instructions that the first planner is trained on")
    parser.add_argument("--pool", type=int, default=1000, help="other instructions; those that can run are run")
    parser.add_argument("--held-out", type=int, default=250, help="instructions of clauses never trained on nor run")
    parser.add_argument("--rounds", type=int, default=2, help="turns of the circle; the last planner is the second one")
    parser.add_argument("--candidates", type=int, default=4, help="plans that are run for each instruction")
    parser.add_argument("--explore-workers", type=float, default=0.3, help="share of tasks given to other workers")
    parser.add_argument("--steps", type=int, default=300, help="training steps of each planner, about")
    parser.add_argument("--without-unjudged", action="store_true", help="leave the third planner out")
    parser.add_argument("--quick", action="store_true", help="a small version that proves nothing but that it runs")
    parser.add_argument("--workdir", type=pathlib.Path, default=ROOT / "runs" / "closed_circle")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "experiments" / "results" / "closed_circle.json")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the planner's configuration")
    options = parser.parse_intermixed_args(arguments)
    if options.quick:
        options.initial, options.pool, options.held_out, options.steps = 48, 40, 24, 6
    for name in ("initial", "pool", "held_out", "candidates", "rounds", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be at least 1")
    return options


def prepare(options: argparse.Namespace, workdir: pathlib.Path, console: Console) -> Material:
    """Files, measured workers, instructions."""
    catalog = load_embedded_catalog()
    workers = local_workers(catalog)
    files = workdir / "files"
    write_sample_files(files, options.seed)
    console.print("measuring the workers")
    measured = measure_workers(catalog, workers, files, cache=workdir / "worker_outcomes.json")
    validation = max(options.initial // 2, 20)
    data = make_training_data(
        catalog,
        measured,
        seed=options.seed,
        train=options.initial + options.pool,
        validation=validation,
        held_out=options.held_out,
    )
    plain = [dataclasses.replace(sample, step_texts=None) for sample in data.train]
    initial, pool = plain[: options.initial], plain[options.initial :]
    check = GoalCheck({s.instruction: s for s in pool}, catalog, workers, files)
    kept = runnable(pool, check)
    console.print(f"{len(kept)} of {len(pool)} instructions of the pool can run on the sample files")
    requests = load_requests(catalog, measured, "development")
    tests = {"held_out_templates": list(data.held_out_templates), "development_requests": requests}
    save_catalog(catalog, workdir / "catalog.yaml")
    return Material(catalog, measured, initial, list(data.validation), kept, tests, check)


def declared(catalog: Catalog) -> WorkerOutcomes:
    """The workers' figures as the catalog declares them: what there is before anything has run."""
    return WorkerOutcomes(
        tuple(
            WorkerFigures(t.id, w.id, w.quality, w.latency, w.cost, success_rate=1.0, tasks=0, measured=False)
            for t in catalog.task_types
            for w in catalog.workers_for(t.id)
        )
    )


def figures_of(records: Sequence[RunRecord], catalog: Catalog) -> WorkerOutcomes:
    """The workers' figures by what runs measured; the declared ones where a worker did no task of a type."""
    seen: dict[tuple[str, str], list[tuple[float | None, float, float, bool]]] = {}
    for record in records:
        for run in record.tasks:
            if run.worker is not None and run.status in ("succeeded", "failed"):
                entry = (run.quality, run.duration_s, run.cost, run.status == "succeeded")
                seen.setdefault((run.task_type, run.worker), []).append(entry)

    def learned(figures: WorkerFigures) -> WorkerFigures:
        runs = seen.get((figures.task_type, figures.worker))
        if not runs:
            return figures
        qualities = [q for q, *_ in runs if q is not None]
        return dataclasses.replace(
            figures,
            quality=statistics.fmean(qualities) if qualities else figures.quality,
            seconds=statistics.median(seconds for _, seconds, *_ in runs),
            cost=statistics.median(cost for *_, cost, _ in runs),
            success_rate=statistics.fmean(done for *_, done in runs),
            tasks=len(runs),
            measured=bool(qualities),
        )

    return WorkerOutcomes(tuple(map(learned, declared(catalog).figures)))


def label(samples: Sequence[PlanningSample], outcomes: WorkerOutcomes) -> list[PlanningSample]:
    """The samples with the best workers under their preferences, by given figures."""

    def workers(sample: PlanningSample) -> tuple[str, ...]:
        weights = sample.preference or Preference().weights
        preference = Preference(success=weights[0], cost=weights[1], latency=weights[2])
        return tuple(best_worker(outcomes, task_type, preference) for task_type in sample.task_types)

    return [dataclasses.replace(sample, workers=workers(sample), complexities=None) for sample in samples]


def open_goals(pool: Sequence[PlanningSample], records: Sequence[RunRecord]) -> list[PlanningSample]:
    """The instructions of which no run was accepted yet."""
    reached = {record.instruction for record in records if record.accepted == 1}
    return [sample for sample in pool if sample.instruction not in reached]


def learn(
    arm: str,
    records: Sequence[RunRecord],
    material: Material,
    options: argparse.Namespace,
    workdir: pathlib.Path,
    result: dict[str, Any],
    *,
    judged: bool,
) -> Planner:
    """A planner trained on the old instructions and the lessons of the runs."""
    learned = lessons(records, workdir / f"lessons-{arm}.jsonl", judged=judged)
    result["arms"][arm] = described(learned, material)
    samples = label([*material.initial, *learned], figures_of(records, material.catalog))
    return train(arm, material, samples, options, workdir, result)


def train(
    name: str,
    material: Material,
    samples: Sequence[PlanningSample],
    options: argparse.Namespace,
    workdir: pathlib.Path,
    result: dict[str, Any],
) -> Planner:
    """A planner trained on samples for about `--steps` steps; the best checkpoint by the validation part."""
    folder = workdir / name
    folder.mkdir(exist_ok=True)
    save_samples(folder / "train.jsonl", samples)
    save_samples(folder / "validation.jsonl", label(material.validation, declared(material.catalog)))
    epochs = max(1, round(options.steps * BATCH / len(samples)))
    run = train_or_reuse(config_of(folder, workdir / "catalog.yaml", options, epochs), folder / "planner")
    result["trainings"][name] = {"samples": len(samples), "epochs": epochs, **run.as_dict()}
    return Planner.from_checkpoint(folder / "planner")


def config_of(folder: pathlib.Path, catalog: pathlib.Path, options: argparse.Namespace, epochs: int) -> RunConfig:
    """The quickstart's configuration with other data, batches and epochs."""
    text = importlib.resources.files("orchestai_jax.quickstart").joinpath("planner.yaml").read_text(encoding="utf-8")
    phase = "training.phase1_supervised"
    given = [
        f"seed={options.seed}",
        f"data.train={folder / 'train.jsonl'}",
        f"data.validation={folder / 'validation.jsonl'}",
        f"data.catalog={catalog}",
        f"{phase}.batch_size={BATCH}",
        f"{phase}.num_epochs={epochs}",
        f"{phase}.complexity_loss_weight=0",
        *options.overrides,
    ]
    return parse_config(text, given, source="quickstart/planner.yaml")


def gather(
    planner: Planner,
    goals: Sequence[PlanningSample],
    material: Material,
    options: argparse.Namespace,
    records: pathlib.Path,
    console: Console,
) -> dict[str, Any]:
    """Run instructions, each under the preference that it states; what the file has records of is kept."""
    settings = CollectionSettings(
        candidates=options.candidates,
        until_accepted=True,
        explore_workers=options.explore_workers,
        seed=options.seed,
        max_concurrency=2,
    )
    groups: dict[tuple[float, float, float], list[str]] = {}
    for sample in goals:
        groups.setdefault(sample.preference or Preference().weights, []).append(sample.instruction)
    began = time.perf_counter()
    summaries: list[CollectionSummary] = []
    for weights, texts in groups.items():
        preference = Preference(success=weights[0], cost=weights[1], latency=weights[2])
        summaries.append(
            asyncio.run(
                collect(
                    texts,
                    planner,
                    material.catalog,
                    material.check.workers,
                    root=material.check.root,
                    records=records,
                    settings=settings,
                    preference=preference,
                    planner_info={"name": f"closed circle, {records.stem}", "seed": options.seed},
                    judge=material.check,
                )
            )
        )
        console.print(f"{sum(s.runs for s in summaries)} runs, {sum(s.accepted for s in summaries)} accepted")
    counts = ("already_recorded", "runs", "succeeded", "partial", "failed", "refused", "judged", "accepted")
    return {name: sum(getattr(s, name) for s in summaries) for name in counts} | {
        "instructions": len(goals),
        "seconds": time.perf_counter() - began,
    }


def lessons(records: Sequence[RunRecord], path: pathlib.Path, *, judged: bool) -> list[PlanningSample]:
    """What `data prepare` makes of the records, with the verdicts or without."""
    path.unlink(missing_ok=True)
    for record in records:
        append_record(path, record if judged else record.model_copy(update={"accepted": None}), fsync=False)
    return learnable_runs(load_samples(path, "records"))


def described(learned: Sequence[PlanningSample], material: Material) -> dict[str, Any]:
    """How many lessons there are, and how many hold the plan that the instruction was worded from."""
    right = [s.nodes == material.check.goals[s.instruction].nodes for s in learned]
    return {"lessons": len(learned), "share_with_the_intended_tasks": statistics.fmean(right) if right else None}


def score(name: str, planner: Planner, material: Material, result: dict[str, Any]) -> dict[str, PlanningScores]:
    """Scores on every test set; the planner is told no preference, it has to find it in the words."""
    found = {}
    choices = material.catalog.choices
    for test, samples in material.tests.items():
        plans = planner.plan_many([sample.instruction for sample in samples])
        found[test] = score_plans(samples, [predicted_plan(p, material.catalog) for p in plans], choices)
        result.setdefault("scores", {}).setdefault(name, {})[test] = found[test].as_dict()
    return found


def differences(before: PlanningScores, after: PlanningScores) -> dict[str, Any]:
    """After minus before, with a paired 95 % bootstrap interval over the instructions."""
    found = {}
    for name in FIGURES:
        gains = getattr(after, name) - getattr(before, name)
        low, high = bootstrap_interval(gains)
        found[name] = {"mean": float(np.mean(gains)), "interval": [low, high], "beyond": low > 0}
    return found


def show(result: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"closed circle: {result['runs']} runs", title_justify="left")
    for column in ("test set", "figure", "before", "after", "gain", "95 % interval"):
        table.add_column(column)
    for arm, tests in result["differences"].items():
        for test, figures in tests.items():
            for name, gain in figures.items():
                low, high = gain["interval"]
                values = [result["scores"][which][test][name] for which in ("before", arm)]
                cells = [f"{value:.3f}" for value in (*values, gain["mean"])]
                table.add_row(f"{test} ({arm})", name, *cells, f"[{low:.3f}, {high:.3f}]")
    console.print(table)


if __name__ == "__main__":
    sys.exit(run_script(main))
