"""UltraTool, the planner without its parts: graph layer, descriptions, search, votes of past plans.

Beside the planner of one seed: other ways to decode it, planners trained without a part or with another encoder, and
the same tasks joined in a chain. All are scored on test.jsonl, once each, and compared sample by sample. A training
that was stopped goes on, and a finished one is reused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from _machine import ROOT, command_line, describe_machine
from _options import option_parser, settle_folders, write_result
from _script import run_script, wide_console
from _training_runs import FEW, over_samples, train_or_reuse
from planner_ultratool import QUICK
from rich.table import Table

from orchestai_jax.config import DecodingConfig, RunConfig, load_config
from orchestai_jax.data import PlanningSample, load_samples
from orchestai_jax.evaluation import PlanningReport, bootstrap_interval, evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.training.planning_data import step_clause
from orchestai_jax.training.training_samples import TrainingSamples, load_training_samples
from orchestai_jax.workflow import Catalog

FIGURES = ("node_f1", "link_f1", "accuracy")
WHOLE = "the planner"
WITH_TERNARY = "ternary encoder"

DECODED: dict[str, dict[str, Any]] = {
    "no votes of past plans": {"neighbours": 0},
    "no rescoring (the most probable of the beam)": {"method": "beam", "neighbours": 0},
    "greedy": {"method": "greedy", "neighbours": 0},
}
"""The same planner, decoded in other ways."""

TRAINED: dict[str, tuple[str, ...]] = {
    "no graph layer": ("planner.graph_generator.layer=none",),
    "no descriptions": ("planner.decomposer.free_embedding_dropout=0",),
    WITH_TERNARY: (),
}
"""Planners that are trained for it, and what of the configuration they change. See `of_another`."""

EXAMPLES = """examples:
  python experiments/planner_ablations.py
  python experiments/planner_ablations.py --rows greedy "no graph layer"
  python experiments/planner_ablations.py --quick
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = configuration(options)
    test_file = pathlib.Path(str(config.data.train)).parent / "test.jsonl"
    test_format, samples = config.data.format, load_training_samples(config)
    if options.quick:
        samples = dataclasses.replace(samples, train=samples.train[: FEW[0]], validation=samples.validation[: FEW[1]])
        config = over_samples(config, samples.train, samples.validation, options.workdir / "few", samples.catalog)
    whole = train_or_reuse(config, options.planner, say=console.print)
    test = list(load_samples(test_file, test_format, samples.catalog))[: 16 if options.quick else None]
    reports = {WHOLE: evaluate_planner(Planner.from_checkpoint(whole.workdir), test)}
    for row in options.rows:
        console.print(row)
        if row in DECODED:
            reports[row] = evaluate_planner(decoded_by(whole.workdir, DECODED[row]), test)
        else:
            reports[row] = of_another(row, config, samples, test, options, console.print)
    result = {
        "what": "UltraTool test.jsonl: the planner of one seed without its parts",
        "command": command_line("planner_ablations.py", arguments),
        "quick": options.quick,
        "seed": options.seed,
        "n": {"train": len(samples.train), "validation": len(samples.validation), "test": len(test)},
        "rows": {row: compared(report, reports[WHOLE]) for row, report in reports.items()},
        "tasks_joined_in_a_chain": {"link_f1": float(reports[WHOLE].chain_link_f1.mean())},
        "machine": describe_machine(),
    }
    out = write_result(options.results, "planner_ablations", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    rows = [*DECODED, *TRAINED]
    parser = option_parser(
        __doc__, EXAMPLES, config="planner_ultratool.yaml", overrides="dotted overrides of all configurations"
    )
    parser.add_argument("--rows", nargs="+", choices=rows, help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="of every training (default: 0)")
    parser.add_argument(
        "--planner", type=pathlib.Path, help="the whole one (default: runs/planner_ultratool/seed-SEED)"
    )
    parser.add_argument("--ternary", type=pathlib.Path, help="default: runs/planner_ultratool_ternary/seed-SEED")
    encoder = ROOT / "runs" / "encoder_ternary" / "encoder"
    parser.add_argument(
        "--encoder", type=pathlib.Path, default=encoder, help="ternary (default: what ternary_encoder.py distils)"
    )
    options = settle_folders(parser.parse_args(arguments), "planner_ablations")
    own = options.workdir if options.quick else ROOT / "runs"
    options.planner = options.planner or own / "planner_ultratool" / f"seed-{options.seed}"
    options.ternary = options.ternary or own / "planner_ultratool_ternary" / f"seed-{options.seed}"
    if options.quick and WITH_TERNARY in (options.rows or ()):
        raise ValueError(
            f"no row {WITH_TERNARY!r} with --quick; python experiments/ternary_encoder.py --quick checks it"
        )
    options.rows = options.rows or [row for row in rows if row != WITH_TERNARY or not options.quick]
    return options


def configuration(options: argparse.Namespace, *changes: str) -> RunConfig:
    """The configuration that the options name, with these changes."""
    return load_config(
        options.config, [*(QUICK if options.quick else ()), f"seed={options.seed}", *options.overrides, *changes]
    )


def decoded_by(workdir: pathlib.Path, changes: dict[str, Any]) -> Planner:
    """The planner of a work folder with another decoding."""
    planner = Planner.from_checkpoint(workdir)
    parts = planner.spec.planner
    decoding = DecodingConfig.model_validate({**parts.decoding.model_dump(), **changes})
    planner.spec = dataclasses.replace(planner.spec, planner=parts.model_copy(update={"decoding": decoding}))
    return planner


def of_another(
    row: str,
    config: RunConfig,
    samples: TrainingSamples,
    test: Sequence[PlanningSample],
    options: argparse.Namespace,
    say: Any,
) -> PlanningReport:
    """A planner of its own, trained or reused, on the test samples.

    Without descriptions: task types are numbered and keep their ports alone; the words of the step texts that name them
    go too. With the ternary encoder: the run of ternary_encoder.py, which distils that encoder too.
    """
    changed = configuration(options, *TRAINED[row]).model_copy(update={"data": config.data})
    folder = options.workdir / row.replace(" ", "_") / f"seed-{options.seed}"
    if row == WITH_TERNARY:
        folder = options.ternary
        changed = configuration(options, f"planner.encoder.weights={json.dumps(str(options.encoder))}")
    elif row == "no descriptions":
        number = {t.id: f"t{i}" for i, t in enumerate(samples.catalog.task_types)}
        types = (t.model_copy(update={"id": number[t.id], "description": ""}) for t in samples.catalog.task_types)
        catalog = Catalog(name="numbered", task_types=tuple(types))
        samples = dataclasses.replace(
            samples,
            train=[renamed(s, number) for s in samples.train],
            validation=[renamed(s, number) for s in samples.validation],
        )
        test = [renamed(s, number) for s in test]
        changed = over_samples(changed, samples.train, samples.validation, options.workdir / "numbered", catalog)
    run = train_or_reuse(changed, folder, say=say)
    return evaluate_planner(Planner.from_checkpoint(run.workdir), test)


def renamed(sample: PlanningSample, names: dict[str, str]) -> PlanningSample:
    """The sample with other names of its task types, which its step texts do not say."""
    texts = sample.step_texts
    if texts is not None:
        texts = tuple(step_clause(text, t) for text, t in zip(texts, sample.task_types, strict=True))
    return dataclasses.replace(sample, task_types=tuple(names[t] for t in sample.task_types), step_texts=texts)


def compared(report: PlanningReport, whole: PlanningReport) -> dict[str, Any]:
    """Means, and the difference to the whole planner, sample by sample, with its interval."""
    found: dict[str, Any] = {}
    for name in FIGURES:
        own, other = getattr(report.scores, name), getattr(whole.scores, name)
        found[name] = {"mean": float(np.mean(own))}
        if report is not whole:
            difference = own - other
            found[name]["less_the_whole"] = float(difference.mean())
            found[name]["interval"] = list(bootstrap_interval(difference))
    return found


def table(result: dict[str, Any]) -> Table:
    """Rows, their figures, and the difference to the whole planner."""
    shown = Table("", title=f"UltraTool, {result['n']['test']} test samples, seed {result['seed']}")
    for name in ("node F1", "link F1", "accuracy", "node F1 less the whole's", "link F1 less the whole's"):
        shown.add_column(name, justify="right")
    for row, found in result["rows"].items():
        told = [
            f"{f['less_the_whole']:+.3f} [{f['interval'][0]:+.3f}, {f['interval'][1]:+.3f}]" if "interval" in f else ""
            for f in (found["node_f1"], found["link_f1"])
        ]
        shown.add_row(row, *(f"{found[name]['mean']:.3f}" for name in FIGURES), *told)
    shown.add_row("its tasks joined in a chain", "", f"{result['tasks_joined_in_a_chain']['link_f1']:.3f}", "", "", "")
    return shown


if __name__ == "__main__":
    sys.exit(run_script(main))
