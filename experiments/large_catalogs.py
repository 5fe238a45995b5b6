"""Large catalogs: how many of the wanted task types are among the candidates, and how long a plan takes.

Seal-Tools' 4,076 tools, alone and among made-up ones up to 100,000. A made-up tool is two real ones recombined: the
first word of one's name with the rest of the other's, the first half of one's description with the second half of the
other's; so it shares words and meaning with what is asked for. Only development data is looked at: the planner is
trained on nine tenths of dev.jsonl (configs/planner_new_tools.yaml) and scored on the rest; recall is also told of all
of it, for narrower intervals.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import pathlib
import random
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from _machine import command_line, describe_machine
from _options import add_trainings, option_parser, settle_folders, write_result
from _plan_latency import over_whole, plan_latency, told_in_tenths
from _script import run_script, wide_console
from _training_runs import FEW, TINY_PLANNER, over_samples, train_or_reuse
from rich.table import Table

from orchestai_jax.config import RunConfig, load_config
from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation import bootstrap_interval, evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.training.training_samples import load_training_samples
from orchestai_jax.workflow import Catalog, TaskType

SIZES = (100, 1_000, 4_076, 20_000, 100_000)
QUICK_SIZES = (100, 300, 600)
QUICK = (
    *TINY_PLANNER,
    "planner.retrieval.candidates=64",
    "planner.retrieval.above=200",
    "training.phase1_supervised.num_epochs=1",
)
"""A planner that trains in seconds: checks the script, its figures mean nothing."""

EXAMPLES = """examples:
  python experiments/large_catalogs.py                  (100,000 descriptions take a quarter of an hour to encode, once)
  python experiments/large_catalogs.py --sizes 4076 20000
  python experiments/large_catalogs.py --quick
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = load_config(options.config, [*(QUICK if options.quick else ()), *options.overrides])
    if options.quick:
        config = shrunk(config, options.workdir)
    samples = load_training_samples(config)
    run = train_or_reuse(config, options.workdir / "planner", fresh=options.fresh, say=console.print)
    planner = Planner.from_checkpoint(run.workdir)
    planner.progress = told_in_tenths
    dev = [*samples.validation, *samples.train]
    parts = {"validation": list(samples.validation), "all": dev}
    timed = [s.instruction for s in samples.validation][: options.timed]
    out = options.results / "large_catalogs.json"
    found = {}
    if out.exists() and not options.fresh:
        found = json.loads(out.read_text(encoding="utf-8"))["sizes"]  # what other calls measured stays
    result: dict[str, Any] = {
        "what": "Seal-Tools dev.jsonl over catalogs made larger by recombined tools",
        "command": command_line("large_catalogs.py", arguments),
        "quick": options.quick,
        "n": {name: len(part) for name, part in parts.items()},
        "retrieval": config.planner.retrieval.model_dump(),
        "n_trained_on": len(samples.train),
        "training": run.as_dict(),
    }
    for size in options.sizes:
        catalog = catalog_of(samples.catalog, size, samples.validation)
        held = {name: [s for s in part if s.nodes <= catalog.index.keys()] for name, part in parts.items()}
        file = options.workdir / f"catalog-{size}.json"
        file.write_text(catalog.model_dump_json(), encoding="utf-8")
        entry: dict[str, Any] = {}
        if size >= len(samples.catalog.task_types):
            entry["recall"] = {name: recall(planner, part, catalog) for name, part in held.items()}
            scores = evaluate_planner(planner, held["validation"], catalog=catalog).scores
            entry["node_f1"] = float(scores.node_f1.mean())
            entry["node_f1_interval"] = list(bootstrap_interval(scores.node_f1))
        console.print(f"{size:,} task types: timing {len(timed)} plans on one core, in a fresh process")
        entry["latency_one_core"] = plan_latency(run.workdir, timed, file, say=console.print)
        if "recall" in entry and size <= options.whole_up_to:
            scores = evaluate_planner(over_whole(planner), held["validation"], catalog=catalog).scores
            latency = plan_latency(run.workdir, timed, file, whole=True)
            entry["planned_over_whole"] = {"node_f1": float(scores.node_f1.mean()), "latency_one_core": latency}
        found = dict(sorted({**found, str(size): entry}.items(), key=lambda item: int(item[0])))
        result |= {"sizes": found, "growth": growth(found), "machine": describe_machine()}
        write_result(options.results, "large_catalogs", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def shrunk(config: RunConfig, workdir: pathlib.Path) -> RunConfig:
    """The same run over few samples and the tools that they want."""
    samples = load_training_samples(config)
    train, validation = samples.train[: FEW[0]], samples.validation[: FEW[1]]
    wanted = {t for s in (*train, *validation) for t in s.nodes}
    return over_samples(config, train, validation, workdir, samples.catalog.restricted_to(wanted))


def catalog_of(catalog: Catalog, size: int, wanted: Sequence[PlanningSample]) -> Catalog:
    """So many task types: of a larger catalog those that the samples want before the others, of a smaller one all and
    made-up ones."""
    types = catalog.task_types
    if size < len(types):
        first = {t for s in wanted for t in s.nodes}
        types = sorted(types, key=lambda t: t.id not in first)[:size]
    made = recombined(catalog.task_types, size - len(types))
    return Catalog(name=f"{size} types", task_types=(*types, *made))


def recombined(types: Sequence[TaskType], count: int, seed: int = 0) -> list[TaskType]:
    """Made-up task types, each of two that there are; no id twice, and none that there is."""
    draw, made, taken = random.Random(seed), [], {t.id for t in types}
    while len(made) < count:
        one, other = draw.sample(types, 2)
        begin, end = re.findall(r"[A-Z]?[^A-Z_]+", one.id), re.findall(r"[A-Z]?[^A-Z_]+", other.id)
        name = "".join([*begin[:1], *(end[1:] or end)])
        name = name if name not in taken else f"{name}{len(made)}"
        if name in taken:
            continue
        taken.add(name)
        words, more = one.description.split(), other.description.split()
        description = " ".join([*words[: (len(words) + 1) // 2], *more[len(more) // 2 :]])
        made.append(one.model_copy(update={"id": name, "description": description}))
    return made


def recall(planner: Planner, samples: Sequence[PlanningSample], catalog: Catalog) -> dict[str, Any]:
    """Share of the wanted task types that are among the candidates, with an interval over samples; and of samples of
    which all are."""
    shares, counts = [], []
    for sample in samples:
        found = planner.task_type_scores(sample.instruction, catalog)
        shares.append(sum(t in found for t in sample.nodes))
        counts.append(len(sample.nodes))
    hit, wanted = np.array(shares, float), np.array(counts, float)
    draw = np.random.default_rng(0).integers(0, len(hit), (2000, len(hit)))
    low, high = np.quantile(hit[draw].sum(axis=1) / wanted[draw].sum(axis=1), [0.025, 0.975])
    return {
        "samples": len(samples),
        "task_types_wanted": int(wanted.sum()),
        "recall": float(hit.sum() / wanted.sum()),
        "interval": [float(low), float(high)],
        "all_found": float((hit == wanted).mean()),
    }


def growth(found: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """The exponent b of time ~ size^b between the smallest and the largest narrowed catalog; 1 would be linear."""
    narrowed = [(int(size), entry["latency_one_core"]["p50_ms"]) for size, entry in found.items() if "recall" in entry]
    if len(narrowed) < 2:
        return None
    (first, quick), (last, slow) = narrowed[0], narrowed[-1]
    return {"from": first, "to": last, "exponent": math.log(slow / quick) / math.log(last / first)}


def table(result: dict[str, Any]) -> Table:
    """The figures as people read them."""
    columns = ("recall, validation", "recall, all of dev", "node F1", "without retrieval", "p50", "p95", "peak")
    shown = Table("task types", *columns)
    for size, entry in result["sizes"].items():
        told = entry.get("recall")
        latency = entry["latency_one_core"]
        whole = entry.get("planned_over_whole")
        shown.add_row(
            f"{int(size):,}",
            *(f"{told[name]['recall']:.3f}" if told else "" for name in ("validation", "all")),
            f"{entry['node_f1']:.3f}" if told else "",
            f"{whole['node_f1']:.3f}, {whole['latency_one_core']['p50_ms']:.1f} ms" if whole else "",
            f"{latency['p50_ms']:.1f} ms",
            f"{latency['p95_ms']:.1f} ms",
            f"{latency['peak_mib']} MiB",
        )
    if result["growth"]:
        shown.caption = "time grows as size ^ {exponent:.2f} from {from:,} to {to:,}".format(**result["growth"])
    return shown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES, config="planner_new_tools.yaml")
    parser.add_argument("--sizes", type=int, nargs="+", help=f"task types (default: {' '.join(map(str, SIZES))})")
    parser.add_argument("--timed", type=int, help="plans timed a size (default: as many as there are, at most 100)")
    parser.add_argument("--whole-up-to", type=int, default=4_076, help="largest catalog also planned over whole")
    add_trainings(parser, seeds=False)
    options = settle_folders(parser.parse_args(arguments), "large_catalogs")
    options.sizes = sorted(options.sizes or (QUICK_SIZES if options.quick else SIZES))
    options.timed = options.timed or (3 if options.quick else 100)
    return options


if __name__ == "__main__":
    sys.exit(run_script(main))
