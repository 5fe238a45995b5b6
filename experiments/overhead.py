"""What each of the three optimizations costs by itself, in milliseconds, and its share of the time that is saved.

Both sides of a training, plain and optimized, are those of success_criteria.py (phase 1 on UltraTool), measured here
where they have not been yet; their time saved is that of the steps. The kernel search happens once a run, the codec at
every update, the cache is made smaller once a prompt, a plan is verified once a candidate.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import success_criteria
from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from rich.table import Table

from orchestai_jax.config import InferenceScalingConfig
from orchestai_jax.language_model.cache import KeyValueCache
from orchestai_jax.optimization import optimize_kv_cache, plan_verifier
from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workflow import Reference, Task, Value, Workflow

OUTPUT = ROOT / "experiments" / "results" / "overhead.json"
UPDATES_OF_A_RUN = 8 * 85
"""Of configs/planner_ultratool_optimized.yaml: 8 epochs of 2,719 samples in batches of 32."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    of_criteria = ["--pairs", str(options.pairs), "--updates", str(options.updates), "--kept", str(options.kept)]
    given = success_criteria.parse([*of_criteria, *(["--quick"] if options.quick else [])])
    everything = "+".join(success_criteria.FACTORS)
    pairs = [
        [success_criteria.kept(f"training:{factors}:{seed}", given) for factors in ("plain", everything)]
        for seed in range(given.pairs)
    ]
    search = statistics.median(optimized["kernel_search_s"] for _, optimized in pairs)
    codec = statistics.median(optimized["codec_s"] for _, optimized in pairs)
    step = {
        name: statistics.median(statistics.mean(pair[i]["step_s"]) for pair in pairs)
        for i, name in enumerate(("plain", "optimized"))
    }
    saved = UPDATES_OF_A_RUN * (step["plain"] - step["optimized"] + codec) + search
    result = {
        "what": "milliseconds of each operation, and share of the time saved in a run of 8 epochs",
        "command": command_line("overhead.py", arguments),
        "quick": options.quick,
        "machine": describe_machine(),
        "pairs": given.pairs,
        "kernel_optimizer_ms_a_run": 1e3 * search,
        "semantic_compression_ms_an_update": 1e3 * codec,
        "inference_scaling_ms_a_prompt": 1e3 * cache_seconds(),
        "inference_scaling_ms_a_candidate": 1e3 * verifier_seconds(),
        "step_ms": {name: 1e3 * seconds for name, seconds in step.items()},
        "share_of_time_saved": {
            "kernel_optimizer": search / saved if saved > 0 else None,
            "semantic_compression": UPDATES_OF_A_RUN * codec / saved if saved > 0 else None,
        },
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    table = Table("operation", "milliseconds")
    for name, value in result.items():
        if "_ms_" in name:
            table.add_row(name.replace("_ms", "").replace("_", " "), f"{value:.3f}")
    wide_console().print(table)
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="pairs of trainings")
    parser.add_argument("--updates", type=int, default=24, help="updates of a training")
    parser.add_argument("--quick", action="store_true", help="2 pairs, few steps: to see that it works")
    parser.add_argument("--kept", type=pathlib.Path, default=ROOT / "runs" / "success_criteria", help="measurements")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    return parser.parse_args(arguments)


def cache_seconds() -> float:
    """Packing the cache of a prompt of 1,024 tokens of the 0.7 B shape and dropping the lighter half of its blocks."""
    layers, heads, size, tokens = 24, 16, 96, 1024
    rng = np.random.default_rng(0)
    stored = jnp.asarray(rng.normal(size=(layers, 1, heads, tokens + 64, size)).astype(np.float32))
    mass = rng.dirichlet(np.full(tokens, 0.02), (layers, 1)).astype(np.float32)
    cache = KeyValueCache(stored, stored, jnp.zeros(1, jnp.int32), jnp.int32(tokens))
    return _median(lambda: optimize_kv_cache(cache, mass, InferenceScalingConfig())[0].keys)


def verifier_seconds() -> float:
    """Judging a plan of three tasks over the embedded catalog."""
    tasks = (
        Task(id="t1", task_type="summarize_text", arguments={"text": Value(value="notes.txt")}),
        Task(
            id="t2",
            task_type="extract_keywords",
            arguments={"text": Reference(task="t1", output="text")},
            depends_on=("t1",),
        ),
        Task(id="t3", task_type="text_statistics", arguments={"text": Value(value="notes.txt")}),
    )
    verifier, plan = plan_verifier(load_embedded_catalog()), Workflow(instruction="", tasks=tasks)
    if verifier(plan) != 1:
        raise ValueError("the plan that verification is timed with is no longer valid over the embedded catalog")
    return _median(lambda: verifier(plan))


def _median(function: Callable[[], Any], repeats: int = 9) -> float:
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(run_script(main))
