"""Whether a graph over the task types helps with tools that training never saw.

UltraTool with a fifth of its tools left out, and every training sample that needs one. The catalog declares as links
what follows what in the whole of train.jsonl, of the left-out tools too, as their makers would declare it; of test
samples it holds nothing. Each arm is a planner of configs/planner_ultratool.yaml with the settings for types never
trained on (glimpse, projections that start from the identity, no votes of training plans), on the same samples:
  bare              no graph layers, and a catalog without links
  none              no graph layers; the links are there, and the decoder weighs them
  gcn, gat, sage    graph layers over the links and the transitions counted in training
Scored once on test.jsonl over all 260 tools: the samples that need a left-out tool, and the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _machine import command_line, describe_machine
from _options import add_data, add_trainings, option_parser, settle_folders, write_result
from _script import run_script, wide_console
from _training_runs import TINY_PLANNER, over_samples, train_or_reuse
from new_tools import left_out_tools, share
from rich.table import Table

from orchestai_jax.config import RunConfig, load_config
from orchestai_jax.data import PlanningSample, load_samples
from orchestai_jax.evaluation import PlanningScores, bootstrap_interval, evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.workflow import Catalog, Link, load_catalog

ARMS = ("bare", "none", "gcn", "gat", "sage")
FIGURES = ("node_f1", "link_f1", "accuracy")
GROUPS = ("new", "known")
"""Test samples that need a left-out tool, and those that do not."""

FOR_NEW_TYPES = (
    "planner.decomposer.glimpse=true",
    "planner.decomposer.projection_start=identity",
    "planner.decoding.neighbours=0",  # no training plan has a left-out tool to vote for
)
QUICK = (*TINY_PLANNER, "training.phase1_supervised.num_epochs=1", "training.phase1_supervised.batch_size=16")

EXAMPLES = """examples:
  python experiments/task_type_graph.py
  python experiments/task_type_graph.py --arms bare none gcn gat sage --seeds 0
  python experiments/task_type_graph.py --quick
