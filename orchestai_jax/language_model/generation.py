"""Generation: prompts read in buckets, then a token a step, streamed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32
from orchestai_kernels.attention import attention
from orchestai_kernels.cached_attention import cached_attention

from orchestai_jax.language_model.block_dropping import attention_mass, drop_blocks
from orchestai_jax.language_model.cache import CacheKind, KeyValueCache, empty_slots, write_prompt
from orchestai_jax.language_model.model import compute_dtype, known_vocab_size
from orchestai_jax.language_model.sampling import NOT_FINITE, Draws, Sampling, choose_tokens
from orchestai_jax.language_model.serving_model import ServingModel, embed, head_logits, run_layers

SMALLEST_BUCKET = 16
"""Prompts are padded (on the left) to this or a power of two above it."""
CAPACITY_STEP = 64
"""The cache's capacity is a multiple of this."""

DEFAULT_BLOCK = 16
"""Tokens a block of the cache."""

FinishReason = Literal["stop", "length"]


@dataclasses.dataclass(frozen=True)
class Generated:
    """What a prompt was answered with."""

    tokens: tuple[int, ...]
    """The new tokens, without the stop token."""
    finish_reason: FinishReason
    """`stop`: a stop token came; `length`: `max_new_tokens` were made."""


class NotFiniteError(ArithmeticError):
    """A model gave logits that are NaN or infinite, of which no token can be chosen."""


