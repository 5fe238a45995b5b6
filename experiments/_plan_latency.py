"""Time of one plan on one core: a process of its own, pinned before JAX starts.

Run by `plan_latency`; by hand: `python experiments/_plan_latency.py PLANNER TEXTS.json [CATALOG.json [whole]]`: a JSON
list, and a catalog to plan over in place of the planner's own, with `whole` without retrieval.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestai_jax.planner import Planner

ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "JAX_PLATFORMS": "cpu",
}


def plan_latency(
    planner: pathlib.Path,
    texts: Sequence[str],
    catalog: pathlib.Path | None = None,
    *,
    whole: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time single plans of the texts in a fresh process on one core, after every text was planned once.

    Returns p50 and p95 in milliseconds, how many were timed, the time of the first plan (with its compilation, and the
    encoding of descriptions that are not in the cache), the core count that the process saw and its peak memory in MiB
    (null where the system does not tell). With `whole` a large `catalog` is planned over whole. `say` is told of the
    encoding.

    Raises:
        RuntimeError: when the process fails, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "texts.json"
        file.write_text(json.dumps(list(texts)), encoding="utf-8")
        errors = pathlib.Path(folder) / "stderr"
        given = [str(planner), str(file), *([str(catalog)] if catalog is not None else []), *["whole"] * whole]
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(
                [sys.executable, __file__, *given],
                env={**os.environ, **ONE_THREAD},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if say is not None and not line.startswith("{"):
                    say(line.strip())
        if process.returncode:
            told = errors.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
            raise RuntimeError(f"timing plans failed ({process.returncode}): {told}")
    return json.loads(lines[-1])


def main(arguments: Sequence[str]) -> None:
    """Time and print one line of JSON."""
    planner_folder, texts_file, *more = arguments
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    texts = json.loads(pathlib.Path(texts_file).read_text(encoding="utf-8"))
    import numpy as np

    from orchestai_jax.planner import Planner
    from orchestai_jax.workflow import Catalog

    catalog = Catalog.model_validate_json(pathlib.Path(more[0]).read_bytes()) if more else None
    started = time.perf_counter()
    planner = Planner.from_checkpoint(planner_folder, catalog=catalog)
    planner.progress = told_in_tenths
    planner = over_whole(planner) if more[1:] == ["whole"] else planner
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
        "peak_mib": peak_mib(),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def over_whole(planner: Planner) -> Planner:
    """The planner, from now on without retrieval."""
    config = planner.spec.planner
    retrieval = config.retrieval.model_copy(update={"above": sys.maxsize})
    planner = copy.copy(planner)
    planner.spec = dataclasses.replace(planner.spec, planner=config.model_copy(update={"retrieval": retrieval}))
    planner._bound = {}
    return planner


def told_in_tenths(done: int, total: int) -> None:
    """A line at every tenth of a large catalog's descriptions."""
    if total > 1000 and (done == total or done % (total // 10) < 32):
        print(f"encoding descriptions: {done}/{total}", flush=True)


def peak_mib() -> int | None:
    """The most memory that this process has held, MiB. (Linux; `ru_maxrss` of a child begins at its parent's.)"""
    try:
        status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


if __name__ == "__main__":
    main(sys.argv[1:])
