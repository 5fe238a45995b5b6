"""One training of phase 1 on UltraTool, plain or optimized, measured in a process of its own.

Plain is an honest default: jitted, float32, the same model, seed, samples, update rule and number of updates; padded to
the longest input, frozen layers computed anew at each step, nothing donated, float32 moments, no gates.
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import statistics
import tempfile
import time
from typing import Any

import jax
import numpy as np
from _machine import ROOT

from orchestai_jax.config import load_config
from orchestai_jax.optimization.encoded_moments import decoded_state, encoded_part, moment_bytes, with_encoding
from orchestai_jax.optimization.semantic_compression import encode
from orchestai_jax.training import supervised
from orchestai_jax.training.optimization_hook import REPORT, OptimizationHook

FACTORS = ("cache", "buckets", "donation", "optimization")
"""Frozen layers' outputs kept, short batches padded short, the state donated, kernels and moments (with gates)."""


class _CapturedError(Exception):
    """The training has been captured."""


def measure(factors: tuple[str, ...], seed: int, updates: int, samples: int, validation: int) -> dict[str, Any]:
    """Train `updates` steps on the first `samples`; samples/s without the steps that compile, validation, bytes of
    moments. With no updates: the step's peak bytes instead, at the longest batch of an epoch."""
    overrides = [f"seed={seed}", "system.progress=none"]
    overrides += [] if "optimization" in factors else ["optimization.enabled=false"]
    config = load_config(ROOT / "configs" / "planner_ultratool_optimized.yaml", overrides)
    captured: dict[str, Any] = {}

    def cut(*args: Any) -> Any:
        found = original_samples(*args)
        return supervised.TrainingSamples(found.catalog, found.train[:samples], found.validation[:validation])

    def lay_out(*args: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        made = original_data(*args, **{**options, **({} if "cache" in factors else {"lower": None})})
        captured["cache_s"] = captured.get("cache_s", 0.0) + time.perf_counter() - begun
        return made

    def vectors_of(*args: Any, **options: Any) -> Any:
        vectors = original_vectors(*args, **options)
        captured["vector_error"] = encode(vectors, block_size=64).relative_error
        return vectors

    def run(**given: Any) -> Any:
        captured.update(_train(given, updates) if updates else _peak(given))
        raise _CapturedError

    original_samples, original_data = supervised.load_training_samples, supervised.PlanningData
    original_vectors, original_jit = supervised.catalog_vectors, jax.jit
    supervised.load_training_samples, supervised.PlanningData = cut, lay_out  # type: ignore
    supervised.catalog_vectors, supervised.run_loop = vectors_of, run  # type: ignore
    if "buckets" not in factors:
        supervised.TRAINING_BUCKET = config.planner.encoder.max_tokens  # type: ignore[misc]
    if "donation" not in factors:
        jax.jit = functools.partial(_undonated, original_jit)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_CapturedError):
        supervised.train_planner(config, pathlib.Path(folder) / "run")
    return {"factors": list(factors), "seed": seed, "updates": updates, **captured}


def _undonated(jit: Any, function: Any = None, **options: Any) -> Any:
    options.pop("donate_argnums", None)
    return jit(function, **options) if function is not None else functools.partial(jit, **options)


def _train(given: dict[str, Any], updates: int) -> dict[str, Any]:
    state, step, batches = given["state"], given["train_step"], given["batches"]
    hook = step.__self__ if isinstance(getattr(step, "__self__", None), OptimizationHook) else None
    rows, seen, seconds, errors, alarms = given["config"].batch_size, set(), [], [], 0
    first_call = 0.0
    for number in range(1, updates + 1):
        batch = next(batches)
        shape = jax.tree.map(np.shape, batch)
        is_new = str(shape) not in seen
        seen.add(str(shape))
        begun = time.perf_counter()
        state, measured = step(state, batch)
        measured = jax.device_get(measured)
        took = time.perf_counter() - begun
        first_call = first_call or took
        if not is_new:
            seconds.append(took)
        if hook is not None:
            values = {name: float(value) for name, value in measured.items() if np.ndim(value) == 0}
            alarms += bool(hook.orchestrator.observe(number, values).violations)
            errors.append(values["compression_error"])
    if not seconds:
        raise ValueError(f"{updates} updates are too few: each compiled a program anew")
    validation = given["evaluate"](state)
    taken, plain = moment_bytes(state.opt_state)
    found = {
        "samples_per_s": rows / statistics.mean(seconds),
        "step_s": seconds,
        "validation_loss": validation["loss"],
        "node_f1": validation["node_f1"],
        "moment_bytes": taken,
        "float_moment_bytes": plain,
        "gate_violations": alarms,
        "moment_error": max(errors, default=0.0),
    }
    if hook is not None:
        report = hook._records / REPORT
        found["kernel_search_s"] = _search_seconds(report)
        found |= _operations(state)
    return found


def _peak(given: dict[str, Any]) -> dict[str, Any]:
    """Bytes that a step holds at once: temporaries, arguments, and outputs that take no argument's place."""
    state, step, batches = given["state"], given["train_step"], given["batches"]
    hook = step.__self__ if isinstance(getattr(step, "__self__", None), OptimizationHook) else None
    if hook is not None:
        state, measured = step(state, next(batches))  # takes the optimizations up
        jax.block_until_ready(measured)
    jitted = hook._step if hook is not None else step
    longest = max((next(batches) for _ in range(batches.steps_per_epoch)), key=lambda batch: batch.mask.shape[1])
    memory = jitted.func.lower(state, longest, **jitted.keywords).compile().memory_analysis()
    total = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    total += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {"step_bytes": total, "padded_tokens": int(longest.mask.shape[1])}


def _search_seconds(report: pathlib.Path) -> float:
    return json.loads(report.read_text(encoding="utf-8"))["seconds"] if report.exists() else 0.0


def _operations(state: Any) -> dict[str, Any]:
    """Seconds of encoding and decoding all moments once, by themselves."""
    part = encoded_part(state.opt_state)
    assert part is not None
    decode = jax.jit(decoded_state)
    encode = jax.jit(lambda plain: with_encoding(plain, part.first.block))
    plain = jax.block_until_ready(decode(part))
    jax.block_until_ready(encode(plain))
    times = []
    for _ in range(9):
        begun = time.perf_counter()
        jax.block_until_ready(encode(jax.block_until_ready(decode(part))))
        times.append(time.perf_counter() - begun)
    return {"codec_s": statistics.median(times)}
