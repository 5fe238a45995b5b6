"""Training processes that are killed at any moment, and checkpoints of which a byte is flipped.

Part one: real processes train a small language model (average of parameters, accumulation and skipped updates switched
on, a checkpoint every third step) and are killed with SIGKILL 100 times: many of them at a random moment, many as soon
as an unfinished checkpoint is seen on the disk, a random few milliseconds later. Another process resumes the run each
time. At its end every array of the last checkpoint and every line of metrics (their wall time aside) must be, to the
bit, what a run has that nothing interrupted; a run that cannot go on is lost.

Part two: in each file of a checkpoint one byte is flipped, at its first, middle, last and some random places, one at a
time; opening the checkpoint must fail, and `latest-good` must go back to the checkpoint before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from _engine_workloads import parser, write_result
from _script import run_script

SCRIPT = "resume_faults.py"
CONFIG = """
kind: language_model
name: killed
data: {{train: {text}}}
model: {{hidden_size: 16, intermediate_size: 32, num_layers: 2, num_heads: 2, num_kv_heads: 1, max_positions: 16}}
training: {{batch_size: 4, sequence_length: 16, num_steps: 48, evaluate_every_steps: 16, warmup_steps: 8,
  learning_rate: 0.01, log_every_steps: 1, save_every_steps: 3, keep_checkpoints: 2, ema_decay: 0.9,
  accumulate_steps: 2, skip_nonfinite_updates: 3}}
monitoring: {{trackers: [], layer_norms_every_steps: 10, histograms_every_steps: null}}
system: {{progress: none, compilation_cache_dir: {cache}}}
"""
TEXT = "the quick brown fox jumps over the lazy dog. " * 60


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parser(__doc__, SCRIPT, "5 kills and a few flips: checks the script").parse_args(arguments)
    kills, flips = (5, 4) if options.quick else (100, 16)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        result = {
            "what": "runs lost and bits that differ after SIGKILL and resumption; flipped bytes that were not noticed",
            "goals": {"lost_runs": 0, "bit_differences": 0, "undetected_flips": 0},
            "kills": kill_and_resume(kills, options.seed, root),
            "corruption": flip_bytes(root / "whole", flips, options.seed),
        }
    print(json.dumps(result, indent=2))
    write_result(SCRIPT, arguments, options, result)
    return result


def train(root: str, name: str, resume: bool) -> None:
    """What a process does: begin the run, or go on with it."""
    from orchestai_jax.config import LanguageRunConfig, parse_run_config
    from orchestai_jax.training.language_model import train_language_model

    folder = pathlib.Path(root)
    config = parse_run_config(CONFIG.format(text=folder / "text.txt", cache=folder / "cache"))
    assert isinstance(config, LanguageRunConfig)
    train_language_model(config, folder / name, resume=resume)


@dataclasses.dataclass
class Killing:
    """What was seen while runs were killed."""

    kills: int = 0
    killed_with_unfinished_checkpoint: int = 0
    killed_before_the_first_checkpoint: int = 0
    runs: int = 0
    lost_runs: int = 0
    bit_differences: int = 0


def kill_and_resume(kills: int, seed: int, root: pathlib.Path) -> dict[str, Any]:
    """Kill runs until there were so many kills, and compare each that reached its end with the uninterrupted one."""
    draw, seen = random.Random(seed), Killing()
    (root / "text.txt").write_text(TEXT)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["orchestai_jax.training.language_model"])
    seconds = 0.0
    for name in ("compiling", "whole"):  # the first fills the compilation cache: kills are to come while it trains
        began = time.monotonic()
        process = start(context, root, name, False)
        process.join()
        if process.exitcode != 0:
            raise ValueError(f"a run that nothing interrupts ended with exit code {process.exitcode}")
        seconds = time.monotonic() - began
        print(f"{name}: {seconds:.1f} s", file=sys.stderr)
    expected = fingerprint(root / "whole")
    while seen.kills < kills:
        name = f"run{seen.runs}"
        seen.runs += 1
        exit_code = one_run(context, root, name, seconds, draw, seen, kills)
        if exit_code != 0:
            seen.lost_runs += 1
        elif fingerprint(root / name) != expected:
            seen.bit_differences += 1
        shutil.rmtree(root / name, ignore_errors=True)
    return dataclasses.asdict(seen)


def one_run(
    context: Any, root: pathlib.Path, name: str, seconds: float, draw: random.Random, seen: Killing, kills: int
) -> int | None:
    """Train one run to its end, killed at least once on the way, if so many kills are still wanted. Its exit code."""
    began = time.monotonic()
    for attempt in range(10_000):
        process = start(context, root, name, attempt > 0)
        wanted = seen.kills < kills and attempt < 20
        if wanted and (attempt % 2 == 0 or draw.random() < 0.5):
            process.join(draw.uniform(0, seconds))
        elif wanted:
            wait_for_unfinished(root / name, process, seconds)
            time.sleep(draw.uniform(0, 0.01))
        else:
            process.join()
        if process.exitcode is not None:
            return process.exitcode
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        seen.kills += 1
        checkpoints = root / name / "checkpoints"
        seen.killed_with_unfinished_checkpoint += bool(list(checkpoints.glob("*orbax-checkpoint-tmp*")))
        seen.killed_before_the_first_checkpoint += not any(
            path.name.isdigit() for path in checkpoints.glob("*") if checkpoints.exists()
        )
        print(f"{seen.kills} kills, {time.monotonic() - began:.0f} s in this run", file=sys.stderr)
    raise AssertionError("a run did not end")


def start(context: Any, root: pathlib.Path, name: str, resume: bool) -> Any:
    process = context.Process(target=train, args=(str(root), name, resume))
    process.start()
    return process


def wait_for_unfinished(workdir: pathlib.Path, process: Any, seconds: float) -> None:
    """Until an unfinished checkpoint is on the disk (or the process has ended, or for too long)."""
    until = time.monotonic() + seconds
    checkpoints = workdir / "checkpoints"
    already = set(checkpoints.glob("*orbax-checkpoint-tmp*"))  # of the process that was killed before
    while time.monotonic() < until and process.exitcode is None:
        if set(checkpoints.glob("*orbax-checkpoint-tmp*")) - already:
            return
        time.sleep(0.0005)


def fingerprint(workdir: pathlib.Path) -> dict[str, Any]:
    """The last checkpoint's arrays and the lines of metrics, without what is no two times the same."""
    import jax
    import numpy as np

    from orchestai_jax.checkpoint import open_checkpoint

    reader = open_checkpoint(workdir, "latest")

    def digest(leaf: Any) -> str:
        words = jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        array = np.asarray(words)
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"

    leaves = jax.tree_util.tree_flatten_with_path(reader.restore(subtree=None))[0]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    data = reader.data_state
    data["loop"].pop("wall_s")
    return {
        "arrays": {jax.tree_util.keystr(path): digest(leaf) for path, leaf in leaves},
        "lines": [{key: value for key, value in line.items() if key != "wall_s"} for line in lines],
        "data": data,
        "step": reader.step,
    }


