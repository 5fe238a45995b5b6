"""Arguments on Seal-Tools and NESTFUL: values and references given the gold calls, and of whole plans.

Given the gold calls, the scorer is fitted on the training samples alone (Seal-Tools: dev.jsonl; NESTFUL: glaive without
a hash split) and tested once a seed beside the rules and the chain of the calls. `--end-to-end` instead trains whole
planners, as `orchestai train` does, and scores the plans that they make by themselves. `--cross-validate` scores parts
of the training samples in place of the test sets: choices are made by it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from _machine import ROOT, command_line, describe_machine
from _options import add_data, add_trainings, option_parser, settle_folders, write_result
from _script import run_script, wide_console
from _training_runs import train_or_reuse
from edges import EdgeData, TestSet, mean_and_std, only_used, read_nestful, read_sealtools, seen_group
from rich.console import Console
from rich.table import Table

from orchestai_jax.config import RunConfig, load_config
from orchestai_jax.data import PlanningSample, load_tokenizer, save_samples, split_by_hash
from orchestai_jax.evaluation import FillsGivenTasks, evaluate_arguments, evaluate_planner, score_arguments
from orchestai_jax.planner import Planner
from orchestai_jax.planner.arguments import FillsArguments, fill_arguments
from orchestai_jax.planner.arguments.learned import LearnedFiller
from orchestai_jax.planner.arguments.word_vectors import WordVectors
from orchestai_jax.planner.pretrained import load_pretrained
from orchestai_jax.training.argument_fitting import fit_arguments, labelled_queries
from orchestai_jax.workflow import Argument, Catalog, save_catalog

READERS = {"sealtools": read_sealtools, "nestful": read_nestful}
GOALS = {"value_f1": 0.80, "reference_f1": 0.70}
"""What is wanted given the gold calls: value F1 on Seal-Tools, reference F1 on every test set, above the chain's."""
FIGURES = ("value_f1", "value_precision", "value_recall", "reference_f1", "reference_precision", "reference_recall")
FOLDS = 3
WORD_TABLE = "embeddings.word_embeddings.weight"

EXAMPLES = """examples:
  python experiments/arguments.py
  python experiments/arguments.py --cross-validate --seeds 0 planner.arguments.value_threshold=0.3
  python experiments/arguments.py --only sealtools --end-to-end 0
  python experiments/arguments.py --quick
"""


