"""The sixteen success criteria of the optimization orchestrator, plain and optimized in turn, with what is missed.

Definitions and thresholds stand in configs/success_criteria.yaml. A criterion passes when its whole 95 % bootstrap
interval does. Every measurement is kept under runs/success_criteria as it is made: the same command goes on where it
was stopped. Training is judged on --updates updates of phase 1 on UltraTool, the same ones for both sides, far fewer
than a whole run: a step's speed and memory do not depend on how many there are, losses and F1 are those of a short
training.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import yaml
from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from rich.table import Table

from orchestai_jax.evaluation import bootstrap_interval

CRITERIA = ROOT / "configs" / "success_criteria.yaml"
OUTPUT = ROOT / "experiments" / "results" / "success_criteria.json"
GROUPS = ("training", "gates", "decoding", "retention")
FACTORS = ("cache", "buckets", "donation", "optimization")

EXAMPLES = """examples:
  python experiments/success_criteria.py
  python experiments/success_criteria.py --only decoding,gates
  python experiments/success_criteria.py --only compression_error
  python experiments/success_criteria.py --quick --output /tmp/criteria.json --kept /tmp/criteria
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    if options.measure:
        print(json.dumps(measured_here(options.measure, options)))
        return {}
    criteria = yaml.safe_load(CRITERIA.read_text(encoding="utf-8"))
    wanted = [name for name in criteria if not options.only or {name, criteria[name]["group"]} & set(options.only)]
    unknown = set(options.only) - set(criteria) - set(GROUPS)
    if unknown or not wanted:
        raise ValueError(f"--only: no criterion or group {', '.join(sorted(unknown))}; groups are {', '.join(GROUPS)}")
    figures: dict[str, list[float]] = {}
    details: dict[str, Any] = {}
    for group in dict.fromkeys(criteria[name]["group"] for name in wanted):
        found, detail = MEASURES[group](options)
        figures |= found
        details[group] = detail
    judged = {name: judge(criteria[name], figures[name]) for name in wanted}
    if "inference_retention" in judged:  # its samples are windows of text, not runs
        interval = details["retention"]["retention"]["interval"]
        least = criteria["inference_retention"]["at_least"]
        judged["inference_retention"] |= {"interval": interval, "passed": interval[0] >= least}
    result = {
        "what": "the sixteen success criteria of the optimization orchestrator",
        "command": command_line("success_criteria.py", arguments),
        "quick": options.quick,
        "machine": describe_machine(),
        "pairs": options.pairs,
        "updates": options.updates,
        "criteria": judged,
        "details": details,
    }
    if options.output.exists():
        before = json.loads(options.output.read_text(encoding="utf-8"))
        result["criteria"] = {n: c for n in criteria for c in [judged.get(n, before["criteria"].get(n))] if c}
        result["details"] = {**before["details"], **details}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="criteria or groups, with commas")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of runs, in turn")
    parser.add_argument("--updates", type=int, default=24, help="updates of a training")
    parser.add_argument("--quick", action="store_true", help="2 pairs, few steps: to see that it works")
    parser.add_argument("--kept", type=pathlib.Path, default=ROOT / "runs" / "success_criteria", help="measurements")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs, options.updates = 2, 6
    return options


