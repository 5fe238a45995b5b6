"""Edges on Seal-Tools and NESTFUL: the graph generator over the gold tasks, and whole plans, beside the chain baseline.

Seal-Tools: trained on dev.jsonl, tested on test_in_domain.jsonl, over their catalog of 4,076 APIs. NESTFUL: trained on
glaive without a hash split, tested on that split and on sgd, whose APIs never occur in training.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from _machine import command_line, describe_machine
from _options import add_data, add_trainings, option_parser, settle_folders, write_result
from _script import run_script, wide_console
from _training_runs import TrainedRun, train_or_reuse
from rich.console import Console
from rich.table import Table

from orchestai_jax.config import load_config
from orchestai_jax.data import PlanningSample, load_samples, save_samples, split_by_hash
from orchestai_jax.evaluation import (
    GraphPlanner,
    PlansInstructions,
    evaluate_planner,
    report_edges,
)
from orchestai_jax.planner import Planner
from orchestai_jax.workflow import Catalog, Port, TaskType, load_catalog, save_catalog

HELD_OUT = 0.25
"""Share of NESTFUL's glaive that is a test set."""

SETTINGS = {
    "sealtools": ("training.phase1_supervised.num_epochs=8",),
    "nestful": ("training.phase1_supervised.num_epochs=20", "training.phase1_supervised.batch_size=16"),
}
"""Small data: more passes than UltraTool's configuration has."""

EXAMPLES = """examples:
  python experiments/edges.py
  python experiments/edges.py --only nestful --seeds 0 training.phase1_supervised.num_epochs=30
  python experiments/edges.py --quick
"""


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Samples that no training sees, and the catalog that their task types are from."""

    name: str
    samples: list[PlanningSample]
    catalog: Catalog


@dataclasses.dataclass(frozen=True)
class EdgeData:
    """One source: what is trained on, over which catalog, and what is tested on."""

    name: str
    train: list[PlanningSample]
    catalog: Catalog
    tests: tuple[TestSet, ...]


class Plans(GraphPlanner, PlansInstructions, Protocol):
    """A planner as this script uses it."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    result: dict[str, Any] = {
        "what": "edges over gold tasks and of whole plans, beside the chain of the tasks",
        "command": command_line("edges.py", arguments),
        "quick": options.quick,
        "seeds": list(options.seeds),
        "sets": {},
        "machine": describe_machine(),
    }
    readers = {"sealtools": read_sealtools, "nestful": read_nestful}
    for name in [options.only] if options.only else readers:
        data = readers[name](options.data)
        if options.quick:
            data = shrink(data)
        result["sets"][name] = run(data, options, console)
    out = write_result(options.results, "edges", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES, config="planner_ultratool.yaml")
    parser.add_argument("--only", choices=["sealtools", "nestful"], help="one of the two (default: both)")
    add_trainings(parser)
    add_data(parser)
    return settle_folders(parser.parse_args(arguments), "edges")


def read_sealtools(folder: pathlib.Path) -> EdgeData:
    """Trained over the APIs of dev.jsonl alone, tested over all of the catalog."""
    catalog = load_catalog(folder / "sealtools" / "tool.jsonl", format="sealtools")
    train = load_samples(folder / "sealtools" / "dev.jsonl", "sealtools", catalog)
    test = load_samples(folder / "sealtools" / "test_in_domain.jsonl", "sealtools", catalog)
    return EdgeData("sealtools", train, only_used(catalog, train), (TestSet("test_in_domain", test, catalog),))


def read_nestful(folder: pathlib.Path) -> EdgeData:
    """Trained on glaive minus a hash split. The published specs lack some of the APIs that the samples call."""
    loaded = {}
    for name in ("glaive", "sgd"):
        samples = load_samples(folder / "nestful" / f"{name}-data.json", "nestful")
        spec = load_catalog(folder / "nestful" / f"{name}-spec.json", format="nestful")
        loaded[name] = samples, with_undeclared(spec, samples)
    (glaive, catalog), (sgd, other) = loaded["glaive"], loaded["sgd"]
    train, held_out = split_by_hash(glaive, HELD_OUT, salt="nestful-test")
    tests = (TestSet("glaive_held_out", held_out, catalog), TestSet("sgd", sgd, other))
    return EdgeData("nestful", train, catalog, tests)


def with_undeclared(catalog: Catalog, samples: Sequence[PlanningSample]) -> Catalog:
    """The catalog and, known by name alone, each task type of the samples that it does not declare."""
    names = dict.fromkeys(t for s in samples for t in s.task_types if t not in catalog.index)
    anything = (Port(name="input", required=False),)
    undeclared = tuple(TaskType(id=name, inputs=anything) for name in names)
    return Catalog(name=catalog.name, task_types=(*catalog.task_types, *undeclared), links=catalog.links)


def only_used(catalog: Catalog, samples: Sequence[PlanningSample]) -> Catalog:
    """The part of a catalog whose task types occur in the samples."""
    return catalog.restricted_to({t for s in samples for t in s.task_types})


