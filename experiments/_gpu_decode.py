"""Tokens a second of a whole language model on an accelerator: packed ternary weights beside bfloat16 ones."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.benchmark import measure_generation
from orchestai_jax.language_model.model import known_vocab_size, model_structure
from orchestai_jax.language_model.serving_model import ServingModel, random_packed_model


def decode_rates(config: LanguageModelConfig, *, tokens: int = 128, repeats: int = 5) -> dict[str, Any]:
    """Decoding and reading a prompt of 128 tokens, one row, greedy, the same float head and cache on both sides.

    The head is float on both sides, as in the published model and in Microsoft's kernel, which leave it in bfloat16.
    """
    found: dict[str, Any] = {"tokens": tokens}
    for name in ("ternary", "bfloat16"):
        if name == "ternary":
            packed = random_packed_model(config, 0, head="float")
            model = dataclasses.replace(
                packed, embedding=_in_bfloat16(packed.embedding), head=_in_bfloat16(packed.head)
            )
        else:
            model = bfloat16_model(config.model_copy(update={"quantization": ()}))
        speed = measure_generation(model, prefill_tokens=128, decode_tokens=tokens, repeats=repeats)
        found[name] = {
            "decode_tokens_per_s": speed.decode_tokens_per_s,
            "prefill_tokens_per_s": speed.prefill_tokens_per_s,
            "decode_s": speed.decode_s,
            "model_bytes": speed.model_bytes,
        }
        del model
    found["against_bfloat16"] = found["ternary"]["decode_tokens_per_s"] / found["bfloat16"]["decode_tokens_per_s"]
    return found


def _in_bfloat16(table: Any) -> Any:
    return None if table is None else table.astype(jnp.bfloat16)


def bfloat16_model(config: LanguageModelConfig) -> ServingModel:
    """Random weights, made on the device."""
    shapes = model_structure(config)[1]

    def made(name: str, shape: tuple[int, ...]) -> jax.Array:
        if len(shape) == 1:
            return jnp.ones(shape, jnp.float32)
        key = jax.random.fold_in(jax.random.key(0), zlib.crc32(name.encode()))
        return _drawn(key, shape)

    layers = tuple(
        {
            name.removeprefix("layers."): made(f"{name}.{index}", shape.shape[1:])
            for name, shape in shapes.items()
            if name.startswith("layers.")
        }
        for index in range(config.num_layers)
    )
    table = (known_vocab_size(config), config.hidden_size)
    head = None if config.tied_embeddings else made("head", table)
    return ServingModel(made("embedding", table), layers, made("norm", (config.hidden_size,)), head, config)


@functools.partial(jax.jit, static_argnums=1)
def _drawn(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return (jax.random.normal(key, shape, jnp.float32) * shape[-1] ** -0.5).astype(jnp.bfloat16)
