"""Plans, the encoder's matrix products and the same encoder elsewhere, timed in turn on one core.

Run by `plan_speed.py`; by hand: `python experiments/_plan_speed_process.py PLANNER TEXTS.json ENCODER MODEL.onnx
COUNT`: a JSON list, the folder of published weights or "none", a file that is written where it is missing, and how many
plans are batched.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

BUCKET = 16
"""What the planner pads instructions to."""


def main(arguments: Sequence[str]) -> None:
    """Time and print one line of JSON."""
    planner_folder, texts_file, encoder, onnx_file, count = arguments
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    texts = json.loads(pathlib.Path(texts_file).read_text(encoding="utf-8"))
    from orchestai_jax.planner import Planner

    planner = Planner.from_checkpoint(planner_folder)
    token_ids = planner._reader.tokens(texts)
    contenders: dict[str, Callable[[int], Any]] = {"plan": lambda i: planner.plan(texts[i])}
    contenders["matrix_products"] = matrix_products(planner, [padded(len(ids)) for ids in token_ids])
    skipped = {}
    for name, make in (("torch_eager", torch_eager), ("onnx_runtime", onnx_runtime)):
        try:
            contenders[name] = make(token_ids, encoder, pathlib.Path(onnx_file))
        except (ImportError, FileNotFoundError) as error:
            skipped[name] = str(error).splitlines()[0]
    times = timed_in_turn(contenders, len(texts))
    result = {
        "n": len(texts),
        "tokens_p50": float(np.median([len(ids) for ids in token_ids])),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "ms": {name: {f"p{p}": round(float(np.percentile(t, p)), 3) for p in (50, 95)} for name, t in times.items()},
        "skipped": skipped,
        "batched": batched(planner, texts, token_ids, int(count)),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def timed_in_turn(contenders: dict[str, Callable[[int], Any]], count: int) -> dict[str, list[float]]:
    """Milliseconds of each contender on each text, one text after the other, after a round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for counts in (False, True):
        for i in range(count):
            for name, run in contenders.items():
                started = time.perf_counter()
                run(i)
                if counts:
                    times[name].append(1000 * (time.perf_counter() - started))
    return times


def padded(length: int) -> int:
    """The length that the planner pads to."""
    return -(-length // BUCKET) * BUCKET


def matrix_products(planner: Any, lengths: Sequence[int]) -> Callable[[int], Any]:
    """The products of matrices in the encoder and nothing else, at the lengths that the planner pads to."""
    import jax
    import jax.numpy as jnp

    sizes = planner.spec.encoder
    hidden, heads, wide = sizes.hidden_size, sizes.num_heads, sizes.intermediate_size
    draw = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> Any:
        return jnp.asarray(draw.normal(0, rows**-0.5, (rows, columns)), jnp.float32)

    shapes = [(hidden, hidden)] * 4 + [(hidden, wide), (wide, hidden)]
    layers = [tuple(matrix(*shape) for shape in shapes) for _ in range(sizes.num_layers)]

    @jax.jit
    def products(x: Any, layers: Any) -> Any:
        for query, key, value, out, up, down in layers:
            q, k, v = ((x @ w).reshape(-1, heads, hidden // heads) for w in (query, key, value))
            scores = jnp.einsum("qhd,khd->hqk", q, k)
            x = jnp.einsum("hqk,khd->qhd", scores, v).reshape(-1, hidden) @ out
            x = (x @ up) @ down
        return x

    inputs = {n: matrix(n, hidden) for n in set(lengths)}
    return lambda i: products(inputs[lengths[i]], layers).block_until_ready()


def torch_eager(token_ids: Sequence[Sequence[int]], encoder: str, _: pathlib.Path) -> Callable[[int], Any]:
    """The published encoder in PyTorch, one thread, without padding."""
    import torch

    model = torch_encoder(encoder)
    inputs = [torch.tensor([ids]) for ids in token_ids]

    def run(i: int) -> Any:
        with torch.inference_mode():
            return model(input_ids=inputs[i]).last_hidden_state

    return run


def torch_encoder(encoder: str) -> Any:
    """transformers' BertModel of a folder. Raises FileNotFoundError where there is none."""
    import torch
    from transformers import BertModel

    if not pathlib.Path(encoder).is_dir():
        raise FileNotFoundError("the planner's encoder was not imported: there is no published one to compare with")
    torch.set_num_threads(1)
    return BertModel.from_pretrained(encoder, add_pooling_layer=False, attn_implementation="eager").eval()


def onnx_runtime(token_ids: Sequence[Sequence[int]], encoder: str, file: pathlib.Path) -> Callable[[int], Any]:
    """The same, exported from PyTorch, in ONNX Runtime with one thread and all of its graph optimizations."""
    import onnxruntime  # pyright: ignore[reportMissingImports]  not everybody has it

    if not file.exists():
        export_onnx(encoder, file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = [
        {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64)}
        for ids in token_ids
    ]
    return lambda i: session.run(None, inputs[i])


def export_onnx(encoder: str, file: pathlib.Path) -> None:
    """Write the encoder as an ONNX file, its length free. Raises ImportError without torch's exporter."""
    import torch

    model = torch_encoder(encoder)

    class LastHidden(torch.nn.Module):
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids = torch.ones((1, 40), dtype=torch.int64)
    length = torch.export.Dim("length", min=2, max=512)
    torch.onnx.export(
        LastHidden(),
        (ids, torch.ones_like(ids)),
        str(file),
        input_names=["input_ids", "attention_mask"],
        dynamic_shapes={"input_ids": {1: length}, "attention_mask": {1: length}},
        dynamo=True,
    )


def batched(planner: Any, texts: Sequence[str], token_ids: Sequence[Sequence[int]], count: int) -> dict[str, Any]:
    """Plans a second of so many texts handed over at once and one by one, and the share of padding in the batches."""
    from orchestai_jax.planner.plan_batches import batch_size, in_batches

    many = [i % len(texts) for i in range(count)]
    instructions = [texts[i] for i in many]
    planner.plan_many(instructions)
    started = time.perf_counter()
    planner.plan_many(instructions)
    together = count / (time.perf_counter() - started)
    started = time.perf_counter()
    for text in instructions:
        planner.plan(text)
    alone = count / (time.perf_counter() - started)
    lengths = sorted(len(token_ids[i]) for i in many)
    size = batch_size(len(planner.catalog.task_types))
    rows = in_batches(lengths, size)
    laid = sum(padded(max(row)) * size for row in rows)
    return {
        "plans": count,
        "a_second_batched": round(together, 2),
        "a_second_alone": round(alone, 2),
        "ratio": round(together / alone, 3),
        "padding_share": round(1 - sum(lengths) / laid, 4),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