@dataclasses.dataclass(frozen=True)
class GivenTasks:
    """Fills the arguments of given tasks, with nothing known of their edges."""

    fill: FillsArguments

    def arguments(
        self, text: str, task_types: Sequence[str], catalog: Catalog | None = None
    ) -> tuple[Mapping[str, Argument], ...]:
        """See FillsGivenTasks."""
        assert catalog is not None
        return self.fill(text, task_types, (), catalog).arguments


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    result: dict[str, Any] = {
        "what": "values and references of arguments, given the gold calls or of whole plans",
        "command": command_line("arguments.py", arguments),
        "quick": options.quick,
        "cross_validated": options.cross_validate,
        "seeds": list(options.end_to_end or options.seeds),
        "goals": GOALS,
        "sets": {},
        "machine": describe_machine(),
    }
    for name in [options.only] if options.only else READERS:
        data = READERS[name](options.data)
        if options.quick:
            data = shrink(data)
        if options.end_to_end:
            planners = [whole_planner(name, data, options, seed, console) for seed in options.end_to_end]
            made = {"command": result["command"], "seeds": result["seeds"], "machine": result["machine"]}
            result["sets"][name] = {"n_train": len(data.train), "end_to_end": planners, **made}
        else:
            result["sets"][name] = run(name, data, options, console)
    name = "arguments_end_to_end" if options.end_to_end else "arguments"
    before = options.results / f"{name}.json"
    if (
        options.end_to_end and before.exists() and not options.fresh
    ):  # a set takes minutes: what other calls measured stays
        result["sets"] = {**json.loads(before.read_text(encoding="utf-8"))["sets"], **result["sets"]}
    out = write_result(options.results, name, result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides of the configuration")
    parser.add_argument("--only", choices=list(READERS), help="one of the two (default: both)")
    add_trainings(parser)
    parser.add_argument(
        "--end-to-end",
        type=int,
        nargs="*",
        default=[],
        metavar="SEED",
        help="train whole planners with these seeds instead, and score their plans",
    )
    parser.add_argument(
        "--cross-validate", action="store_true", help="score parts of the training samples, no test set"
    )
    add_data(parser)
    options = parser.parse_args(arguments)
    given = options.results
    settle_folders(options, "arguments")
    if options.cross_validate and given is None:  # a search for settings does not overwrite figures of the test sets
        options.results = options.workdir
    return options


def shrink(data: EdgeData) -> EdgeData:
    """Some samples that hold arguments, over their own catalogs."""
    train = data.train[:: max(1, len(data.train) // 40)][:40]
    tests = [
        TestSet(t.name, few, only_used(t.catalog, few))
        for t in data.tests
        for few in [t.samples[:: max(1, len(t.samples) // 10)][:10]]
    ]
    return EdgeData(data.name, train, only_used(data.catalog, train), tuple(tests))


def run(name: str, data: EdgeData, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Every seed on every test set, given the gold calls; the rules beside them."""
    config = configuration(name, data, options, options.workdir / name, seed=options.seeds[0])
    vectors = word_vectors(config)
    tests = parts(data) if options.cross_validate else {t.name: [(data.train, t)] for t in data.tests}
    found: dict[str, Any] = {"n_train": len(data.train), "tests": {}}
    for test, splits in tests.items():
        samples = [s for _, held_out in splits for s in held_out.samples]
        catalog = splits[0][1].catalog
        seeds = []
        for seed in options.seeds:
            scored = fitted_scores(config, splits, data.catalog, vectors, seed)
            console.print(f"{name} {test}, seed {seed}: value F1 {scored['all']['value_f1']:.3f}")
            seeds.append(scored)
        rules = evaluate_arguments(GivenTasks(fill_arguments), samples, catalog).as_dict()
        found["tests"][test] = {"n": len(samples), "rules": rules, "mean": means(seeds), "seeds": seeds}
    return found


def parts(data: EdgeData) -> dict[str, list[tuple[list[PlanningSample], TestSet]]]:
    """The training samples in FOLDS parts by a hash of their ids, each beside all the others."""
    rest, folds = list(data.train), []
    for k in range(FOLDS):
        rest, part = split_by_hash(rest, 1 / (FOLDS - k), salt=f"arguments-{k}") if k < FOLDS - 1 else ([], rest)
        folds.append(part)
    return {
        "cross_validation": [
            ([s for other in folds if other is not part for s in other], TestSet("part", part, data.catalog))
            for part in folds
        ]
    }


def fitted_scores(
    config: RunConfig,
    splits: Sequence[tuple[Sequence[PlanningSample], TestSet]],
    catalog: Catalog,
    vectors: WordVectors,
    seed: int,
) -> dict[str, Any]:
    """Fit on the first of each pair, fill the second: scores of all, of those with edges, and by what was seen."""
    filled: dict[int, tuple[Mapping[str, Argument], ...]] = {}
    samples: list[PlanningSample] = []
    seen: set[str] = set()
    fit_s, fill_s = 0.0, 0.0
    for train, test in splits:
        started = time.perf_counter()
        fitting = config.training.arguments
        queries = labelled_queries(train, catalog, vectors, fitting.unmatched_weight)
        parameters = fit_arguments(queries, config.planner.arguments, fitting, seed)
        fit_s += time.perf_counter() - started
        filler = GivenTasks(LearnedFiller(config.planner.arguments, parameters, vectors))
        started = time.perf_counter()
        for sample in test.samples:
            filled[len(samples)] = filler.arguments(sample.instruction, sample.task_types, test.catalog)
            samples.append(sample)
        fill_s += time.perf_counter() - started
        seen |= {t for s in train for t in s.task_types}
    groups: dict[str, list[int]] = {"all": list(range(len(samples)))}
    groups["with_edges"] = [i for i in groups["all"] if samples[i].dependencies]
    for i, sample in enumerate(samples):
        groups.setdefault(seen_group(sample, seen), []).append(i)
    scored = {name: scores_of(samples, filled, chosen) for name, chosen in groups.items() if chosen}
    return {"seed": seed, "fit_s": round(fit_s, 1), "fill_ms": round(1000 * fill_s / len(samples), 2), **scored}


def scores_of(
    samples: Sequence[PlanningSample], filled: Mapping[int, tuple[Mapping[str, Argument], ...]], chosen: Sequence[int]
) -> dict[str, Any]:
    return score_arguments([samples[i] for i in chosen], [filled[i] for i in chosen]).as_dict()


def means(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds of each group's figures."""
    groups = [name for name, value in seeds[0].items() if isinstance(value, dict)]
    return {
        group: {
            "n": seeds[0][group]["n"],
            "num_values": seeds[0][group]["num_values"],
            "num_references": seeds[0][group]["num_references"],
            "chain_reference_f1": seeds[0][group]["chain_reference_f1"],
            **{figure: mean_and_std([s[group][figure] for s in seeds]) for figure in FIGURES},
        }
        for group in groups
    }


def configuration(name: str, data: EdgeData, options: argparse.Namespace, folder: pathlib.Path, seed: int) -> RunConfig:
    """The run of one seed: for Seal-Tools planner_arguments.yaml, for NESTFUL UltraTool's with learned arguments."""
    base = {"sealtools": "planner_arguments.yaml", "nestful": "planner_ultratool.yaml"}[name]
    longest = max(len(s.task_types) for s in (*data.train, *(s for t in data.tests for s in t.samples)))
    folder.mkdir(parents=True, exist_ok=True)
    train, catalog = folder / "train.jsonl", folder / "catalog.yaml"
    if not train.exists():
        save_samples(train, data.train)
        save_catalog(data.catalog, catalog)
    return load_config(
        ROOT / "configs" / base,
        [
            f"name=arguments_{name}",
            f"data.train={json.dumps(str(train))}",
            "data.format=planning",
            f"data.catalog={json.dumps(str(catalog))}",
            "data.validation=null",
            f"planner.decomposer.max_tasks={longest}",
            "planner.arguments.method=learned",
            *(SETTINGS[name]),
            *(QUICK if options.quick else ()),
            *options.overrides,
            f"seed={seed}",
        ],
    )


SETTINGS = {
    "sealtools": (),
    "nestful": (
        "training.phase1_supervised.num_epochs=20",
        "training.phase1_supervised.batch_size=16",
        "training.arguments.num_steps=200",
    ),
}
QUICK = (
    "training.arguments.num_steps=20",
    "training.phase1_supervised.num_epochs=1",
    "planner.encoder.trainable_layers=0",
    "planner.encoder.max_tokens=64",
    "planner.decoding.method=greedy",
    "planner.decoding.neighbours=0",
)


def word_vectors(config: RunConfig) -> WordVectors:
    """Of the encoder's published token embedding, which is what a planner with frozen tokens has."""
    encoder = load_pretrained(config.planner.encoder.weights)
    table = next(array for name, array in encoder.tensors.items() if name.endswith(WORD_TABLE))
    return WordVectors(table, load_tokenizer(encoder.tokenizer.json))


def whole_planner(
    name: str, data: EdgeData, options: argparse.Namespace, seed: int, console: Console
) -> dict[str, Any]:
    """A planner trained with learned arguments: its arguments given the gold calls, and its own plans."""
    folder = options.workdir / name
    config = configuration(name, data, options, folder, seed)
    trained = train_or_reuse(config, folder / f"seed-{seed}", fresh=options.fresh, say=console.print)
    planner = Planner.from_checkpoint(trained.workdir)
    given: FillsGivenTasks = planner
    found: dict[str, Any] = {"seed": seed, "run": trained.as_dict(), "tests": {}}
    for test in data.tests:
        whole = evaluate_planner(planner, test.samples, catalog=test.catalog).as_dict()
        scored = ("node_f1", "value_f1", "reference_f1", "chain_baseline_reference_f1")
        kept = (*scored, "coverage", "dag_validity", "latency_ms_p50", "n")
        found["tests"][test.name] = {
            "gold_calls": evaluate_arguments(given, test.samples, test.catalog).as_dict(),
            "whole_plans": {figure: whole[figure] for figure in kept},
            "intervals": {figure: whole["intervals"][figure] for figure in scored},
        }
        console.print(f"{name} {test.name}, seed {seed}, whole plans: value F1 {whole['value_f1']:.3f}")
    return found


def table(result: dict[str, Any]) -> Table:
    """Every test set: the learned filler, the rules and the chain given the gold calls; then whole plans."""
    shown = Table(title=f"Arguments, mean of {len(result['seeds'])} seeds (goals: value F1 .80, reference F1 .70)")
    for column in ("", "samples", "value F1", "precision", "recall", "reference F1", "chain"):
        shown.add_column(column, justify="left" if not column else "right")
    for name, of_set in result["sets"].items():
        for test, figures in of_set.get("tests", {}).items():
            for group, row in figures["mean"].items():
                cells = [f"{row[f]['mean']:.3f}" for f in (*FIGURES[:3], "reference_f1")]
                label = f"{name} {test}: {group.replace('_', ' ')}"
                shown.add_row(label, str(row["n"]), *cells, f"{row['chain_reference_f1']:.3f}")
            rules = figures["rules"]
            cells = [f"{rules[f]:.3f}" for f in FIGURES[:3]]
            shown.add_row(f"{name} {test}: rules", str(rules["n"]), *cells, "–", "", end_section=True)
        for entry in of_set.get("end_to_end", ()):
            for test, figures in entry["tests"].items():
                whole = figures["whole_plans"]
                label = f"{name} {test}: whole plans, seed {entry['seed']} (node F1 {whole['node_f1']:.3f})"
                cells = [f"{whole['value_f1']:.3f}", "", "", f"{whole['reference_f1']:.3f}"]
                cells.append(
                    f"{whole['chain_baseline_reference_f1']:.3f}" if "chain_baseline_reference_f1" in whole else ""
                )
                shown.add_row(label, str(whole["n"]), *cells)
    return shown


if __name__ == "__main__":
    sys.exit(run_script(main))
