"""A whole ternary model of the 0.7 B shape on one CPU thread: against its float32 twin and llama.cpp's TQ2_0.

Random weights in BitNet-b1.58-large's shape (24 layers, 1536 wide, vocabulary 32,000, tied head): speed depends on
shapes, not on values. Each contender runs in processes of its own, pinned to one processor, in turns: ours with packed
ternary weights and an int8 head, ours in float32, llama.cpp with TQ2_0 weights and a Q6_K head (its GGUF is written
here). Peak memory is what a process with the model has over a warmed empty one (JAX started and something compiled).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from rich.table import Table

OUTPUT = ROOT / "experiments" / "results" / "lm_decode_cpu.json"
PREFILL, DECODE = 128, 64
CONTENDERS = ("ternary", "float32", "llama")

EXAMPLES = """examples:
  python experiments/lm_decode_cpu.py
  python experiments/lm_decode_cpu.py --cpu 1 --rounds 5 --without-llama
  python experiments/lm_decode_cpu.py --quick --output /tmp/decode.json
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    if options.measure:
        print(json.dumps(measure(options)))
        return {}
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
    parser.add_argument("--measure", choices=("empty", *CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--gguf", type=pathlib.Path, help=argparse.SUPPRESS)
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
    command = [sys.executable, __file__, "--measure", name, "--gguf", str(gguf_file), "--cpu", str(options.cpu)]
    command += ["--quick"] if options.quick else []
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{name}: its process ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    os.sched_setaffinity(0, {options.cpu})  # before JAX or llama.cpp start their threads
    if options.measure == "llama":
        found = measure_llama(options.gguf)
    elif options.measure == "empty":
        warm_up()
        found = {}
    else:
        found = measure_ours(options)
    return {**found, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def warm_up() -> None:
    import jax
    import jax.numpy as jnp

    jax.block_until_ready(jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.ones((64, 64))))


def measure_ours(options: argparse.Namespace) -> dict[str, Any]:
    from orchestai_jax.language_model.benchmark import measure_generation
    from orchestai_jax.language_model.serving_model import random_packed_model
    from orchestai_jax.language_model.shapes import LARGE_0_7B

    config = LARGE_0_7B.model_copy(update={"num_layers": options.layers, "max_positions": 256})
    if options.measure == "ternary":
        model = random_packed_model(config, 0)
    else:
        twin = config.model_copy(update={"quantization": ()})
        model = float_model(twin)
    speed = measure_generation(model, prefill_tokens=PREFILL, decode_tokens=DECODE, repeats=3)
    return {
        "prefill_tokens_per_s": PREFILL / min(speed.prefill_s),
        "decode_tokens_per_s": DECODE / min(speed.decode_s),
        "model_bytes": speed.model_bytes,
    }


def float_model(config: Any) -> Any:
    """Random float weights a layer at a time, so that the peak is the model's and not that of making it."""
    import jax.numpy as jnp
    import numpy as np

    from orchestai_jax.language_model.model import model_structure
    from orchestai_jax.language_model.serving_model import ServingModel

    rng = np.random.default_rng(0)
    shapes = model_structure(config)[1]

    def made(shape: tuple[int, ...]) -> Any:
        if len(shape) == 1:
            return jnp.ones(shape, jnp.float32)
        values = rng.standard_normal(shape, np.float32)
        values *= np.float32(shape[-1] ** -0.5)
        return jnp.asarray(values)

    layers = tuple(
        {
            name.removeprefix("layers."): made(shape.shape[1:])
            for name, shape in shapes.items()
            if name.startswith("layers.")
        }
        for _ in range(config.num_layers)
    )
    return ServingModel(made(shapes["embedding"].shape), layers, made(shapes["norm.weight"].shape), None, config)


def write_gguf(path: pathlib.Path, layers: int) -> None:
    """Random weights of the same shape for llama.cpp: TQ2_0 projections, a Q6_K embedding that is the head too."""
    import gguf  # pyright: ignore[reportMissingImports] - extra `llama`
    import numpy as np

    from orchestai_jax.language_model.shapes import LARGE_0_7B as SHAPE

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "bitnet")
    writer.add_block_count(layers)
    writer.add_context_length(SHAPE.max_positions)
    writer.add_embedding_length(SHAPE.hidden_size)
    writer.add_feed_forward_length(SHAPE.intermediate_size)
    writer.add_head_count(SHAPE.num_heads)
    writer.add_head_count_kv(SHAPE.num_kv_heads)
    writer.add_layer_norm_rms_eps(SHAPE.rms_epsilon)
    writer.add_rope_freq_base(SHAPE.rope_theta)
    writer.add_vocab_size(SHAPE.vocab_size or 0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_TQ2_0)
    writer.add_tokenizer_model("none")

    def half(blocks: int, value: float) -> Any:
        return np.full((blocks, 1), value, np.float16).view(np.uint8)

    def ternary(name: str, rows: int, columns: int) -> None:
        blocks = rows * columns // 256
        codes = np.array([a | b << 2 | c << 4 | d << 6 for a in range(3) for b in range(3) for c in range(3)
                          for d in range(3)], np.uint8)  # fmt: skip
        data = np.concatenate([codes[rng.integers(0, 81, (blocks, 64))], half(blocks, columns**-0.5)], axis=1)
        writer.add_tensor(name, data.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType.TQ2_0)

    def norm(name: str, size: int) -> None:
        writer.add_tensor(name, np.ones(size, np.float32))

    vocab = SHAPE.vocab_size or 0
    blocks = vocab * SHAPE.hidden_size // 256
    # 6 bits, eight-bit scales, a half: block_q6_K
    bits = rng.integers(0, 256, (blocks, 192), dtype=np.uint8)
    scales = rng.integers(1, 32, (blocks, 16), dtype=np.uint8)
    table = np.concatenate([bits, scales, half(blocks, 1e-4)], axis=1)
    writer.add_tensor("token_embd.weight", table.reshape(vocab, -1), raw_dtype=gguf.GGMLQuantizationType.Q6_K)
    norm("output_norm.weight", SHAPE.hidden_size)
    hidden, inner = SHAPE.hidden_size, SHAPE.intermediate_size
    for i in range(layers):
        for name, size in (("attn_norm", hidden), ("attn_sub_norm", hidden), ("ffn_norm", hidden)):
            norm(f"blk.{i}.{name}.weight", size)
        norm(f"blk.{i}.ffn_sub_norm.weight", inner)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            ternary(f"blk.{i}.{name}.weight", hidden, hidden)
        ternary(f"blk.{i}.ffn_gate.weight", inner, hidden)
        ternary(f"blk.{i}.ffn_up.weight", inner, hidden)
        ternary(f"blk.{i}.ffn_down.weight", hidden, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measure_llama(path: pathlib.Path) -> dict[str, Any]:
    import llama_cpp  # pyright: ignore[reportMissingImports] - extra `llama`
    import numpy as np

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)  # it tells every tensor of every graph
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    parameters.use_mmap = False  # its pages count as memory of the process, as ours do
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise ValueError("llama.cpp does not load the GGUF that was written")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = 256, PREFILL, PREFILL
    settings.n_threads = settings.n_threads_batch = 1
    context = llama_cpp.llama_init_from_model(model, settings)
    if not context:
        raise ValueError("llama.cpp makes no context")
    memory = llama_cpp.llama_get_memory(context)
    if memory is None:
        raise ValueError("llama.cpp's context has no memory")
    tokens = (llama_cpp.llama_token * PREFILL)(*np.random.default_rng(0).integers(0, 32000, PREFILL).tolist())

    def decode(count: int) -> None:
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, count)):
            raise ValueError("llama_decode failed")
        llama_cpp.llama_synchronize(context)

    prefill_s, decode_s = [], []
    for number in range(4):
        llama_cpp.llama_memory_clear(memory, True)
        begun = time.perf_counter()
        decode(PREFILL)
        middle = time.perf_counter()
        llama_cpp.llama_memory_clear(memory, True)
        decode(1)
        started = time.perf_counter()
        for _ in range(DECODE):
            decode(1)
        if number:  # the first pass warms up
            prefill_s.append(middle - begun)
            decode_s.append(time.perf_counter() - started)
    return {
        "prefill_tokens_per_s": PREFILL / min(prefill_s),
        "decode_tokens_per_s": DECODE / min(decode_s),
        "model_bytes": path.stat().st_size,
    }


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
