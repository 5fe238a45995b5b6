"""A whole ternary model of the 0.7 B shape on one CPU thread: against its float32 twin and llama.cpp's TQ2_0.

Random weights in BitNet-b1.58-large's shape (24 layers, 1536 wide, vocabulary 32,000, tied head): speed depends on
shapes, not on values. Each contender runs in processes of its own, pinned to one processor, in turns: ours with packed
ternary weights, an int8 head and an int8 cache, ours in float32, llama.cpp with TQ2_0 weights, a Q6_K head and a cache
of float16 (its GGUF is written here). Peak memory is what a process with the model has over a warmed empty one (JAX
started and something compiled); the programs of ours are read from JAX's cache, as at a user's second start.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from _bitnet_gguf import write_gguf
from _lm_decode_process import CONTENDERS, DECODE, PREFILL
from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from rich.table import Table

OUTPUT = ROOT / "experiments" / "results" / "lm_decode_cpu.json"
PROCESS = ROOT / "experiments" / "_lm_decode_process.py"

EXAMPLES = """examples:
  python experiments/lm_decode_cpu.py
  python experiments/lm_decode_cpu.py --cpu 1 --rounds 5 --without-llama
  python experiments/lm_decode_cpu.py --quick --output /tmp/decode.json
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    contenders = [name for name in CONTENDERS if not (name == "llama" and options.without_llama)]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ("empty", *contenders)}
    with tempfile.TemporaryDirectory() as folder:
        gguf_file = pathlib.Path(folder) / "model.gguf"
        cache = pathlib.Path(folder) / "jax"
        if "llama" in contenders:
            write_gguf(gguf_file, options.layers)
        # The first round of each JAX contender compiles; the others, as a user's second start, read the programs.
        for number in range(options.rounds + 1):
            for name in runs:
                found = in_a_process(name, options, gguf_file, cache)
                if number:
                    runs[name].append(found)
    result = {
        "what": "0.7 B shape, random weights, one thread: tokens a second and peak memory",
        "command": command_line("lm_decode_cpu.py", arguments),
        "quick": options.quick,
        "machine": describe_machine(),
        "prefill_tokens": PREFILL,
        "decode_tokens": DECODE,
        "layers": options.layers,
        "runs": runs,
        "contenders": summarise(runs),
    }
    result["goals"] = goals(result["contenders"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="processor to pin to")
    parser.add_argument("--rounds", type=int, default=5, help="processes a contender, beside the first")
    parser.add_argument("--without-llama", action="store_true", help="leave llama.cpp out")
    parser.add_argument("--quick", action="store_true", help="2 layers, 2 rounds: to see that it works")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    options.layers = 2 if options.quick else 24
    options.rounds = 2 if options.quick else options.rounds
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.cpu not in os.sched_getaffinity(0):
        parser.error(f"--cpu must be one of {sorted(os.sched_getaffinity(0))}, got {options.cpu}")
    return options


def in_a_process(
    name: str, options: argparse.Namespace, gguf_file: pathlib.Path, cache: pathlib.Path
) -> dict[str, Any]:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(PROCESS), name, "--cpu", str(options.cpu), "--layers", str(options.layers)]
    command += ["--gguf", str(gguf_file)] if name == "llama" else []
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{name}: its process ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Medians over the processes; memory over an empty process of the same kind (llama.cpp's: as it is)."""
    empty = statistics.median(run["peak_bytes"] for run in runs["empty"])
    summary: dict[str, dict[str, float]] = {}
    for name, found in runs.items():
        if name == "empty":
            continue
        peak = statistics.median(run["peak_bytes"] for run in found)
        summary[name] = {
            "decode_tokens_per_s": statistics.median(run["decode_tokens_per_s"] for run in found),
            "prefill_tokens_per_s": statistics.median(run["prefill_tokens_per_s"] for run in found),
            "model_mib": found[0]["model_bytes"] / 2**20,
            "peak_mib": peak / 2**20,
            "peak_over_empty_mib": (peak - (0 if name == "llama" else empty)) / 2**20,
        }
    return summary


def goals(contenders: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """What was aimed at, and what came."""
    ours, floats = contenders["ternary"], contenders["float32"]
    found = [
        ("decode, times float32", ours["decode_tokens_per_s"] / floats["decode_tokens_per_s"], ">=", 4.0),
        ("peak memory over an empty process, MiB", ours["peak_over_empty_mib"], "<=", 300.0),
        ("peak memory, float32 over ours", floats["peak_over_empty_mib"] / ours["peak_over_empty_mib"], ">=", 4.2),
    ]
    if "llama" in contenders:
        other = contenders["llama"]
        found = [
            ("decode, times TQ2_0", ours["decode_tokens_per_s"] / other["decode_tokens_per_s"], ">=", 1.2),
            ("prefill, times TQ2_0", ours["prefill_tokens_per_s"] / other["prefill_tokens_per_s"], ">=", 1.5),
            *found,
        ]
    return [
        {
            "goal": name,
            "value": round(value, 3),
            "wanted": f"{sign} {bound}",
            "met": value >= bound if sign == ">=" else value <= bound,
        }
        for name, value, sign, bound in found
    ]


def show(result: dict[str, Any]) -> None:
    table = Table("contender", "decode tokens/s", "prefill tokens/s", "model MiB", "peak MiB over empty")
    for name, row in result["contenders"].items():
        keys = ("decode_tokens_per_s", "prefill_tokens_per_s", "model_mib", "peak_over_empty_mib")
        table.add_row(name, *(f"{row[key]:.1f}" for key in keys))
    console = wide_console()
    console.print(table)
    for goal in result["goals"]:
        console.print(
            f"{goal['goal']}: {goal['value']} (wanted {goal['wanted']}): {'met' if goal['met'] else 'not met'}"
        )


if __name__ == "__main__":
    sys.exit(run_script(main))