def flip_bytes(workdir: pathlib.Path, flips: int, seed: int) -> dict[str, Any]:
    """Flip bytes of each file of a run's newest checkpoint, one at a time."""
    from orchestai_jax.checkpoint import CheckpointDamagedError, CheckpointError, CheckpointReader, CheckpointStore

    draw = random.Random(seed)
    checkpoints = workdir / "checkpoints"
    steps = sorted(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit())
    newest, before = checkpoints / str(steps[-1]), steps[-2]
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    tried, undetected, unnamed = 0, [], 0
    for path in files:
        whole = path.read_bytes()
        places = {0, len(whole) // 2, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(flips))}
        for place in sorted(places):
            changed = bytearray(whole)
            changed[place] ^= draw.randrange(1, 256)
            path.write_bytes(changed)
            tried += 1
            try:
                CheckpointReader(newest)
                undetected.append(f"{path.relative_to(newest)}[{place}]")
            except CheckpointDamagedError as error:
                unnamed += path.name not in str(error)
            except CheckpointError:
                unnamed += 1  # noticed, but taken for another version of the format
        path.write_bytes(whole)
    fell_back = 0
    for path in files:  # the same through the store that a resumption opens, on a copy: it sets the damaged one aside
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "checkpoints"
            shutil.copytree(checkpoints, copy)
            damaged = copy / path.relative_to(checkpoints)
            content = bytearray(damaged.read_bytes())
            content[len(content) // 2] ^= 0xFF
            damaged.write_bytes(content)
            with CheckpointStore(copy) as store, contextlib.suppress(CheckpointError):
                reader, _ = store.newest(good=True)
                fell_back += reader is not None and reader.step == before
    return {
        "files": len(files),
        "flips": tried,
        "undetected_flips": len(undetected),
        "undetected": undetected,
        "detected_under_another_name": unnamed,
        "latest_good_fell_back": fell_back,
    }


if __name__ == "__main__":
    sys.exit(run_script(main))
