"""Speed of a model: reading a prompt, and making tokens."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_jax.language_model.cache import CacheKind
from orchestai_jax.language_model.generation import bucket_of, capacity_of, decode, pad_left, prefill
from orchestai_jax.language_model.model import known_vocab_size
from orchestai_jax.language_model.sampling import Draws, Sampling
from orchestai_jax.language_model.serving_model import ServingModel


@dataclasses.dataclass(frozen=True)
class GenerationSpeed:
    """Medians over the repeats, with all of them."""

    prefill_tokens: int
    """Length of the prompt (padded to its bucket in the program)."""
    decode_tokens: int
    """Tokens made after it, from an almost empty cache on."""
    prefill_tokens_per_s: float
    """Prompt tokens a second."""
    decode_tokens_per_s: float
    """New tokens a second."""
    prefill_s: tuple[float, ...]
    """Seconds of each repeat."""
    decode_s: tuple[float, ...]
    """Seconds of each repeat."""
    model_bytes: int
    """Bytes of all parameters."""


def measure_generation(
    model: ServingModel,
    *,
    prefill_tokens: int = 128,
    decode_tokens: int = 64,
    repeats: int = 5,
    cache: CacheKind = "float",
    told: Callable[[str], None] | None = None,
) -> GenerationSpeed:
    """Greedy generation with random prompts, compiled beforehand; one row.

    Decoding begins after a prompt of one token, as llama.cpp's `tg` does. Raises ValueError for counts below 1 or
    beyond the model's positions.
    """
    for name, value in (("prefill_tokens", prefill_tokens), ("decode_tokens", decode_tokens), ("repeats", repeats)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    config = model.config
    if max(prefill_tokens, decode_tokens + 1) > config.max_positions:
        raise ValueError(
            f"prefill_tokens {prefill_tokens} and decode_tokens {decode_tokens} (after a prompt of one) must fit the "
            f"model's {config.max_positions} positions"
        )
    vocab = known_vocab_size(config)
    draws = Draws.of([Sampling()], vocab)
    rng = np.random.default_rng(0)

    def read(count: int, capacity: int):
        tokens, start = pad_left([rng.integers(0, vocab, count)])
        return prefill(model, jnp.asarray(tokens), jnp.asarray(start), draws, capacity=capacity, kind=cache)

    def time_prefill() -> float:
        begun = time.perf_counter()
        jax.block_until_ready(read(prefill_tokens, capacity_of(bucket_of(prefill_tokens))))
        return time.perf_counter() - begun

    def time_decode() -> float:
        token, kept = jax.block_until_ready(read(1, capacity_of(bucket_of(1) + decode_tokens)))
        begun = time.perf_counter()
        for step in range(1, decode_tokens + 1):
            token, kept = decode(model, kept, token, draws, np.int32(step))
            jax.block_until_ready(token)  # a reader of the stream waits for every token
        return time.perf_counter() - begun

    say = told or (lambda text: None)
    say("compiling")
    time_prefill()
    time_decode()
    say("measuring")
    prefill_s = tuple(time_prefill() for _ in range(repeats))
    decode_s = tuple(time_decode() for _ in range(repeats))
    return GenerationSpeed(
        prefill_tokens=prefill_tokens,
        decode_tokens=decode_tokens,
        prefill_tokens_per_s=prefill_tokens / statistics.median(prefill_s),
        decode_tokens_per_s=decode_tokens / statistics.median(decode_s),
        prefill_s=prefill_s,
        decode_s=decode_s,
        model_bytes=model.nbytes,
    )
