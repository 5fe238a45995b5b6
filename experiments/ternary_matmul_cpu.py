"""`ternary_matmul` on one CPU thread: against the memory's speed, XLA's float32 and llama.cpp's TQ2_0, in one run.

Weights are cold: each pass goes over more of them than the last-level cache holds. The floor of a product is the time
of reading its packed bytes at the best speed that AVX2 read loops reach over those weights and over one large buffer.
Contenders take turns within each round; the best and the median round are kept. Everything is measured twice, with the
allocator's ordinary pages and with huge pages (glibc.malloc.hugetlb=1), each in a process of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from rich.table import Table

OUTPUT = ROOT / "experiments" / "results" / "ternary_matmul_cpu.json"
COLD_BYTES = 256 << 20
"""Weights that a pass of one token goes over."""
HEAD = (32000, 1536)
"""(rows, columns) of the int8 vocabulary head of the 0.7 B shape."""
SHAPE_NAMES = ("large_up", "large_down", "2b_down", "2b_up")
"""Of BitNet-b1.58-large (0.7 B) and BitNet-b1.58-2B-4T, as `orchestai_kernels.ternary_matmul.shapes` has them."""
PAGES = {"ordinary": "glibc.malloc.hugetlb=0", "huge": "glibc.malloc.hugetlb=1"}

EXAMPLES = """examples:
  python experiments/ternary_matmul_cpu.py
  python experiments/ternary_matmul_cpu.py --cpu 1 --rounds 9 --without-llama
  python experiments/ternary_matmul_cpu.py --quick --only large_up --pages ordinary --output /tmp/ternary.json
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    if options.measure:
        print(json.dumps(measure(options)))
        return {}
    given = sys.argv[1:] if arguments is None else list(arguments)
    result: dict[str, Any] = {
        "what": "ternary_matmul on one CPU thread, cold weights, seconds a product",
        "command": command_line("ternary_matmul_cpu.py", arguments),
        "quick": options.quick,
        "machine": describe_machine(),
        "pages": {},
    }
    for pages in PAGES if options.pages == "both" else (options.pages,):
        environment = {**os.environ, "GLIBC_TUNABLES": PAGES[pages], "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, __file__, *given, "--measure"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise ValueError(f"measuring with {pages} pages ended with {done.returncode}")
        result["pages"][pages] = json.loads(done.stdout.splitlines()[-1])
    show(result)
    output = pathlib.Path(options.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu", type=int, default=None, help="core to stay on (default: the last that may be used)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds in which the contenders take turns (default 11)")
    parser.add_argument("--pages", choices=["both", *PAGES], default="both", help="one kind alone halves the time")
    parser.add_argument("--only", choices=SHAPE_NAMES, default=None, help="one shape")
    parser.add_argument("--without-llama", action="store_true", help="leave llama.cpp out")
    parser.add_argument("--quick", action="store_true", help="three rounds: to see that it works")
    parser.add_argument("--output", default=str(OUTPUT), help="JSON file to write")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything with the pages that this process was started with."""
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if options.cpu is None else options.cpu
    if core not in cores:
        raise ValueError(f"--cpu must be one of {cores}, got {core}")
    os.sched_setaffinity(0, {core})  # before JAX starts its threads: it then has one
    from orchestai_kernels.cpu import library
    from orchestai_kernels.ternary_matmul.shapes import MATRICES

    ggml = None if options.without_llama else load_ggml()
    matrices = {name: MATRICES[name] for name in (SHAPE_NAMES if options.only is None else [options.only])}
    rounds = 3 if options.quick else options.rounds
    return {
        "core": core,
        "instruction_sets": library.instruction_sets(),
        "llama_cpp_python": None if ggml is None else ggml.version,
        "large_buffer_bytes_per_s": read_large_buffer(rounds),
        "shapes": {name: told(name, one_matrix(*matrix, ggml, rounds)) for name, matrix in matrices.items()},
        "int8_head": int8_head(rounds),
    }


def told(name: str, result: Any) -> Any:
    """The result, after saying on the error stream that it is there."""
    print(f"measured {name}", file=sys.stderr)
    return result


def load_ggml() -> Any:
    from _ggml import Ggml

    return Ggml()


def take_turns(contenders: dict[str, Callable[[], Any]], rounds: int, products: dict[str, int]) -> dict[str, Any]:
    """Seconds a product of each, after one run that does not count: every round, the best and the median."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - start) / products[name])
    return {
        name: {"best_s": min(values), "median_s": statistics.median(values), "rounds_s": values}
        for name, values in seconds.items()
    }


def read_large_buffer(rounds: int) -> dict[str, float]:
    """The best speed of each read loop over one buffer of 512 MB."""
    import numpy as np
    from orchestai_kernels.cpu import library

    loaded = library.load()
    buffer = np.ones(512 << 20, np.uint8)
    loops = {
        f"loop_{loop}": lambda loop=loop: loaded.orchestai_read(loop, buffer.ctypes.data, buffer.nbytes)
        for loop in range(loaded.orchestai_read_loops())
    }
    times = take_turns(loops, min(rounds, 5), dict.fromkeys(loops, 1))
    return {name: buffer.nbytes / time["best_s"] for name, time in times.items()}


def one_matrix(rows: int, columns: int, ggml: Any, rounds: int) -> dict[str, Any]:
    """One shape with one token and with 128."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from orchestai_kernels.arrays import TernaryArray, pack_ternary
    from orchestai_kernels.cpu import library
    from orchestai_kernels.cpu.config import CpuConfig
    from orchestai_kernels.ternary_matmul import ternary_matmul

    rng = np.random.default_rng(0)
    kinds = [rng.integers(-1, 2, (rows, columns)).astype(np.int8) for _ in range(3)]
    packed = [pack_ternary(kind, 1.0) for kind in kinds]
    bytes_each = packed[0].codes.nbytes
    copies = -(-COLD_BYTES // bytes_each)
    weights = [
        TernaryArray(jnp.array(packed[i % 3].codes, copy=True), packed[0].scale, (rows, columns)) for i in range(copies)
    ]
    loaded = library.load()
    addresses = [weight.codes.unsafe_buffer_pointer() for weight in weights]

    def read(loop: int) -> None:
        for address in addresses:
            loaded.orchestai_read(loop, ctypes.c_void_p(address), bytes_each)

    result: dict[str, Any] = {"rows": rows, "columns": columns, "packed_bytes": bytes_each, "cold_copies": copies}
    for tokens in (1, 128):
        # the integers with 127 among them make s = 1: every contender's result can be compared
        x = rng.integers(-127, 128, (tokens, columns)).astype(np.float32)
        x[:, 0] = 127
        used = weights if tokens == 1 else weights[: -(-(40 << 20) // bytes_each)]
        contenders: dict[str, Callable[[], Any]] = {}
        products: dict[str, int] = {}
        for name in library.instruction_sets():
            if name == "portable" and tokens > 1:
                continue
            some = used if name != "portable" else used[:8]
            run = jax.jit(products_of(ternary_matmul, implementation="cpu", config=CpuConfig(name)))
            contenders[f"ours_{name}"] = lambda run=run, x=x, some=some: jax.block_until_ready(run(x, some))
            products[f"ours_{name}"] = len(some)
            compare(run(x, some[:3]), x, kinds, exact=True)
        if tokens == 1:
            for loop in range(loaded.orchestai_read_loops()):
                contenders[f"read_{loop}"] = lambda loop=loop: read(loop)
                products[f"read_{loop}"] = copies
        graph = None
        if ggml is not None:
            from _ggml import TernaryProducts

            graph = TernaryProducts(ggml, [kind.astype(np.float32) for kind in kinds], len(used), x)
            contenders["llama_tq2_0"], products["llama_tq2_0"] = graph.run, len(used)
            graph.run()
            compare([graph.result(i) for i in range(3)], x, kinds, exact=False)
        times = take_turns(contenders, rounds if tokens == 1 else min(rounds, 5), products)
        if graph is not None:
            graph.close()
        times.update(xla_float32(x, kinds[0], rounds if tokens == 1 else min(rounds, 5)))
        result[f"tokens_{tokens}"] = times
    return result


def products_of(multiply: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """A function of x and weights: the products with all of them, as the layers of a model that is not scanned."""
    return lambda x, weights: [multiply(x, weight, **how) for weight in weights]


def compare(results: Sequence[Any], x: Any, kinds: Sequence[Any], *, exact: bool) -> None:
    """Ours must be the integers themselves; llama.cpp's are close (its activations are quantised by blocks of 256)."""
    import numpy as np

    for result, kind in zip(results, kinds, strict=True):
        wanted = x.astype(np.int64) @ kind.T.astype(np.int64)
        error = float(np.abs(np.asarray(result, np.float64) - wanted).max())
        bound = 0.0 if exact else 0.02 * float(np.abs(wanted).max())
        if error > bound:
            raise ValueError(f"a result is off by {error}, allowed are {bound}")


def xla_float32(x: Any, kind: Any, rounds: int) -> dict[str, Any]:
    """XLA's float32 product over cold dense weights, stored [rows, columns] and [columns, rows]."""
    import jax
    import jax.numpy as jnp

    times: dict[str, Any] = {}
    for name, equation, dense in (
        ("xla_float32_rows_columns", "tk,nk->tn", kind.astype("float32")),
        ("xla_float32_columns_rows", "tk,kn->tn", kind.T.astype("float32").copy()),
    ):
        copies = max(3, -(-COLD_BYTES // dense.nbytes))
        weights = [jnp.array(dense, copy=True) for _ in range(copies)]
        run = jax.jit(products_of(lambda x, w, equation=equation: jnp.einsum(equation, x, w)))
        times.update(
            take_turns(
                {name: lambda run=run, w=weights: jax.block_until_ready(run(x, w))}, min(rounds, 5), {name: copies}
            )
        )
    return times


def int8_head(rounds: int) -> dict[str, Any]:
    """The int8 product of a vocabulary head with one token."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from orchestai_kernels.arrays import Int8Array, quantize_int8
    from orchestai_kernels.cpu import library
    from orchestai_kernels.cpu.config import CpuConfig
    from orchestai_kernels.int8_matmul import int8_matmul

    rng = np.random.default_rng(0)
    dense = rng.normal(size=HEAD).astype(np.float32)
    one = quantize_int8(dense)
    copies = -(-COLD_BYTES // one.values.nbytes)
    weights = [Int8Array(jnp.array(one.values, copy=True), one.scale) for _ in range(copies)]
    x = rng.normal(size=(1, HEAD[1])).astype(np.float32)
    loaded = library.load()
    contenders: dict[str, Callable[[], Any]] = {}
    for name in library.instruction_sets():
        run = jax.jit(products_of(int8_matmul, implementation="cpu", config=CpuConfig(name)))
        contenders[f"ours_{name}"] = lambda run=run: jax.block_until_ready(run(x, weights))
    for loop in range(loaded.orchestai_read_loops()):
        contenders[f"read_{loop}"] = lambda loop=loop: [
            loaded.orchestai_read(loop, ctypes.c_void_p(w.values.unsafe_buffer_pointer()), w.values.nbytes)
            for w in weights
        ]
    times = take_turns(contenders, rounds, dict.fromkeys(contenders, copies))
    return {"rows": HEAD[0], "columns": HEAD[1], "bytes": one.values.nbytes, "tokens_1": times}


def fastest(times: dict[str, Any], prefix: str) -> float | None:
    """The best seconds of the contenders whose names start so; None without one."""
    return min((time["best_s"] for name, time in times.items() if name.startswith(prefix)), default=None)


def summary(matrix: dict[str, Any], large_buffer: dict[str, float]) -> dict[str, float | None]:
    """From the best rounds: time over that of reading the packed bytes (of the weights, of one large buffer), and how
    many times slower XLA's float32 and llama.cpp's TQ2_0 are.
    """
    one, many = matrix["tokens_1"], matrix["tokens_128"]
    ours, ours_many = fastest(one, "ours_"), fastest(many, "ours_")
    reading = fastest(one, "read_")
    llama, llama_many = fastest(one, "llama"), fastest(many, "llama")
    assert ours is not None
    assert ours_many is not None
    assert reading is not None
    return {
        "us": ours * 1e6,
        "over_reading": ours / reading,
        "over_buffer": ours / (matrix["packed_bytes"] / max(large_buffer.values())),
        "xla_x": (fastest(one, "xla") or 0) / ours,
        "llama_x": None if llama is None else llama / ours,
        "ms_128": ours_many * 1e3,
        "xla_x_128": (fastest(many, "xla") or 0) / ours_many,
        "llama_x_128": None if llama_many is None else llama_many / ours_many,
    }


def show(result: dict[str, Any]) -> None:
    """Print the ratios and keep them beside the times."""
    console = wide_console()
    for pages, measured in result["pages"].items():
        buffer = measured["large_buffer_bytes_per_s"]
        table = Table(title=f"{pages} pages; a large buffer is read at {max(buffer.values()) / 1e9:.1f} GB/s")
        names: list[str] = []
        for name, matrix in measured["shapes"].items():
            matrix["summary"] = summary(matrix, buffer)
            if not names:
                names = list(matrix["summary"])
                for title in ("shape", *names):
                    table.add_column(title, justify="right")
            table.add_row(name, *("-" if v is None else f"{v:.2f}" for v in matrix["summary"].values()))
        console.print(table)
        head = measured["int8_head"]["tokens_1"]
        ours, reading = fastest(head, "ours_"), fastest(head, "read_")
        assert ours is not None
        assert reading is not None
        measured["int8_head"]["summary"] = {"ms": ours * 1e3, "over_reading": ours / reading}
        console.print(f"int8 head: {ours * 1e3:.2f} ms, {ours / reading:.2f} times reading it")


if __name__ == "__main__":
    sys.exit(run_script(main))