"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained on, and what is scored."""

    catalog: Catalog
    """With its links."""
    train: Sequence[PlanningSample]
    validation: Sequence[PlanningSample]
    test: Sequence[PlanningSample]
    new: frozenset[str]
    """The tools that are left out of training."""

    @property
    def rows(self) -> dict[str, list[int]]:
        """Positions of the test samples of each of GROUPS."""
        needs = [bool(s.nodes & self.new) for s in self.test]
        return {"new": [i for i, n in enumerate(needs) if n], "known": [i for i, n in enumerate(needs) if not n]}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    setting = left_out(options.data / "ultratool", options.quick)
    scores: dict[str, list[PlanningScores]] = {}
    trained: dict[str, list[dict[str, Any]]] = {}
    for arm in options.arms:
        for seed in options.seeds:
            console.print(f"[bold]{arm}[/bold]")
            folder = options.workdir / arm
            config = configuration(setting, options, folder, arm, seed)
            run = train_or_reuse(config, folder / f"seed-{seed}", fresh=options.fresh, say=console.print)
            report = evaluate_planner(Planner.from_checkpoint(run.workdir), setting.test)
            scores.setdefault(arm, []).append(report.scores)
            trained.setdefault(arm, []).append(run.as_dict())
    rows = setting.rows
    result = {
        "what": "planner on UltraTool test.jsonl with a fifth of the tools left out of training, by graph layer",
        "command": command_line("task_type_graph.py", arguments),
        "quick": options.quick,
        "n": {
            "train": len(setting.train),
            "validation": len(setting.validation),
            **{f"test_{group}": len(rows[group]) for group in GROUPS},
            "task_types": len(setting.catalog.task_types),
            "left_out": len(setting.new),
            "links": len(setting.catalog.links),
            "links_of_left_out": sum(k.source in setting.new or k.target in setting.new for k in setting.catalog.links),
        },
        "seeds": list(options.seeds),
        "arms": {arm: {**figures(scores[arm], rows), "trainings": trained[arm]} for arm in options.arms},
        "gain_over_none": gains(scores, rows),
        "machine": describe_machine(),
    }
    out = write_result(options.results, "task_type_graph", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def left_out(data: pathlib.Path, quick: bool) -> Setting:
    """The samples and the catalog; what is left out is what new_tools.py leaves out."""
    catalog = load_catalog(data / "tool_desc.json")
    new = left_out_tools(catalog)
    samples = load_samples(data / "train.jsonl", "taskbench", catalog)
    test = load_samples(data / "test.jsonl", "taskbench", catalog)
    rest = [s for s in samples if not s.nodes & new]
    if quick:
        rest, test = rest[:90], test[:24]
    validation = [s for s in rest if share(s.id, "validation") < 0.1]
    train = [s for s in rest if share(s.id, "validation") >= 0.1]
    return Setting(with_links(catalog, samples), train, validation, test, new)


def with_links(catalog: Catalog, samples: Sequence[PlanningSample]) -> Catalog:
    """The catalog with the dependencies of samples as its links."""
    found = {(s.task_types[i], s.task_types[j]) for s in samples for i, j in s.dependencies}
    links = tuple(Link(source=source, target=target) for source, target in sorted(found) if source != target)
    return catalog.model_copy(update={"links": links})


def configuration(
    setting: Setting, options: argparse.Namespace, folder: pathlib.Path, arm: str, seed: int
) -> RunConfig:
    """The run of an arm, its data laid down as files of the project's own format."""
    catalog = setting.catalog if arm != "bare" else setting.catalog.model_copy(update={"links": ()})
    layer = f"planner.task_type_graph.layer={'none' if arm == 'bare' else arm}"
    quick = QUICK if options.quick else ()
    config = load_config(options.config, [*FOR_NEW_TYPES, layer, *quick, *options.overrides, f"seed={seed}"])
    return over_samples(config, setting.train, setting.validation, folder, catalog)


def figures(scores: Sequence[PlanningScores], rows: Mapping[str, list[int]]) -> dict[str, Any]:
    """Of each group of samples: the mean over seeds of each figure with its interval over samples, and each seed's."""
    found: dict[str, Any] = {}
    for group in GROUPS:
        if not rows[group]:
            continue
        found[group] = {}
        for name in FIGURES:
            each = np.array([getattr(s, name)[rows[group]] for s in scores])  # [seeds, samples]
            found[group][name] = {
                "mean": float(each.mean()),
                "interval": list(bootstrap_interval(each.mean(axis=0))),
                "seeds": each.mean(axis=1).tolist(),
            }
    return found


def gains(scores: Mapping[str, Sequence[PlanningScores]], rows: Mapping[str, list[int]]) -> dict[str, Any]:
    """Each arm minus `none`, sample by sample (means over seeds), with the interval of the difference."""
    found: dict[str, Any] = {}
    for arm in scores:
        if arm == "none" or "none" not in scores:
            continue
        found[arm] = {}
        for group in (g for g in GROUPS if rows[g]):
            found[arm][group] = {}
            for name in FIGURES:
                own, other = (
                    np.mean([getattr(s, name)[rows[group]] for s in scores[a]], axis=0) for a in (arm, "none")
                )
                difference = own - other
                found[arm][group][name] = {
                    "mean": float(difference.mean()),
                    "interval": list(bootstrap_interval(difference)),
                }
    return found


def table(result: dict[str, Any]) -> Table:
    """Node F1 as people read it."""
    n = result["n"]
    shown = Table(
        title=f"UltraTool, {n['left_out']} of {n['task_types']} tools never seen, {len(result['seeds'])} seeds"
    )
    names = {"new": f"need a new tool ({n['test_new']})", "known": f"others ({n['test_known']})"}
    for name in ("graph layer", *(x for group in GROUPS for x in (names[group], "against none"))):
        shown.add_column(name, justify="right")
    for arm, found in result["arms"].items():
        cells = []
        for group in GROUPS:
            own = found.get(group, {}).get("node_f1")
            gain = result["gain_over_none"].get(arm, {}).get(group, {}).get("node_f1")
            cells.append(f"{own['mean']:.3f}" if own else "-")
            cells.append("{:+.3f} ({:+.3f} to {:+.3f})".format(gain["mean"], *gain["interval"]) if gain else "")
        shown.add_row(arm, *cells)
    return shown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES, config="planner_ultratool.yaml")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["none", "sage"], help="default: none sage")
    add_trainings(parser)
    add_data(parser)
    return settle_folders(parser.parse_args(arguments), "task_type_graph")


if __name__ == "__main__":
    sys.exit(run_script(main))