def measured_here(what: str, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement, in this process: `training:FACTORS:SEED`, or a name."""
    kind, *rest = what.split(":")
    if kind in ("training", "memory"):
        from _criteria_training import measure

        factors = tuple(rest[0].split("+")) if rest[0] != "plain" else ()
        seed, updates = (int(rest[1]), options.updates) if kind == "training" else (0, 0)
        return measure(factors, seed, updates, samples=32 * options.updates, validation=64)
    import _criteria_language_model as models

    if kind == "overhead":
        return models.measure_overhead(*((2, 20) if options.quick else (3 * options.pairs, 100)))
    if kind == "detection":
        return models.measure_gate_detection(100)
    windows, steps = (4, 40) if options.quick else (200, 2000)
    return models.measure_retention(options.kept / "language_model", windows, steps)


def kept(what: str, options: argparse.Namespace, command: Sequence[str] | None = None) -> dict[str, Any]:
    """A measurement, made in a process of its own if it is not there yet."""
    path = options.kept / f"{what.replace(':', '-')}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    own = [sys.executable, __file__, "--measure", what, "--updates", str(options.updates), "--kept", str(options.kept)]
    own += ["--pairs", str(options.pairs), *(["--quick"] if options.quick else [])]
    done = subprocess.run(list(command or own), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{what}: its process ended with {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(f"measured {what}", file=sys.stderr, flush=True)
    return found


def training(options: argparse.Namespace) -> tuple[dict[str, list[float]], Any]:
    everything = "+".join(FACTORS)
    pairs = [
        [kept(f"training:{factors}:{seed}", options) for factors in ("plain", everything)]
        for seed in range(options.pairs)
    ]
    peak = {factors: kept(f"memory:{factors}", options) for factors in ("plain", everything)}
    alone = {factor: kept(f"training:{factor}:0", options) for factor in FACTORS}
    taken, whole = (pairs[0][1][name] for name in ("moment_bytes", "float_moment_bytes"))

    def each(figure: Callable[[dict[str, Any], dict[str, Any]], float]) -> list[float]:
        return [figure(plain, optimized) for plain, optimized in pairs]

    def overhead(plain: dict[str, Any], optimized: dict[str, Any]) -> float:
        steps = options.updates
        spent = optimized["codec_s"] * steps + optimized["kernel_search_s"]
        saved = steps * (statistics.mean(plain["step_s"]) - statistics.mean(optimized["step_s"])) + spent
        return spent / saved if saved > 0 else float("inf")

    figures = {
        "training_speedup": each(lambda p, o: o["samples_per_s"] / p["samples_per_s"]),
        "training_loss_ratio": each(lambda p, o: o["validation_loss"] / p["validation_loss"]),
        "accuracy_retention": each(lambda p, o: o["node_f1"] / p["node_f1"] if p["node_f1"] else 1.0),
        "training_memory_reduction": [1 - peak[everything]["step_bytes"] / peak["plain"]["step_bytes"]],
        "optimizer_state_reduction": [1 - taken / whole],
        "compression_ratio": [taken / whole],
        "compression_error": each(lambda p, o: max(o["moment_error"], o["vector_error"])),
        "optimization_overhead": each(overhead),
        "gate_false_alarms": each(lambda p, o: o["gate_violations"]),
    }
    shares = {name: found["samples_per_s"] / pairs[0][0]["samples_per_s"] for name, found in alone.items()}
    return figures, {"speed_of_each_factor_alone": shares, "peak": peak, "pairs": pairs}


def gates(options: argparse.Namespace) -> tuple[dict[str, list[float]], Any]:
    overhead, detection = kept("overhead", options), kept("detection", options)
    seconds = overhead["step_s"]
    shares = [1 - without / with_ for without, with_ in zip(seconds["without"], seconds["with"], strict=True)]
    detected = [detection["caught"] / detection["faults"]]
    return {"monitoring_overhead": shares, "gate_detection": detected}, {"overhead": overhead, "detection": detection}


def decoding(options: argparse.Namespace) -> tuple[dict[str, list[float]], Any]:
    process = ROOT / "experiments" / "_lm_decode_process.py"
    layers = "2" if options.quick else "24"
    runs: dict[str, list[dict[str, Any]]] = {"float32": [], "ternary": []}
    for number in range(options.pairs):
        for name, found in runs.items():
            command = [sys.executable, str(process), name, "--cpu", "1", "--layers", layers]
            found.append(kept(f"decoding:{name}:{number}", options, command))
    rates = {
        (name, what): [run[f"{what}_tokens_per_s"] for run in found]
        for name, found in runs.items()
        for what in ("prefill", "decode")
    }
    pairs = {
        what: list(zip(rates["float32", what], rates["ternary", what], strict=True)) for what in ("prefill", "decode")
    }
    return {
        "ttft_improvement": [ours / plain for plain, ours in pairs["prefill"]],
        "throughput": rates["ternary", "decode"],
        "inference_speedup": [ours / plain for plain, ours in pairs["decode"]],
    }, runs


def retention(options: argparse.Namespace) -> tuple[dict[str, list[float]], Any]:
    found = kept("retention", options)
    twin, optimized = (found["accuracy"][name] for name in ("twin", "optimized"))
    windows = list(zip(optimized, twin, strict=True))
    low, high = bootstrap_interval(windows, statistic=lambda means: means[:, 0] / means[:, 1])
    middle = statistics.mean(optimized) / statistics.mean(twin)
    found["retention"] = {"ratio": middle, "interval": [low, high]}
    return {"kv_cache_reduction": [found["cache_reduction"]], "inference_retention": [middle]}, found


MEASURES: dict[str, Callable[[argparse.Namespace], tuple[dict[str, list[float]], Any]]] = {
    "training": training,
    "gates": gates,
    "decoding": decoding,
    "retention": retention,
}


def judge(criterion: dict[str, Any], figures: list[float]) -> dict[str, Any]:
    """Median, interval, and whether all of it meets the threshold; of one figure the interval is itself."""
    middle = statistics.median(figures)
    finite = all(abs(figure) < float("inf") for figure in figures)
    low = high = middle
    if len(figures) > 1 and finite:
        drawn = np.random.default_rng(0).choice(figures, (2000, len(figures)))
        low, high = (float(x) for x in np.quantile(np.median(drawn, axis=1), [0.025, 0.975]))
    passed = (
        low >= criterion.get("at_least", float("-inf"))
        and high <= criterion.get("at_most", float("inf"))
        and high < criterion.get("below", float("inf"))
    )
    limits = {name: criterion[name] for name in ("at_least", "at_most", "below") if name in criterion}
    return {
        "what": criterion["what"],
        **limits,
        "median": middle,
        "interval": [low, high],
        "figures": figures,
        "passed": passed,
    }


def show(result: dict[str, Any]) -> None:
    table = Table("criterion", "threshold", "median", "95 % interval", "")
    for name, found in result["criteria"].items():
        limit = next(
            f"{key.replace('_', ' ')} {found[key]}" for key in ("at_least", "at_most", "below") if key in found
        )
        low, high = found["interval"]
        table.add_row(
            name, limit, f"{found['median']:.4g}", f"{low:.4g} to {high:.4g}", "passed" if found["passed"] else "MISSED"
        )
    wide_console().print(table)


if __name__ == "__main__":
    sys.exit(run_script(main))
