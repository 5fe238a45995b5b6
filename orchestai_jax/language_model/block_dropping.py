"""Dropping blocks of the cache that the end of the prompt hardly attends to.

What a prompt's last queries attend to foretells what its continuation will (Li et al. 2024, SnapKV, arXiv:2404.14469,
section 3); here whole blocks go by one threshold, so that a prompt which needs all of its tokens keeps them.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.language_model.cache import DroppedSlots, KeyValueCache

OBSERVED = 32
"""Queries at a prompt's end that are looked at."""


def attention_mass(
    queries: Float[Array, "batch time heads head_dim"],
    keys: Float[Array, "batch time kv_heads head_dim"],
    start: Int32[Array, "batch"],
) -> Float32[Array, "batch time"]:
    """The causal attention weights that each slot gets from the last OBSERVED tokens, mean over them and the heads.

    `start` is each row's first slot; slots before it get 0. A row's sum is 1.
    """
    batch, time, _, head_dim = queries.shape
    last = min(OBSERVED, time)
    grouped = queries[:, time - last :].reshape(batch, last, keys.shape[2], -1, head_dim)
    # b: row, q: query, g: kv head, r: query head of its group, s: slot, d: head dimension
    scores = jnp.einsum("bqgrd,bsgd->bgrqs", grouped, keys, preferred_element_type=jnp.float32) * head_dim**-0.5
    at, slots = jnp.arange(time - last, time), jnp.arange(time)
    visible = (slots[None, None] <= at[None, :, None]) & (slots[None, None] >= start[:, None, None])  # [b, q, s]
    scores = jnp.where(visible[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jnp.mean(jax.nn.softmax(scores, axis=-1), axis=(1, 2))  # [b, q, s]
    real = (at[None] >= start[:, None]).astype(jnp.float32)  # queries of padding look at nothing
    return jnp.einsum("bqs,bq->bs", weights, real) / jnp.sum(real, axis=-1, keepdims=True)


def blocks_to_keep(
    mass: Float32[np.ndarray, "layers batch time"], start: np.ndarray, *, threshold: float, block: int
) -> np.ndarray:
    """Numbers [layers, kept] of the blocks that stay, rising; slots beyond the last whole block always stay.

    A block's mass is taken relative to what an even spread over a row's tokens would give it; of several rows the
    largest counts. Blocks under `threshold` go, but the last one stays. All layers keep as many as the layer that
    wants most, each its heaviest, so that the arrays stay of one size. Raises ValueError for a threshold outside [0, 1]
    and a block below 1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be from 0 to 1, got {threshold}")
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    layers, batch, time = mass.shape
    whole = time // block
    if not whole:
        return np.zeros((layers, 0), np.int64)
    tokens = np.arange(whole * block)[None] >= start[:, None]
    share = tokens.reshape(batch, whole, block).sum(-1) / (time - start)[:, None]  # [batch, whole], of an even spread
    of_blocks = mass[..., : whole * block].reshape(layers, batch, whole, block).sum(-1)
    relative = np.divide(of_blocks, share, out=np.zeros_like(of_blocks), where=share > 0).max(axis=1)
    relative[:, -1] = np.inf
    kept = int((relative >= threshold).sum(axis=1).max()) if threshold > 0 else whole
    return np.sort(np.argsort(-relative, axis=1, kind="stable")[:, :kept], axis=1)


def drop_blocks(
    cache: KeyValueCache,
    mass: Float32[np.ndarray, "layers batch time"],
    *,
    threshold: float,
    block: int,
    capacity_step: int,
) -> KeyValueCache:
    """The cache of a prompt that was just read, without its light blocks; itself where none is light enough.

    Its room for new tokens stays, in a capacity that is a multiple of `capacity_step` (a program is compiled for each).
    Raises ValueError as `blocks_to_keep`, and for a cache that lost blocks before.
    """
    if cache.dropped is not None:
        raise ValueError("cache must be whole, blocks were dropped from it before")
    time, start = mass.shape[2], np.asarray(cache.start)
    kept = blocks_to_keep(mass, start, threshold=threshold, block=block)
    slots = (kept[:, :, None] * block + np.arange(block)).reshape(len(kept), -1)
    rest = np.arange(time // block * block, time)
    slots = np.concatenate([slots, np.broadcast_to(rest, (len(kept), rest.size))], axis=1)
    gone = time - slots.shape[1]
    capacity = -(-(cache.capacity - gone) // capacity_step) * capacity_step
    if not gone or capacity >= cache.capacity:
        return cache
    first = (slots[:, None] < start[None, :, None]).sum(-1)
    dropped = DroppedSlots(jnp.int32(gone), jnp.asarray(first, jnp.int32))
    return _gathered(cache, jnp.asarray(slots, jnp.int32), dropped, capacity)


@functools.partial(jax.jit, static_argnames="capacity")
def _gathered(
    cache: KeyValueCache, slots: Int32[Array, "layers kept"], dropped: DroppedSlots, capacity: int
) -> KeyValueCache:
    def of_array(array: Array) -> Array:  # [layers, batch, kv_heads, capacity(, head_dim)]
        taken = jax.vmap(lambda of_layer, kept: jnp.take(of_layer, kept, axis=2))(array, slots)
        return jnp.pad(taken, [(0, 0)] * 3 + [(0, capacity - taken.shape[3])] + [(0, 0)] * (array.ndim - 4))

    def of_stored(stored: Any) -> Any:
        if isinstance(stored, Int8Array):
            return Int8Array(of_array(stored.values), of_array(stored.scale))
        return of_array(stored)

    return KeyValueCache(of_stored(cache.keys), of_stored(cache.values), cache.start, cache.length, dropped)
