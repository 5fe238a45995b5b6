"""The ternary encoder beside the float one it was distilled from: planners of the same seed and recipe on UltraTool.

Distils MiniLM, trains a planner with each encoder (finished runs are reused, begun ones go on), and compares: plan
quality on the test file (opened once, each planner scored once), bytes of the encoders as they are served, milliseconds
a plan on one core. Everything was chosen on parts of the training files that are held out by id.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from _machine import ROOT, command_line, describe_machine
from _options import write_result
from _plan_latency import plan_latency
from _script import run_script, wide_console
from _training_runs import TrainedRun, train_or_reuse
from flax import nnx
from plan_speed import reached
from planner_ultratool import shrink
from rich.table import Table

from orchestai_jax.config import DistillationRunConfig, load_config, load_run_config
from orchestai_jax.data import load_samples
from orchestai_jax.evaluation import PlanningReport, bootstrap_interval, evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.planner.encoders import make_encoder
from orchestai_jax.planner.pretrained import import_weights, load_pretrained
from orchestai_jax.planner.ternary_encoder import pack_encoder
from orchestai_jax.training import read_metrics, workdir_status
from orchestai_jax.training.distillation import ENCODER_FOLDER, distill_encoder, encoder_parameters
from orchestai_jax.training.metrics_log import METRICS_FILE
from orchestai_jax.training.training_samples import load_training_samples
from orchestai_jax.training.workdir import prepare_workdir

FIGURES = ("node_f1", "link_f1", "accuracy")
TARGETS = {
    "node_f1_kept": ("at_least", 0.987),
    "bytes_float_over_ternary": ("at_least", 4.2),
    "ternary_plan_p50_ms": ("at_most", 7.0),
}
"""What the project asks for."""

QUICK_ENCODER = (
    "training.num_steps=4",
    "training.evaluate_every_steps=2",
    "training.warmup_steps=0",
    "training.batch_size=4",
    "training.evaluation_batches=1",
)
QUICK_PLANNER = (
    "planner.encoder.max_tokens=32",
    "planner.decomposer.num_heads=2",
    "planner.graph_generator.hidden_size=16",
    "planner.worker_selector.hidden_size=8",
    "training.phase1_supervised.batch_size=16",
    "training.phase1_supervised.num_epochs=1",
    "training.phase1_supervised.log_every_steps=1",
)
"""Steps that take seconds: they check the script, its figures mean nothing."""

EXAMPLES = """examples:
  python experiments/ternary_encoder.py
  python experiments/ternary_encoder.py --distill-only
  python experiments/ternary_encoder.py --quick --teacher FOLDER
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    encoder_config = distillation_config(options)
    folder = distill_or_reuse(encoder_config, options.encoder_workdir, console.print)
    distilled = distillation_figures(options.encoder_workdir, encoder_config)
    if options.distill_only:
        result = {
            "what": "ternary encoder distilled from MiniLM, against it on held-out texts",
            "command": command_line("ternary_encoder.py", arguments),
            "quick": options.quick,
            "distillation": distilled,
            "bytes": folder_bytes(encoder_config.encoder.teacher, folder),
            "machine": describe_machine(),
        }
        write_result(options.results, "ternary_encoder_distillation", result)
        console.print_json(data=result)
        return result

    more = [*(QUICK_PLANNER if options.quick else ()), *options.overrides, f"seed={options.seed}"]
    teacher = [f"planner.encoder.weights={json.dumps(options.teacher)}"] if options.teacher else []
    configs = {
        "float": load_config(options.config, [*more, *teacher]),
        "ternary": load_config(options.config, [*more, f"planner.encoder.weights={json.dumps(str(folder))}"]),
    }
    samples = load_training_samples(configs["float"])
    train, validation = list(samples.train), list(samples.validation)
    if options.quick:
        _, shrunk, train, validation = shrink(
            dict(enumerate(configs.values())), train, validation, options.ternary_workdir.parent
        )
        configs = dict(zip(configs, shrunk.values(), strict=True))
    workdirs = {"float": options.float_workdir, "ternary": options.ternary_workdir}
    runs = {
        name: train_or_reuse(config, workdirs[name] / f"seed-{options.seed}", say=console.print)
        for name, config in configs.items()
    }
    test_file = options.test or pathlib.Path(str(samples_file(options))).parent / "test.jsonl"
    console.print(f"test: {test_file.name}, opened once")
    test = load_samples(test_file, "taskbench", samples.catalog)[: 16 if options.quick else None]
    reports = {name: evaluate_planner(Planner.from_checkpoint(run.workdir), test) for name, run in runs.items()}
    timed = [s.instruction for s in validation][: options.timed]
    console.print(f"timing {len(timed)} plans of validation instructions on one core, each planner in fresh processes")
    latencies = {name: [] for name in runs}
    for _ in range(options.rounds):  # in turn, so that a busy minute meets both
        for name, run in runs.items():
            latencies[name].append(plan_latency(run.workdir, timed))
    sizes = {name: served_bytes(run.workdir) for name, run in runs.items()}
    figures = {
        name: planner_figures(runs[name], reports[name], sizes[name], latencies[name]) for name in ("float", "ternary")
    }
    found = compared(figures)
    result = {
        "what": "ternary encoder distilled from MiniLM beside it: planners on UltraTool test.jsonl",
        "command": command_line("ternary_encoder.py", arguments),
        "quick": options.quick,
        "n": {"train": len(train), "validation": len(validation), "test": len(test)},
        "seed": options.seed,
        "distillation": distilled,
        **figures,
        "ternary_minus_float": differences(reports["float"], reports["ternary"]),
        "asked_for": {
            name: {kind: limit, "found": found[name], "reached": reached(kind, limit, found[name])}
            for name, (kind, limit) in TARGETS.items()
        },
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "machine": describe_machine(),
    }
    out = write_result(options.results, "ternary_encoder", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides of the planners")
    parser.add_argument("--seed", type=int, default=0, help="of both planners (default: 0)")
    parser.add_argument("--quick", action="store_true", help="few steps and samples: checks the script")
    parser.add_argument("--distill-only", action="store_true", help="distil, write how near the student came, and stop")
    parser.add_argument("--teacher", help="BERT weights in place of the configurations' (MiniLM)")
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "configs" / "planner_ultratool.yaml")
    parser.add_argument("--encoder-config", type=pathlib.Path, default=ROOT / "configs" / "encoder_ternary.yaml")
    parser.add_argument("--encoder-workdir", type=pathlib.Path, help="default: runs/encoder_ternary")
    parser.add_argument("--float-workdir", type=pathlib.Path, help="default: runs/planner_ultratool")
    parser.add_argument("--ternary-workdir", type=pathlib.Path, help="default: runs/planner_ultratool_ternary")
    parser.add_argument("--test", type=pathlib.Path, help="test file (default: test.jsonl beside the training file)")
    parser.add_argument("--results", type=pathlib.Path, help="folder of the JSON (default: experiments/results)")
    parser.add_argument("--timed", type=int, default=100, help="plans timed on one core (default: 100)")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each planner that time them (default: 2)")
    options = parser.parse_args(arguments)
    runs = ROOT / "runs" / "quick" / "ternary_encoder" if options.quick else ROOT / "runs"
    options.encoder_workdir = options.encoder_workdir or runs / "encoder_ternary"
    options.float_workdir = options.float_workdir or runs / "planner_ultratool"
    options.ternary_workdir = options.ternary_workdir or runs / "planner_ultratool_ternary"
    # a quick run never overwrites figures that mean something
    options.results = options.results or (runs if options.quick else ROOT / "experiments" / "results")
    if options.quick:
        options.timed, options.rounds = min(options.timed, 5), 1
    return options


