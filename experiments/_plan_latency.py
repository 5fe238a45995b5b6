"""Time of one plan on one core: a process of its own, pinned before JAX starts.

Run by `plan_latency`; by hand: `python experiments/_plan_latency.py PLANNER TEXTS.json`, where the file is a JSON list.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "JAX_PLATFORMS": "cpu",
}


def plan_latency(planner: pathlib.Path, texts: Sequence[str]) -> dict[str, Any]:
    """Time single plans of the texts in a fresh process on one core, after every text was planned once.

    Returns p50 and p95 in milliseconds, how many were timed, the time of the first plan (with its compilation) and
    the core count that the process saw.

    Raises:
        RuntimeError: when the process fails, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "texts.json"
        file.write_text(json.dumps(list(texts)), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, __file__, str(planner), str(file)],
            env={**os.environ, **ONE_THREAD},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"timing plans failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(arguments: Sequence[str]) -> None:
    """Time and print one line of JSON."""
    planner_folder, texts_file = arguments
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    texts = json.loads(pathlib.Path(texts_file).read_text(encoding="utf-8"))
    import numpy as np

    from orchestai_jax.planner import Planner

    started = time.perf_counter()
    planner = Planner.from_checkpoint(planner_folder)
    loaded = time.perf_counter()
    planner.plan(texts[0])
    first = time.perf_counter()
    for text in texts[1:]:
        planner.plan(text)
    times = []
    for text in texts:
        begin = time.perf_counter()
        planner.plan(text)
        times.append(1000 * (time.perf_counter() - begin))
    result = {
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
        "n": len(times),
        "load_s": round(loaded - started, 2),
        "first_plan_s": round(first - loaded, 2),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
