"""The kernels on a GPU, against cuDNN and XLA in the same run; their tuned records. One command of under 10 minutes.

Attention forward and backward beside cuDNN's at 2k to 16k; feed-forward and graph attention beside what XLA compiles of
their definitions; the ternary matrix-vector product over weights that no cache holds, beside the bandwidth of a copy
and bfloat16 in XLA; decoding with the whole 2B-4T shape, ternary beside bfloat16. Each kernel is searched over its
tiles first, and what was found goes to the package's records.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _gpu_decode import decode_rates
from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from orchestai_kernels import records
from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.arrays.ternary import packed_shape
from orchestai_kernels.dispatch import Op, platform
from orchestai_kernels.shapes import NamedShape
from orchestai_kernels.ternary_matmul import ternary_matmul
from orchestai_kernels.tuning import SearchPolicy, measure, named_shapes, ops, processor_name
from rich.table import Table

from orchestai_jax.language_model.shapes import OFFICIAL_2B

KERNEL = "pallas_gpu"
"""The implementation that is ours."""

LIBRARY = {"attention": ("cudnn", "xla"), "feed_forward": ("xla",), "graph_attention": ("reference",)}
"""What each op is compared with, the first that ran."""

MATRICES = {"8k": (8192, 8192), "16k": (16384, 8192), "2b_up": (6912, 2560), "2b_down": (2560, 6912)}
"""(rows, columns) of the matrix-vector products; the first two are of 16 MB packed and more."""

ROTATED_BYTES = 512 * 2**20
"""Weights that a timed run goes through, so that each comes from memory."""

COPIED_BYTES = 2**30
"""What the copy reads, and writes."""

PARTS = (*LIBRARY, "ternary", "decode")

GOALS = {
    "attention": 0.9,
    "feed_forward": 1.0,
    "graph_attention": 1.0,
    "copy_bandwidth_share": 0.7,
    "against_bfloat16": 4.0,
    "decode_against_bfloat16": 3.3,
}
"""Least ratios: the library's time over ours; for matrix-vector products of 16 MB and more copy and bfloat16; for the
whole model tokens a second over those of bfloat16 weights."""

MODEL = OFFICIAL_2B
"""The model that decodes."""

EXAMPLES = """examples:
  python experiments/kernels_gpu.py
  python experiments/kernels_gpu.py --minutes 4 --only ternary
  python experiments/kernels_gpu.py --out results/kernels_gpu.json --records results/measured