def distillation_config(options: argparse.Namespace) -> DistillationRunConfig:
    """The encoder's configuration, as the options change it."""
    overrides = [*(QUICK_ENCODER if options.quick else ())]
    if options.teacher:
        overrides.append(f"encoder.teacher={json.dumps(options.teacher)}")
    config = load_run_config(options.encoder_config, overrides)
    if not isinstance(config, DistillationRunConfig):
        raise ValueError(f"{options.encoder_config}: kind: encoder_distillation is wanted")
    return config


def distill_or_reuse(config: DistillationRunConfig, workdir: pathlib.Path, say: Any) -> pathlib.Path:
    """The folder of the distilled encoder; a finished run is reused, one that was stopped goes on."""
    folder = workdir / ENCODER_FOLDER
    begun = (workdir / "config.yaml").exists()
    if begun and workdir_status(workdir).state in ("finished", "stopped early") and folder.is_dir():
        prepare_workdir(workdir, config, resume=True)  # refuses a run of another configuration, naming what differs
        say(f"reusing the encoder in {folder}")
    else:
        say(f"{'resuming' if begun else 'distilling'} in {workdir}")
        distill_encoder(config, workdir, begun)
    return folder


def distillation_figures(workdir: pathlib.Path, config: DistillationRunConfig) -> dict[str, Any]:
    """How near the student came to the teacher on held-out texts, validation by validation."""
    lines = read_metrics(workdir / METRICS_FILE)
    shown = ("hidden_error", "pooled_cosine")
    curve = [
        {"step": line["step"], **{name: round(line["values"][name], 4) for name in shown}}
        for line in lines
        if line["split"] == "validation"
    ]
    training = config.training.model_dump(mode="json", exclude={"initialize_from"})
    return {
        "teacher": pathlib.PurePath(config.encoder.teacher).name,
        "sub_norms": config.encoder.sub_norms,
        "training": training,
        "training_s": round(max(line["wall_s"] for line in lines), 1),
        "validation": curve,
    }