def shrink(data: EdgeData) -> EdgeData:
    """A few samples over their own catalogs."""
    train = data.train[:: max(1, len(data.train) // 48)][:48]
    tests = []
    for test in data.tests:
        samples = test.samples[:: max(1, len(test.samples) // 12)][:12]
        tests.append(TestSet(test.name, samples, only_used(test.catalog, samples)))
    return EdgeData(data.name, train, only_used(data.catalog, train), tuple(tests))


def run(data: EdgeData, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Train every seed and test each on every test set."""
    folder = options.workdir / data.name
    folder.mkdir(parents=True, exist_ok=True)
    save_samples(folder / "train.jsonl", data.train)
    save_catalog(data.catalog, folder / "catalog.yaml")
    longest = max(len(s.task_types) for s in (*data.train, *(s for t in data.tests for s in t.samples)))
    overrides = [
        f"name=edges_{data.name}",
        f"data.train={json.dumps(str(folder / 'train.jsonl'))}",
        "data.format=planning",
        f"data.catalog={json.dumps(str(folder / 'catalog.yaml'))}",
        "data.graph=null",
        "data.validation=null",
        f"planner.decomposer.max_tasks={longest}",
        *SETTINGS[data.name],
        *(quick_overrides() if options.quick else ()),
        *options.overrides,
    ]
    runs, by_test = [], {test.name: [] for test in data.tests}
    for seed in options.seeds:
        config = load_config(options.config, [*overrides, f"seed={seed}"])
        console.print(f"{data.name}: {len(data.train)} training samples, {len(data.catalog.task_types)} task types")
        trained = train_or_reuse(config, folder / f"seed-{seed}", fresh=options.fresh, say=console.print)
        runs.append(trained)
        planner = Planner.from_checkpoint(trained.workdir)
        for test in data.tests:
            by_test[test.name].append(evaluate(planner, test, data, trained))
    return {
        "n_train": len(data.train),
        "task_types_in_training": len(data.catalog.task_types),
        "runs": [r.as_dict() for r in runs],
        "tests": {
            test.name: {
                "n": len(test.samples),
                "task_types": len(test.catalog.task_types),
                "mean": mean_over_seeds(by_test[test.name]),
                "seeds": by_test[test.name],
            }
            for test in data.tests
        },
    }


def quick_overrides() -> tuple[str, ...]:
    from planner_ultratool import QUICK

    return QUICK


def evaluate(planner: Plans, test: TestSet, data: EdgeData, trained: TrainedRun) -> dict[str, Any]:
    """Edges over gold tasks (all samples, those with edges, by how many task types were seen), and whole plans."""
    edges = [planner.graph(s.instruction, s.task_types, catalog=test.catalog) for s in test.samples]
    groups = {"all": list(range(len(test.samples)))}
    groups["with_edges"] = [i for i in groups["all"] if test.samples[i].dependencies]
    seen = {t for s in data.train for t in s.task_types}
    for i, sample in enumerate(test.samples):
        groups.setdefault(seen_group(sample, seen), []).append(i)
    given = {
        name: report_edges([test.samples[i] for i in chosen], [edges[i] for i in chosen]).as_dict()
        for name, chosen in groups.items()
        if chosen
    }
    predictions = trained.workdir / f"{test.name}_predictions.jsonl"
    whole = evaluate_planner(planner, test.samples, catalog=test.catalog, predictions=predictions)
    return {"seed": trained.seed, "gold_tasks": given, "whole_plans": whole.as_dict()}


def seen_group(sample: PlanningSample, seen: set[str]) -> str:
    """`seen`, `mixed` or `unseen`: whether all, some or none of its task types occur in the training data."""
    known = len(sample.nodes & seen)
    return "seen" if known == len(sample.nodes) else "mixed" if known else "unseen"


def mean_over_seeds(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and spreads over seeds of the figures that the table shows."""
    found: dict[str, Any] = {"gold_tasks": {}, "whole_plans": {}}
    for group in entries[0]["gold_tasks"]:
        of_group = [e["gold_tasks"][group] for e in entries]
        found["gold_tasks"][group] = {
            "n": of_group[0]["n"],
            **{name: mean_and_std([e[name] for e in of_group]) for name in ("link_f1", "reference_f1")},
            "chain": {name: of_group[0]["chain"][name] for name in ("link_f1", "reference_f1")},
        }
    for name in (
        "node_f1",
        "link_f1",
        "reference_f1",
        "accuracy",
        "coverage",
        "dag_validity",
        "chain_baseline_link_f1",
    ):
        found["whole_plans"][name] = mean_and_std([e["whole_plans"][name] for e in entries])
    return found


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def table(result: dict[str, Any]) -> Table:
    """Every test set: the graph generator beside the chain, over gold tasks and over predicted ones."""
    shown = Table(title=f"Edges, mean over {len(result['seeds'])} seeds (in brackets: the tasks joined in order)")
    for name in ("test set", "samples", "link F1", "reference F1"):
        shown.add_column(name, justify="left" if name == "test set" else "right")
    for name, of_set in result["sets"].items():
        for test, figures in of_set["tests"].items():
            for group, row in figures["mean"]["gold_tasks"].items():
                cells = [f"{row[f]['mean']:.3f} ({row['chain'][f]:.3f})" for f in ("link_f1", "reference_f1")]
                shown.add_row(f"{name} {test}, gold tasks: {group.replace('_', ' ')}", str(row["n"]), *cells)
            whole = figures["mean"]["whole_plans"]
            link = f"{whole['link_f1']['mean']:.3f} ({whole['chain_baseline_link_f1']['mean']:.3f})"
            shown.add_row(
                f"{name} {test}, whole plans (node F1 {whole['node_f1']['mean']:.3f})",
                str(figures["n"]),
                link,
                f"{whole['reference_f1']['mean']:.3f}",
                end_section=True,
            )
    return shown


if __name__ == "__main__":
    sys.exit(run_script(main))