"""


def measured_ops(
    names: Sequence[str], folder: pathlib.Path, policy: SearchPolicy, deadline: float
) -> Iterator[dict[str, Any]]:
    """For each op and named shape of a GPU: the best of ours and of the library, and their raw timings."""
    device = records.device_name()
    for name in names:
        op, library = ops([name])[name], LIBRARY[name]
        path = records.record_path(folder, device, name)
        kept = records.read_record(path)
        for key, shape in named_shapes(name).items():
            if platform() not in shape.platforms:
                continue
            if time.monotonic() > deadline:
                yield {"op": name, "shape": key, "left_out": "no time left; give --minutes more"}
                continue
            trials = op.trials(*shape.args, **shape.kwargs)
            entry = measure(op, trials, shape.args, shape.kwargs, gradient=shape.gradient, policy=policy)
            kept[entry.key] = entry
            records.write_record(path, name, device, kept)
            yield compared(name, key, entry, library, "forward and backward" if shape.gradient else "forward")
            if shape.gradient:
                yield forward_alone(op, key, shape, entry, library, policy)


def compared(op: str, shape: str, entry: records.Entry, library: Sequence[str], what: str) -> dict[str, Any]:
    """The kernel, the library and what `auto` would take, in one row."""
    best: dict[str, records.Timing] = {}
    for timing in reversed(entry.ranked()):
        best[timing.implementation] = timing
    theirs = next((best[name] for name in library if name in best), None)
    ours, auto = best.get(KERNEL), entry.ranked()[0]
    row: dict[str, Any] = {"op": op, "shape": shape, "measured": what, "key": entry.key, "auto": auto.implementation}
    for name, timing in (("kernel", ours), ("library", theirs), ("auto", auto)):
        if timing is not None:
            row[f"{name}_seconds"], row[f"{name}_config"] = timing.median_seconds, timing.config
    if theirs is not None:
        row["library"] = theirs.implementation
        row["auto_ratio"] = theirs.median_seconds / auto.median_seconds
        row["kernel_ratio"] = None if ours is None else theirs.median_seconds / ours.median_seconds
    errors = {t.implementation: t.error for t in entry.timings if t.error and t.implementation not in best}
    return {**row, "errors": errors, "timings": [dataclasses.asdict(t) for t in best.values()]}


def forward_alone(
    op: Op, name: str, shape: NamedShape, tuned: records.Entry, library: Sequence[str], policy: SearchPolicy
) -> dict[str, Any]:
    """The forward pass with the tiles that were found for both passes."""
    trials: list[tuple[Any, Any]] = []
    for timing in tuned.ranked():
        implementation = op.implementations[timing.implementation]
        if implementation.name not in [known.name for known, _ in trials]:
            configs = implementation.configs
            trials.append((implementation, configs.config_class(**(timing.config or {})) if configs else None))
    entry = measure(op, trials, shape.args, shape.kwargs, policy=policy)
    return compared(op.name, name, entry, library, "forward")


def copy_bandwidth() -> dict[str, Any]:
    """Bytes a second of copying on the device: read and written."""
    x = jnp.zeros((COPIED_BYTES // 4,), jnp.float32)
    seconds = timed(jax.jit(lambda x: x + 1), (x,), repeats=20)
    return {"bytes": 2 * x.nbytes, "seconds": seconds, "bytes_a_second": 2 * x.nbytes / float(np.median(seconds))}


def matrix_vector(rows: int, columns: int, bandwidth: float, policy: SearchPolicy) -> dict[str, Any]:
    """One token by a ternary matrix and by the same shape in bfloat16, over more weights than a cache holds."""
    rng = np.random.default_rng(0)

    def tokens(count: int) -> list[jax.Array]:
        # One for each weight: products of the same token could be merged, and its rounding done once for all.
        return [jnp.asarray(rng.standard_normal((1, columns)), jnp.bfloat16) for _ in range(count)]

    packed = rows * columns // 4
    op = ops(["ternary_matmul"])["ternary_matmul"]
    example = ternary(rng, rows, columns)
    (x,) = tokens(1)
    entry = measure(op, op.trials(x, example), (x, example), {}, policy=policy)
    best = next(timing for timing in entry.ranked() if timing.implementation == KERNEL)
    configs = op.implementations[KERNEL].configs
    config = configs.config_class(**(best.config or {})) if configs else None
    weights = [ternary(rng, rows, columns) for _ in range(rotated(packed))]

    @jax.jit
    def by_ternary(tokens: list[jax.Array], weights: list[TernaryArray]) -> list[jax.Array]:
        given = zip(tokens, weights, strict=True)
        return [ternary_matmul(x, weight, implementation=KERNEL, config=config) for x, weight in given]

    ours = [s / len(weights) for s in timed(by_ternary, (tokens(len(weights)), weights), repeats=20)]
    del weights
    make = jax.jit(lambda key: jax.random.normal(key, (rows, columns), jnp.bfloat16))
    floats = [make(key) for key in jax.random.split(jax.random.key(0), rotated(packed * 8))]

    @jax.jit
    def by_bfloat16(tokens: list[jax.Array], weights: list[jax.Array]) -> list[jax.Array]:
        return [jnp.einsum("tk,nk->tn", x, weight) for x, weight in zip(tokens, weights, strict=True)]

    theirs = [s / len(floats) for s in timed(by_bfloat16, (tokens(len(floats)), floats), repeats=20)]
    median, plain = float(np.median(ours)), float(np.median(theirs))
    return {
        "matrix": [rows, columns],
        "packed_bytes": packed,
        "config": best.config,
        "seconds": ours,
        "bfloat16_seconds": theirs,
        "median_seconds": median,
        "copy_bandwidth_share": packed / median / bandwidth,
        "against_bfloat16": plain / median,
    }


def rotated(bytes_each: int) -> int:
    """How many weights of so many bytes a timed run goes through."""
    return max(2, -(-ROTATED_BYTES // bytes_each))


def ternary(rng: np.random.Generator, rows: int, columns: int) -> TernaryArray:
    """Random packed weights: four codes of 0, 1 or 2 a byte."""
    codes = np.zeros(packed_shape(rows, columns), np.uint8)
    for place in range(4):
        codes |= rng.integers(0, 3, codes.shape, np.uint8) << (2 * place)
    return TernaryArray(jnp.asarray(codes), jnp.ones((), jnp.float32), (rows, columns))


def timed(function: Callable[..., Any], args: tuple[Any, ...], repeats: int) -> list[float]:
    """Wall-clock seconds of each of so many calls, after two that warm up."""
    for _ in range(2):
        jax.block_until_ready(function(*args))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        seconds.append(time.perf_counter() - start)
    return seconds


def require_gpu() -> None:
    """Raises ValueError where there is none."""
    if jax.default_backend() != "gpu":
        raise ValueError(f"this measures a GPU; JAX's backend here is {jax.default_backend()}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "experiments" / "results" / "kernels_gpu.json")
    parser.add_argument("--records", type=pathlib.Path, default=records.PACKAGED, help="folder of the tuned records")
    parser.add_argument("--minutes", type=float, default=9.0, help="after so long no further shape is begun")
    parser.add_argument("--repeats", type=int, default=9, help="timed samples of each trial")
    parser.add_argument("--only", nargs="+", default=(), choices=PARTS, help="only these parts")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    require_gpu()
    deadline = time.monotonic() + options.minutes * 60
    policy = SearchPolicy(repeats=options.repeats)
    console = wide_console()
    result: dict[str, Any] = {
        "command": command_line("kernels_gpu.py", arguments),
        "machine": {**describe_machine(), "accelerator": processor_name()},
        "goals": GOALS,
        "ops": [],
    }

    def save() -> None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    parts = options.only or PARTS
    if "ternary" in parts:
        result["copy"] = copy_bandwidth()
        result["matrix_vector"] = {}
        for name, (rows, columns) in MATRICES.items():
            row = matrix_vector(rows, columns, result["copy"]["bytes_a_second"], policy)
            result["matrix_vector"][name] = row
            share, against = row["copy_bandwidth_share"], row["against_bfloat16"]
            took = f"{row['median_seconds'] * 1e6:.1f} us"
            console.print(f"ternary {name}: {took}, {share:.0%} of a copy's bandwidth, {against:.2f} times bfloat16")
            save()
    if "decode" in parts:
        result["decode"] = rates = decode_rates(MODEL, repeats=options.repeats)
        took = f"{rates['ternary']['decode_tokens_per_s']:.0f} tokens/s"
        console.print(f"decode: {took}, {rates['against_bfloat16']:.2f} times bfloat16")
        save()
    table = Table("op", "shape", "measured", "kernel ms", "library ms", "kernel", "auto")
    names = [name for name in parts if name in LIBRARY]
    for row in measured_ops(names, options.records, policy, deadline):
        result["ops"].append(row)
        save()
        table.add_row(*shown(row))
    save()
    console.print(table)
    console.print(f"written: {options.out}, records: {options.records}", markup=False)


def shown(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    if "left_out" in row:
        return [row["op"], row["shape"], row["left_out"], "", "", "", ""]
    kernel = f"{row['kernel_seconds'] * 1e3:.3f}" if "kernel_seconds" in row else str(row["errors"])
    if "library_seconds" not in row:
        return [row["op"], row["shape"], row["measured"], kernel, "", "", row["auto"]]
    ratio = "" if row["kernel_ratio"] is None else f"{row['kernel_ratio']:.2f}"
    theirs = f"{row['library_seconds'] * 1e3:.3f} ({row['library']})"
    auto = f"{row['auto_ratio']:.2f} ({row['auto']})"
    return [row["op"], row["shape"], row["measured"], kernel, theirs, ratio, auto]


if __name__ == "__main__":
    sys.exit(run_script(main))