class Generator:
    """Generates from a model; holds no state between calls but the compiled programs, which all generators share.

    One program is compiled for each (batch, prompt bucket, capacity) and one for each (batch, capacity), anew for each
    of the three ways to choose: the likeliest token, drawn, drawn among some. Other prompts, seeds, temperatures, top_k
    and top_p compile nothing.
    """

    def __init__(
        self,
        model: ServingModel,
        *,
        cache: CacheKind = "float",
        sparsity_threshold: float = 0.0,
        cache_block: int = DEFAULT_BLOCK,
    ):
        """`sparsity_threshold` above 0 drops light blocks of `cache_block` tokens once the prompt is read, where that
        leaves a smaller capacity; see `drop_blocks`. Raises ValueError for one outside [0, 1] and a block below 1."""
        if not 0 <= sparsity_threshold <= 1:
            raise ValueError(f"sparsity_threshold must be from 0 to 1, got {sparsity_threshold}")
        if cache_block < 1:
            raise ValueError(f"cache_block must be at least 1, got {cache_block}")
        self.model, self.cache = model, cache
        self.sparsity_threshold, self.cache_block = sparsity_threshold, cache_block

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling | Sequence[Sampling] | None = None,
        stop_tokens: Collection[int] = (),
    ) -> list[Generated]:
        """All new tokens of each prompt; the arguments and errors are `stream`'s."""
        tokens: list[list[int]] = [[] for _ in prompts]
        reasons: list[FinishReason] = ["length"] * len(prompts)
        for step in self.stream(prompts, max_new_tokens=max_new_tokens, sampling=sampling, stop_tokens=stop_tokens):
            for row, token in enumerate(step):
                if token in stop_tokens:
                    reasons[row] = "stop"
                elif token is not None:
                    tokens[row].append(token)
        return [Generated(tuple(row), reason) for row, reason in zip(tokens, reasons, strict=True)]

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling | Sequence[Sampling] | None = None,
        stop_tokens: Collection[int] = (),
    ) -> Iterator[list[int | None]]:
        """One list a step: each row's token (a stop token is its last), None for rows that have ended.

        Args:
          prompts: token numbers, one or more prompts of any lengths. A row is what it would be alone, drawn or not.
          max_new_tokens: most tokens a row (None = up to the model's max_positions).
          sampling: for all rows, or one for each; None takes the likeliest token. Rows of one prompt and one seed are
            drawn alike: give them other seeds.
          stop_tokens: a row ends with any of these.

        Raises ValueError, before anything runs, for no or empty prompts, unknown tokens, prompts that leave no room for
        `max_new_tokens`, and another number of samplings than prompts; and, when it comes to it, NotFiniteError for
        logits that are not finite.
        """
        checked = self._checked(prompts, max_new_tokens, stop_tokens)
        samplings = [sampling or Sampling()] * len(prompts) if not isinstance(sampling, Sequence) else sampling
        if len(samplings) != len(prompts):
            raise ValueError(f"sampling must be one, or one a prompt: got {len(samplings)} for {len(prompts)} prompts")
        return self._stream(*checked, samplings)

    def _checked(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int | None, stop_tokens: Collection[int]
    ) -> tuple[list[np.ndarray], int, frozenset[int]]:
        config = self.model.config
        vocab_size = known_vocab_size(config)
        if not prompts:
            raise ValueError("prompts must hold at least one prompt, got none")
        rows = [np.asarray(prompt, np.int64).reshape(-1) for prompt in prompts]
        for index, row in enumerate(rows):
            if not row.size:
                raise ValueError(f"prompt {index} is empty; give at least one token")
            if row.min() < 0 or row.max() >= vocab_size:
                bad = row[(row < 0) | (row >= vocab_size)][0]
                raise ValueError(f"prompt {index} holds token {bad}; the vocabulary's are 0 to {vocab_size - 1}")
        longest = max(row.size for row in rows)
        room = config.max_positions - longest + 1  # the last token is not read
        if longest > config.max_positions:
            raise ValueError(f"the prompt has {longest} tokens, the model has {config.max_positions} positions")
        if max_new_tokens is None:
            max_new_tokens = room
        if not 1 <= max_new_tokens <= room:
            raise ValueError(
                f"max_new_tokens must be 1 to {room} (max_positions {config.max_positions} less the prompt's "
                f"{longest} tokens, and one that is not read), got {max_new_tokens}"
            )
        return rows, max_new_tokens, frozenset(stop_tokens)

    def _stream(
        self, rows: list[np.ndarray], max_new_tokens: int, stop_tokens: frozenset[int], samplings: Sequence[Sampling]
    ) -> Iterator[list[int | None]]:
        draws = Draws.of(samplings, known_vocab_size(self.model.config))
        padded, start = pad_left(rows)
        capacity = capacity_of(padded.shape[1] + max_new_tokens)
        arguments = self.model, jnp.asarray(padded), jnp.asarray(start), draws
        if self.sparsity_threshold > 0:
            tokens, cache, mass = observed_prefill(*arguments, capacity=capacity, kind=self.cache)
            cache = drop_blocks(
                cache,
                np.asarray(mass),
                threshold=self.sparsity_threshold,
                block=self.cache_block,
                capacity_step=CAPACITY_STEP,
            )
        else:
            tokens, cache = prefill(*arguments, capacity=capacity, kind=self.cache)
        ended = [False] * len(rows)
        for step in range(1, max_new_tokens + 1):
            # The next step is under way while this one's tokens are read; at the end it is one too many.
            made = tokens
            if step < max_new_tokens:
                tokens, cache = decode(self.model, cache, made, draws, np.int32(step))
            out: list[int | None] = []
            for row, token in enumerate(np.asarray(made).tolist()):
                if token == NOT_FINITE and not ended[row]:
                    raise NotFiniteError(
                        f"the model's logits for row {row} are not finite at token {step}: its parameters are "
                        f"damaged, or overflow {compute_dtype(self.model.config)}"
                    )
                out.append(None if ended[row] else token)
                ended[row] = ended[row] or token in stop_tokens
            yield out
            if all(ended):
                return


def bucket_of(length: int) -> int:
    """What prompts are padded to whose longest has `length` tokens."""
    return max(SMALLEST_BUCKET, 1 << (length - 1).bit_length())


