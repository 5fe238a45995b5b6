"""One contender of lm_decode_cpu.py in a process of its own: prints its tokens a second and peak memory as JSON.

Nothing is imported that the contender does not need: its memory is measured.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pathlib
import time
from typing import Any

PREFILL, DECODE = 128, 64
CONTENDERS = ("ternary", "float32", "llama")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=("empty", *CONTENDERS))
    parser.add_argument("--cpu", type=int, required=True, help="processor to pin to")
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--gguf", type=pathlib.Path, help="llama.cpp's model")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.cpu})  # before JAX or llama.cpp start their threads
    if options.contender == "llama":
        found = measure_llama(options.gguf)
    elif options.contender == "empty":
        warm_up()
        found = {}
    else:
        found = measure_ours(options.contender, options.layers)
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Most memory that this process had (Linux). Not `ru_maxrss`: that one begins at what the parent had."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def warm_up() -> None:
    """Start JAX and compile something; what is read from the cache of compiled programs compiles nothing."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_compilation_cache", False)
    jax.block_until_ready(jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.ones((64, 64))))


def measure_ours(contender: str, layers: int) -> dict[str, Any]:
    from orchestai_jax.language_model.benchmark import measure_generation
    from orchestai_jax.language_model.serving_model import random_packed_model
    from orchestai_jax.language_model.shapes import LARGE_0_7B

    config = LARGE_0_7B.model_copy(update={"num_layers": layers, "max_positions": 256})
    if contender == "ternary":
        model, cache = random_packed_model(config, 0), "int8"
    else:
        model, cache = float_model(config.model_copy(update={"quantization": ()})), "float"
    speed = measure_generation(model, prefill_tokens=PREFILL, decode_tokens=DECODE, repeats=3, cache=cache)
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


if __name__ == "__main__":
    main()
