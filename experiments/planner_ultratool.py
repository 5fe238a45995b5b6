"""UltraTool: trains the planner for several seeds, evaluates it on the test file, beside a one-vs-rest baseline.

Everything is chosen on a part of the training file that is held out by id; the test file is opened once a run and each
seed's planner is scored on it once.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import _plan_confidence
import numpy as np
from _machine import ROOT, command_line, describe_machine
from _one_vs_rest import fit_one_vs_rest
from _options import add_trainings, option_parser, settle_folders, write_result
from _plan_latency import plan_latency
from _script import run_script, wide_console
from _sentence_embedding import embed_texts
from _training_runs import (
    FEW,
    TINY_PLANNER,
    TrainedRun,
    epoch_curve,
    first_and_last,
    over_samples,
    plot_loss,
    train_or_reuse,
)
from rich.table import Table

from orchestai_jax.config import RunConfig, load_config
from orchestai_jax.data import PlanningSample, load_samples
from orchestai_jax.evaluation import (
    PlanningReport,
    PlanningScores,
    bootstrap_interval,
    evaluate_planner,
    score_plans,
)
from orchestai_jax.planner import Planner
from orchestai_jax.training.training_samples import load_training_samples

FIGURES = ("node_f1", "link_f1", "accuracy", "coverage", "dag_validity")
TARGETS = {"node_f1": 0.895, "link_f1": 0.73, "accuracy": 0.71, "coverage": 1.0, "dag_validity": 1.0}
"""What the project asks for (mean over seeds)."""

LOSS = "decision_loss"
"""Mean cross-entropy of one choice of the decomposer, nats."""

QUICK = (
    *TINY_PLANNER,
    "training.phase1_supervised.batch_size=16",
    "training.phase1_supervised.num_epochs=1",
    "training.phase1_supervised.log_every_steps=1",
)
"""A planner that trains in seconds: checks the script, its figures mean nothing."""

EXAMPLES = """examples:
  python experiments/planner_ultratool.py
  python experiments/planner_ultratool.py --seeds 0 --epochs 2 --workdir runs/try --results runs/try
  python experiments/planner_ultratool.py --seeds 0 1 2 --fresh
  python experiments/planner_ultratool.py --quick
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    overrides = [*(QUICK if options.quick else ()), *options.overrides]
    if options.epochs is not None:
        overrides.append(f"training.phase1_supervised.num_epochs={options.epochs}")
    configs = {seed: load_config(options.config, [*overrides, f"seed={seed}"]) for seed in options.seeds}
    config = configs[options.seeds[0]]
    test_file = options.test or pathlib.Path(str(config.data.train)).parent / "test.jsonl"
    loaded = load_training_samples(config)
    train, validation = list(loaded.train), list(loaded.validation)
    test_format = config.data.format
    if options.quick:
        config, configs, train, validation = shrink(configs, train, validation, options.workdir)

    runs = [
        train_or_reuse(configs[seed], options.workdir / f"seed-{seed}", fresh=options.fresh, say=console.print)
        for seed in options.seeds
    ]
    console.print("fitting the baseline (TF-IDF + frozen MiniLM, one-vs-rest logistic regression)")
    cut = 32 if options.quick else 128
    started = time.perf_counter()
    parts = (train, validation)
    embeddings = [embed_texts([s.instruction for s in p], max_tokens=cut, cache=options.workdir) for p in parts]
    baseline = fit_one_vs_rest(train, embeddings[0], validation, embeddings[1])
    fit_s = time.perf_counter() - started

    console.print(f"test: {test_file.name}, opened once")
    test = load_samples(test_file, test_format, loaded.catalog)[: 16 if options.quick else None]
    texts = [s.instruction for s in test]
    baseline_scores = score_plans(test, baseline.plan_many(texts, embed_texts(texts, max_tokens=cut)))
    reports = []
    for run in runs:
        predictions = run.workdir / "test_predictions.jsonl"
        reports.append(evaluate_planner(Planner.from_checkpoint(run.workdir), test, predictions=predictions))
    console.print("confidences on the validation part, their scaling fitted and judged on different fifths of it")
    confidences = [_plan_confidence.measure(run.workdir, validation) for run in runs]
    timed = [s.instruction for s in validation][: options.timed]
    console.print(f"timing {len(timed)} plans of validation instructions on one core, in a fresh process")
    latency = plan_latency(runs[0].workdir, timed)

    planner = planner_figures(runs, reports, test)
    result = {
        "what": "planner on UltraTool test.jsonl, trained on train.jsonl",
        "command": command_line("planner_ultratool.py", arguments),
        "quick": options.quick,
        "n": {"train": len(train), "validation": len(validation), "test": len(test)},
        "seeds": list(options.seeds),
        "planner": planner,
        "baseline": {**score_figures(baseline_scores), **baseline.settings(), "fit_s": round(fit_s, 1)},
        "gain_over_baseline": gains(reports, baseline_scores),
        "latency_one_core": latency,
        "confidence_on_validation": _plan_confidence.summary(confidences),
        "loss_per_decision": loss_per_decision(runs),
        "asked_for": {
            name: {"at_least": least, "reached": planner["mean"][name] >= least} for name, least in TARGETS.items()
        },
        "config": config.model_dump(mode="json", exclude={"system", "seed"}) | {"data": data_names(config)},
        "machine": describe_machine(),
    }
    out = write_result(options.results, "planner_ultratool", result)
    plot_loss(runs, LOSS, options.plot, "UltraTool: loss per decision", "nats")
    abstention = options.plot.with_name("planner_ultratool_confidence.png")
    _plan_confidence.plot(confidences, abstention, f"UltraTool, {len(validation)} validation samples")
    console.print(table(result))
    console.print(f"written: {out}, {options.plot}, {abstention}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES, config="planner_ultratool.yaml")
    parser.add_argument("--epochs", type=int, help="in place of the configuration's")
    add_trainings(parser)
    parser.add_argument("--test", type=pathlib.Path, help="test file (default: test.jsonl beside the training file)")
    parser.add_argument("--plot", type=pathlib.Path, help="default: docs/images/planner_ultratool_curves.png")
    parser.add_argument("--timed", type=int, default=200, help="plans timed on one core (default: 200)")
    options = settle_folders(parser.parse_args(arguments), "planner_ultratool")
    images = options.workdir if options.quick else ROOT / "docs" / "images"
    options.plot = options.plot or images / "planner_ultratool_curves.png"
    return options


def shrink(
    configs: dict[int, RunConfig],
    train: list[PlanningSample],
    validation: list[PlanningSample],
    workdir: pathlib.Path,
) -> tuple[RunConfig, dict[int, RunConfig], list[PlanningSample], list[PlanningSample]]:
    """The same configurations over a few samples, written below `workdir`."""
    train, validation = train[: FEW[0]], validation[: FEW[1]]
    configs = {s: over_samples(c, train, validation, workdir / "few") for s, c in configs.items()}
    return next(iter(configs.values())), configs, train, validation


def planner_figures(
    runs: Sequence[TrainedRun], reports: Sequence[PlanningReport], test: Sequence[PlanningSample]
) -> dict[str, Any]:
    """Each seed's figures, their mean and spread, and intervals over samples of the mean over seeds."""
    seeds = [
        {**run.as_dict(), **report.as_dict(), "curve": epoch_curve(run.workdir)}
        for run, report in zip(runs, reports, strict=True)
    ]
    by_sample = {name: np.mean([getattr(r.scores, name) for r in reports], axis=0) for name in FIGURES}
    chain = np.mean([r.chain_link_f1 for r in reports], axis=0)
    return {
        "mean": {name: float(values.mean()) for name, values in by_sample.items()},
        "std_over_seeds": {
            name: float(np.std([r.scores.means[name] for r in reports], ddof=1)) if len(reports) > 1 else None
            for name in FIGURES
        },
        "intervals": {name: list(bootstrap_interval(values)) for name, values in by_sample.items()},
        "chain_baseline_link_f1": float(chain.mean()),
        "by_number_of_tasks": by_number_of_tasks(test, by_sample),
        "training_s_mean": float(np.mean([run.training_s for run in runs])),
        "seeds": seeds,
    }


def by_number_of_tasks(test: Sequence[PlanningSample], by_sample: dict[str, np.ndarray]) -> dict[str, Any]:
    lengths = np.array([len(s.task_types) for s in test])
    return {
        str(length): {
            "n": int((lengths == length).sum()),
            **{name: float(by_sample[name][lengths == length].mean()) for name in ("node_f1", "link_f1", "accuracy")},
        }
        for length in np.unique(lengths)
    }


def score_figures(scores: PlanningScores) -> dict[str, Any]:
    return {
        "mean": scores.means,
        "intervals": {name: list(bootstrap_interval(getattr(scores, name))) for name in FIGURES},
    }


def gains(reports: Sequence[PlanningReport], baseline: PlanningScores) -> dict[str, Any]:
    """Planner (mean over seeds) minus baseline, sample by sample, with the interval of the difference."""
    found = {}
    for name in ("node_f1", "link_f1", "accuracy"):
        difference = np.mean([getattr(r.scores, name) for r in reports], axis=0) - getattr(baseline, name)
        found[name] = {"mean": float(difference.mean()), "interval": list(bootstrap_interval(difference))}
    return found


def loss_per_decision(runs: Sequence[TrainedRun]) -> list[dict[str, Any]]:
    """First and last logged loss of training and validation, and the lowest validation loss, a seed."""
    found = []
    for run in runs:
        entry: dict[str, Any] = {"seed": run.seed}
        for split in ("train", "validation"):
            values = first_and_last(run.workdir, LOSS, split)
            if values is not None:
                entry[split] = {"first": values[0], "last": values[1]}
        curve = [e["validation"][LOSS] for e in epoch_curve(run.workdir) if LOSS in e["validation"]]
        if curve:
            entry["validation"]["lowest"] = min(curve)
        found.append(entry)
    return found


def data_names(config: RunConfig) -> dict[str, Any]:
    """The data section with names of files in place of paths, which belong to one machine."""
    given = config.data.model_dump(mode="json")
    paths = ("train", "validation", "catalog", "graph")
    return {k: pathlib.PurePath(v).name if k in paths and v is not None else v for k, v in given.items()}


def table(result: dict[str, Any]) -> Table:
    """Planner and baseline side by side."""
    planner, baseline = result["planner"], result["baseline"]
    shown = Table(title=f"UltraTool, {result['n']['test']} test samples, {len(result['seeds'])} seeds")
    for name in ("", "planner", "95 %", "spread", "TF-IDF + MiniLM", "95 %", "asked for"):
        shown.add_column(name, justify="left" if not name else "right")
    for name in FIGURES:
        spread = planner["std_over_seeds"][name]
        shown.add_row(
            name.replace("_", " "),
            f"{planner['mean'][name]:.3f}",
            "{:.3f}-{:.3f}".format(*planner["intervals"][name]),
            "-" if spread is None else f"{spread:.3f}",
            f"{baseline['mean'][name]:.3f}",
            "{:.3f}-{:.3f}".format(*baseline["intervals"][name]),
            f"{TARGETS[name]:g}",
        )
    latency = result["latency_one_core"]
    shown.caption = (
        f"training {planner['training_s_mean'] / 60:.1f} min a seed on {result['machine']['cores']} cores; one plan on "
        f"one core p50 {latency['p50_ms']:.1f} ms, p95 {latency['p95_ms']:.1f} ms"
    )
    return shown


if __name__ == "__main__":
    sys.exit(run_script(main))
