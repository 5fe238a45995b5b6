"""Dropped blocks: which ones go, and that attention to what is left is attention to what is left."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.cached_attention import cached_attention

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model import Generator, Sampling, generation, initial_parameters, serving_model
from orchestai_jax.language_model.block_dropping import OBSERVED, attention_mass, blocks_to_keep, drop_blocks
from orchestai_jax.language_model.cache import KeyValueCache, empty_slots, write_prompt

CONFIG = LanguageModelConfig(
    vocab_size=17, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, max_positions=512, initializer_range=0.5
)
TIME, BLOCK = 48, 8


def numbers(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filled(kind="float", start=(0, 5)):
    keys, values = numbers(2, 2, TIME, 2, 8, seed=1), numbers(2, 2, TIME, 2, 8, seed=2)  # [layer, batch, ...]
    stored = []
    for numbers_ in (keys, values):
        slots = empty_slots(CONFIG, 2, 64, kind, jnp.dtype("float32"))
        for layer in range(2):
            slots = write_prompt(slots, jnp.asarray(numbers_[layer]), layer)
        stored.append(slots)
    return keys, values, KeyValueCache(*stored, jnp.asarray(start, jnp.int32), jnp.int32(TIME))


def attend(cache, query, new_keys, new_values, layer):
    """What the decoding step does with a layer: (mixed, the cache with the token in this layer)."""
    first, end = cache.filled(layer)
    new = [jnp.asarray(x) for x in (query, new_keys, new_values)]
    mixed, keys, values = cached_attention(*new, cache.keys, cache.values, layer=layer, start=first, length=end)
    return mixed, dataclasses.replace(cache, keys=keys, values=values)


def test_the_mass_is_the_mean_of_the_last_queries_weights():
    queries, keys = numbers(2, TIME, 4, 8, seed=0), numbers(2, TIME, 2, 8, seed=1)
    start = (0, 40)  # of the second row only 8 queries are real
    mass = np.asarray(attention_mass(jnp.asarray(queries), jnp.asarray(keys), jnp.asarray(start, jnp.int32)))
    for row in range(2):
        wanted, count = np.zeros(TIME), 0
        for at in range(max(TIME - OBSERVED, start[row]), TIME):
            for head in range(4):
                scores = (
                    keys[row, start[row] : at + 1, head // 2].astype(np.float64) @ queries[row, at, head] / np.sqrt(8)
                )
                weights = np.exp(scores - scores.max())
                wanted[start[row] : at + 1] += weights / weights.sum()
                count += 1
        np.testing.assert_allclose(mass[row], wanted / count, atol=1e-6)


def test_light_blocks_go_and_the_last_and_the_heaviest_stay():
    even = np.full((1, 1, TIME), 1 / TIME, np.float32)
    start = np.array([0])
    assert blocks_to_keep(even, start, threshold=0.99, block=BLOCK).tolist() == [[0, 1, 2, 3, 4, 5]]
    mass = np.zeros((2, 1, TIME), np.float32)
    mass[:, 0, 3] = 0.9  # block 0
    mass[0, 0, 20] = 0.1  # block 2: .6 of an even spread
    kept = blocks_to_keep(mass, start, threshold=0.5, block=BLOCK)
    assert kept[0].tolist() == [0, 2, 5]
    assert len(kept[1]) == 3  # as many as the other layer
    assert {0, 5} <= set(kept[1].tolist())
    assert blocks_to_keep(mass, start, threshold=0.7, block=BLOCK).tolist() == [[0, 5], [0, 5]]
    assert blocks_to_keep(mass, start, threshold=0, block=BLOCK).shape == (2, 6)
    assert blocks_to_keep(mass[..., :7], start, threshold=0.5, block=BLOCK).shape == (2, 0)
    two = np.stack([mass[0, 0], np.roll(mass[0, 0], 24)])[None]  # a block that one row needs stays for both
    assert blocks_to_keep(two, np.array([0, 0]), threshold=0.7, block=BLOCK).tolist() == [[0, 3, 5]]
    padded = np.zeros((1, 1, TIME), np.float32)
    padded[0, 0, 40:] = 1 / 8
    assert blocks_to_keep(padded, np.array([40]), threshold=0.1, block=BLOCK).tolist() == [[5]]
    with pytest.raises(ValueError, match=r"threshold must be from 0 to 1, got 1\.5"):
        blocks_to_keep(mass, start, threshold=1.5, block=BLOCK)
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        blocks_to_keep(mass, start, threshold=0.5, block=0)


@pytest.mark.parametrize(("kind", "tolerance"), [("float", 1e-5), ("int8", 0.03)])
def test_attention_to_what_is_left(kind, tolerance):
    keys, values, cache = filled(kind)
    mass = np.full((2, 2, TIME), 1e-3, np.float32)
    mass[0, :, 0:8], mass[0, :, 16:24] = 0.05, 0.05  # layer 0 keeps blocks 0, 2, 5
    mass[1, :, 8:16], mass[1, :, 24:32] = 0.05, 0.05  # layer 1 keeps blocks 1, 3, 5
    less = drop_blocks(cache, mass, threshold=0.5, block=BLOCK, capacity_step=8)
    assert less.capacity == 64 - 24
    assert less.nbytes == cache.nbytes * 40 // 64
    new_keys, new_values = numbers(2, 3, 2, 2, 8, seed=3), numbers(2, 3, 2, 2, 8, seed=4)  # [layer, token, batch, ...]
    query = numbers(2, 4, 8, seed=5)
    for token in range(2):
        for layer in range(2):
            _, less = attend(less, query, new_keys[layer, token], new_values[layer, token], layer)
        less = dataclasses.replace(less, length=less.length + 1)
    for layer, blocks in enumerate(((0, 2, 5), (1, 3, 5))):
        mixed = np.asarray(attend(less, query, new_keys[layer, 2], new_values[layer, 2], layer)[0])
        for row, start in enumerate((0, 5)):
            slots = [s for b in blocks for s in range(b * BLOCK, b * BLOCK + BLOCK) if s >= start]
            for head in range(4):
                k = np.concatenate([keys[layer, row, slots, head // 2], new_keys[layer, :, row, head // 2]])
                v = np.concatenate([values[layer, row, slots, head // 2], new_values[layer, :, row, head // 2]])
                weights = np.exp(k.astype(np.float64) @ query[row, head] / np.sqrt(8))
                np.testing.assert_allclose(mixed[row, head], weights @ v / weights.sum(), atol=tolerance)
    with pytest.raises(ValueError, match="cache must be whole"):
        drop_blocks(less, mass, threshold=0.5, block=BLOCK, capacity_step=8)


def test_nothing_light_nothing_dropped():
    _, _, cache = filled()
    even = np.full((2, 2, TIME), 1 / TIME, np.float32)
    assert drop_blocks(cache, even, threshold=0.5, block=BLOCK, capacity_step=8) is cache
    light = np.zeros((2, 2, TIME), np.float32)
    assert drop_blocks(cache, light, threshold=0.5, block=BLOCK, capacity_step=64) is cache  # no smaller capacity


def test_a_generator_answers_over_fewer_blocks(monkeypatch):
    model = serving_model(CONFIG, initial_parameters(CONFIG, 0))
    prompts = [np.random.default_rng(i).integers(0, 17, n).tolist() for i, n in enumerate((250, 200))]
    seen, decode = [], generation.decode

    def watched(model, cache, *rest):
        seen.append(cache.capacity)
        return decode(model, cache, *rest)

    monkeypatch.setattr(generation, "decode", watched)

    def answers(**options):
        seen.clear()
        return Generator(model, **options).generate(prompts, max_new_tokens=3, sampling=Sampling(1.0, seed=2))

    whole = answers()
    assert set(seen) == {320}
    assert answers(sparsity_threshold=1e-6) == whole
    assert set(seen) == {320}
    assert [len(g.tokens) for g in answers(sparsity_threshold=1.0, cache="int8")] == [3, 3]
    assert max(seen) < 320