def folder_bytes(teacher: str, folder: pathlib.Path) -> dict[str, float]:
    """Bytes of the tensors that either encoder computes with."""
    sizes = {}
    for name, place in (("float", teacher), ("ternary", str(folder))):
        found = load_pretrained(place, allow_download=False)
        encoder = make_encoder(found.config, rngs=nnx.Rngs(0))
        import_weights(encoder, found.tensors)
        parameters = encoder_parameters(encoder)
        served = pack_encoder(parameters) if name == "ternary" else parameters
        sizes[name] = sum(leaf.nbytes for leaf in jax.tree.leaves(served))
    return {**sizes, "ratio": round(sizes["float"] / sizes["ternary"], 3)}


def samples_file(options: argparse.Namespace) -> str:
    """The training file of the planners' configuration."""
    return str(load_config(options.config).data.train)


def served_bytes(workdir: pathlib.Path) -> dict[str, int]:
    """Bytes of a planner's encoder as it is planned with, and of the layers that descriptions have of their own."""
    parameters = Planner.from_checkpoint(workdir)._parameters

    def total(prefix: str) -> int:
        return sum(
            leaf.nbytes for name, x in parameters.items() if name.startswith(prefix) for leaf in jax.tree.leaves(x)
        )

    return {
        "encoder": total("encoder."),
        "encoder_embedding": total("encoder.embedding."),
        "encoder_layers": total("encoder.layers."),
        "description_layers": total("describer."),
    }


def planner_figures(
    run: TrainedRun, report: PlanningReport, sizes: dict[str, int], latencies: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """One planner's figures."""
    validation = [line["values"] for line in read_metrics(run.workdir / METRICS_FILE) if line["split"] == "validation"]
    best = max(validation, key=lambda values: values["score"])
    return {
        **run.as_dict(),
        "validation": {name: best[name] for name in FIGURES},
        "test": {name: report.scores.means[name] for name in FIGURES},
        "intervals": {name: list(bootstrap_interval(getattr(report.scores, name))) for name in FIGURES},
        "bytes": sizes,
        "plan_ms": {
            "p50": min(latency["p50_ms"] for latency in latencies),
            "p95": min(latency["p95_ms"] for latency in latencies),
            "rounds": [[latency["p50_ms"], latency["p95_ms"]] for latency in latencies],
            "cores": latencies[0]["cores"],
        },
    }


def compared(figures: dict[str, Any]) -> dict[str, float]:
    """The figures that something is asked of."""
    before, after = figures["float"], figures["ternary"]
    return {
        "node_f1_kept": round(after["test"]["node_f1"] / max(before["test"]["node_f1"], 1e-9), 4),
        "bytes_float_over_ternary": round(before["bytes"]["encoder"] / after["bytes"]["encoder"], 3),
        "ternary_plan_p50_ms": after["plan_ms"]["p50"],
    }


def differences(before: PlanningReport, after: PlanningReport) -> dict[str, Any]:
    """Ternary minus float, sample by sample, with the interval of the mean."""
    found = {}
    for name in FIGURES:
        difference = np.asarray(getattr(after.scores, name)) - np.asarray(getattr(before.scores, name))
        found[name] = {"mean": float(difference.mean()), "interval": list(bootstrap_interval(difference))}
    return found


def table(result: dict[str, Any]) -> Table:
    """Both planners side by side."""
    before, after = result["float"], result["ternary"]
    shown = Table("", "float", "ternary", title=f"UltraTool, {result['n']['test']} test samples, seed {result['seed']}")
    for name in FIGURES:
        shown.add_row(name.replace("_", " "), f"{before['test'][name]:.3f}", f"{after['test'][name]:.3f}")
    for name in before["bytes"]:
        shown.add_row(f"{name.replace('_', ' ')}, MB", *(f"{x['bytes'][name] / 1e6:.2f}" for x in (before, after)))
    shown.add_row(
        "plan, p50 / p95 ms", *(f"{x['plan_ms']['p50']:.1f} / {x['plan_ms']['p95']:.1f}" for x in (before, after))
    )
    shown.caption = "; ".join(
        f"{name.replace('_', ' ')} {asked['found']:.3f} ({'reached' if asked['reached'] else 'missed'})"
        for name, asked in result["asked_for"].items()
    )
    return shown


if __name__ == "__main__":
    sys.exit(run_script(main))
