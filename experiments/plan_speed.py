"""Speed of planning on one core: a plan beside what its encoder alone costs here and elsewhere, batches, and a start.

In one process on one core, text by text in turn: the whole plan (beam and choice of the plan included), the matrix
products of its encoder alone in XLA, the same encoder in PyTorch eager and in ONNX Runtime. Then 500 plans at once
against one by one. Then `orchestai plan` as a command, from the start of the process to its end, with everything cached
on disk. The instructions are those of UltraTool's validation part.
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
from _machine import command_line, describe_machine
from _options import add_trainings, option_parser, settle_folders, write_result
from _plan_latency import ONE_THREAD
from _script import run_script, wide_console
from _training_runs import train_or_reuse
from planner_ultratool import QUICK, shrink
from rich.table import Table

from orchestai_jax.config import load_config
from orchestai_jax.planner.pretrained import EncoderNotFoundError, find_pretrained
from orchestai_jax.training.training_samples import load_training_samples

PROCESS = pathlib.Path(__file__).with_name("_plan_speed_process.py")
TARGETS = {
    "plan_over_matrix_products": ("at_most", 1.3),
    "plan_over_torch_eager": ("below", 1.0),
    "plan_over_onnx_runtime": ("at_most", 1.0),
    "batched_over_alone": ("at_least", 1.5),
    "padding_share": ("at_most", 0.25),
    "warm_start_s": ("at_most", 3.0),
}
"""What the project asks for."""

EXAMPLES = """examples:
  python experiments/plan_speed.py
  python experiments/plan_speed.py --planner runs/planner_ultratool/seed-0 --timed 50
  python experiments/plan_speed.py --quick
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = load_config(options.config, [*(QUICK if options.quick else ()), *options.overrides, "seed=0"])
    samples = load_training_samples(config)
    validation = list(samples.validation)
    if options.quick:
        config, _, _, validation = shrink({0: config}, list(samples.train), validation, options.workdir)
    planner = options.planner
    if planner is None:
        planner = train_or_reuse(config, options.workdir / "seed-0", fresh=options.fresh, say=console.print).workdir
    texts = [s.instruction for s in validation][: options.timed]
    options.workdir.mkdir(parents=True, exist_ok=True)
    console.print(f"timing {len(texts)} instructions on one core, in a fresh process")
    measured = measure(planner, texts, config.planner.encoder.weights, options.workdir, options.batched)
    console.print(f"starting `orchestai plan` {options.starts} times")
    starts = warm_starts(planner, texts[0], options.starts)
    ratios = compared(measured, starts)
    result = {
        "what": "speed of planning on one core (UltraTool, validation instructions), and of a warm start",
        "command": command_line("plan_speed.py", arguments),
        "quick": options.quick,
        **measured,
        "warm_start": starts,
        "asked_for": {
            name: {kind: limit, "found": ratios.get(name), "reached": reached(kind, limit, ratios.get(name))}
            for name, (kind, limit) in TARGETS.items()
        },
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "machine": describe_machine(),
    }
    out = write_result(options.results, "plan_speed", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def measure(
    planner: pathlib.Path, texts: Sequence[str], weights: str, workdir: pathlib.Path, count: int
) -> dict[str, Any]:
    """What the process of its own measures.

    Raises:
        RuntimeError: when it fails, with the end of what it said.
    """
    try:
        encoder = str(find_pretrained(weights, allow_download=False)[0])
    except EncoderNotFoundError:
        encoder = "none"
    file = workdir / "texts.json"
    file.write_text(json.dumps(list(texts)), encoding="utf-8")
    given = [str(planner), str(file), encoder, str(workdir / "encoder.onnx"), str(count)]
    done = subprocess.run(
        [sys.executable, str(PROCESS), *given],
        env={**os.environ, **ONE_THREAD, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"timing failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def warm_starts(planner: pathlib.Path, text: str, count: int) -> dict[str, Any]:
    """Seconds of `orchestai plan` from the start of the process to its end, after one that fills the caches."""
    command = [sys.executable, "-c", "from orchestai_jax.cli import main; main()"]
    wall, processor = [], []
    for turn in range(count + 1):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*command, "plan", text, "--planner", str(planner)], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if turn:
            wall.append(time.perf_counter() - started)
            processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {
        "n": count,
        "p50_s": round(float(np.median(wall)), 2),
        "worst_s": round(max(wall), 2),
        "processor_p50_s": round(float(np.median(processor)), 2),
    }


def compared(measured: dict[str, Any], starts: dict[str, Any]) -> dict[str, float]:
    """The figures that something is asked of, by name; without those that could not be measured."""
    p50 = {name: found["p50"] for name, found in measured["ms"].items()}
    ratios = {f"plan_over_{name}": round(p50["plan"] / ms, 3) for name, ms in p50.items() if name != "plan"}
    batched = measured["batched"]
    return ratios | {
        "batched_over_alone": batched["ratio"],
        "padding_share": batched["padding_share"],
        "warm_start_s": starts["p50_s"],
    }


def reached(kind: str, limit: float, found: float | None) -> bool | None:
    """Whether a figure is what is asked for; None where there is none."""
    if found is None:
        return None
    return {"at_most": found <= limit, "below": found < limit, "at_least": found >= limit}[kind]


def table(result: dict[str, Any]) -> Table:
    """The figures as people read them."""
    shown = Table("", "found", "asked for", "")
    for name, found in result["ms"].items():
        shown.add_row(f"{name.replace('_', ' ')}, p50 / p95", f"{found['p50']:.1f} / {found['p95']:.1f} ms", "", "")
    for name, why in result["skipped"].items():
        shown.add_row(name.replace("_", " "), "skipped", "", why)
    for name, asked in result["asked_for"].items():
        kind, limit = next((k, v) for k, v in asked.items() if k not in ("found", "reached"))
        given = "-" if asked["found"] is None else f"{asked['found']:.2f}"
        verdict = {True: "reached", False: "missed", None: "not measured"}[asked["reached"]]
        shown.add_row(name.replace("_", " "), given, f"{kind.replace('_', ' ')} {limit:g}", verdict)
    shown.caption = f"{result['n']} instructions, {result['tokens_p50']:.0f} tokens in the middle; one core"
    return shown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES, config="planner_ultratool.yaml")
    parser.add_argument("--planner", type=pathlib.Path, help="a trained planner (default: trained, or reused)")
    parser.add_argument("--timed", type=int, default=100, help="instructions (default: 100)")
    parser.add_argument("--batched", type=int, default=500, help="plans at once (default: 500)")
    parser.add_argument("--starts", type=int, default=5, help="starts of the command (default: 5)")
    add_trainings(parser, seeds=False)
    options = parser.parse_args(arguments)
    if options.quick:
        options.timed, options.starts, options.batched = min(options.timed, 5), 1, min(options.batched, 40)
    return settle_folders(options, "plan_speed" if options.quick else "planner_ultratool")


if __name__ == "__main__":
    sys.exit(run_script(main))