def capacity_of(slots: int) -> int:
    """The capacity of a cache that is to hold `slots`, those of padding among them."""
    return -(-slots // CAPACITY_STEP) * CAPACITY_STEP


def pad_left(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(tokens int32 [batch, bucket], the slot of each row's first token): rows end together."""
    bucket = bucket_of(max(row.size for row in rows))
    padded = np.zeros((len(rows), bucket), np.int32)
    for index, row in enumerate(rows):
        padded[index, bucket - row.size :] = row
    return padded, np.asarray([bucket - row.size for row in rows], np.int32)


@functools.partial(jax.jit, static_argnames=("capacity", "kind"))
def prefill(
    model: ServingModel,
    tokens: Int32[Array, "batch bucket"],
    start: Int32[Array, "batch"],
    draws: Draws,
    *,
    capacity: int,
    kind: CacheKind,
) -> tuple[Int32[Array, "batch"], KeyValueCache]:
    """Read prompts padded on the left: the first new token of each row, and the cache of `capacity` slots."""
    return _read_prompts(model, tokens, start, draws, capacity, kind, [])[:2]


@functools.partial(jax.jit, static_argnames=("capacity", "kind"))
def observed_prefill(
    model: ServingModel,
    tokens: Int32[Array, "batch bucket"],
    start: Int32[Array, "batch"],
    draws: Draws,
    *,
    capacity: int,
    kind: CacheKind,
) -> tuple[Int32[Array, "batch"], KeyValueCache, Float32[Array, "layers batch bucket"]]:
    """`prefill`, and `attention_mass` of every layer: what `drop_blocks` goes by."""
    nothing = jnp.zeros((model.config.num_layers, *tokens.shape), jnp.float32)
    chosen, cache, (mass,) = _read_prompts(model, tokens, start, draws, capacity, kind, [nothing])
    return chosen, cache, mass


def _read_prompts(
    model: ServingModel,
    tokens: Array,
    start: Array,
    draws: Draws,
    capacity: int,
    kind: CacheKind,
    observed: list[Array],
) -> tuple[Array, KeyValueCache, list[Array]]:
    """(first tokens, cache, what is observed): `observed` is empty, or holds zeros for the attention mass."""
    bucket = tokens.shape[1]
    slots = jnp.arange(bucket)
    positions = jnp.maximum(slots[None] - start[:, None], 0)
    real = (slots[None] >= start[:, None]).astype(jnp.int32)
    dtype = compute_dtype(model.config)
    empty = [empty_slots(model.config, start.shape[0], capacity, kind, dtype) for _ in range(2)]

    def attend(layer: Any, stored: Any, queries: Array, keys: Array, values: Array) -> tuple[Array, Any]:
        mixed = attention(queries, keys, values, causal=True, segment_ids=real)
        kept = [write_prompt(into, new, layer) for into, new in zip(stored[:2], (keys, values), strict=True)]
        return mixed, kept + [mass.at[layer].set(attention_mass(queries, keys, start)) for mass in stored[2:]]

    x, (keys, values, *observed) = run_layers(model, embed(model, tokens), positions, attend, empty + observed)
    chosen = choose_tokens(head_logits(model, x[:, -1]), draws, 0)
    return chosen, KeyValueCache(keys, values, start, jnp.int32(bucket)), observed


@functools.partial(jax.jit, donate_argnames=("cache",))
def decode(
    model: ServingModel,
    cache: KeyValueCache,
    tokens: Int32[Array, "batch"],
    draws: Draws,
    step: Int32[Array, ""],
) -> tuple[Int32[Array, "batch"], KeyValueCache]:
    """One step: the newest tokens go into the cache (which is donated), the next ones come out."""
    logits, cache = next_logits(model, cache, tokens)
    return choose_tokens(logits, draws, step), cache


def next_logits(
    model: ServingModel, cache: KeyValueCache, tokens: Int32[Array, "batch"]
) -> tuple[Float[Array, "batch vocab"], KeyValueCache]:
    """The logits of what follows the newest tokens, and the cache with these."""

    def attend(layer: Any, stored: Any, queries: Array, keys: Array, values: Array) -> tuple[Array, Any]:
        new = (queries[:, 0], keys[:, 0], values[:, 0])
        first, end = cache.filled(layer)
        mixed, *stored = cached_attention(*new, *stored, layer=layer, start=first, length=end)
        return mixed[:, None], stored

    positions = (cache.length - cache.start)[:, None]
    x, (keys, values) = run_layers(model, embed(model, tokens[:, None]), positions, attend, [cache.keys, cache.values])
    return head_logits(model, x[:, -1]), KeyValueCache(keys, values, cache.start, cache.length + 1, cache.dropped)
