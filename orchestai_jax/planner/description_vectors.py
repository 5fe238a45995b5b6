"""Vectors of a catalog's descriptions, by the planner's frozen encoder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.data import Tokenizer, bucket_length
from orchestai_jax.planner.catalog_arrays import description_texts
from orchestai_jax.planner.encoded_vectors import int8_rows
from orchestai_jax.planner.model import Parameters, merge_parameters
from orchestai_jax.planner.vector_cache import VectorCache
from orchestai_jax.workflow import Catalog

MAX_DESCRIPTION_TOKENS = 64
"""What a description holds beyond this many tokens is not read."""

_BATCH = 32
_BUCKET = 32
_MANY, _NARROW_BUCKET = 1024, 8
"""Descriptions are short: of so many it is worth compiling more lengths to pad less (half of the time in a large
catalog)."""

_CHUNK = 4096
"""Texts that are encoded, kept on disk and handed on before the next are looked at: what memory holds of a catalog of
100,000 types is bounded by what is wanted of it."""

Progress = Callable[[int, int], None]
"""Told how many of how many texts are done."""


def catalog_vectors(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    tokenizer: Tokenizer,
    catalog: Catalog,
    progress: Progress | None = None,
    cache: VectorCache | None = None,
) -> Float[np.ndarray, "n hidden"]:
    """Unit vectors of the task types' texts, then the workers', in catalog order.

    `progress` is told of what is not in the cache. What `cache` has is not encoded, and what it lacks is put there; a
    vector's last bits depend on what was encoded beside it, so training, which can be repeated exactly, takes none.
    """
    texts = description_texts(catalog)
    chunks = [*_in_chunks(graphdef, parameters, tokenizer, texts, progress, cache)]
    return np.concatenate(chunks) if chunks else np.zeros((0, 1), np.float32)


def int8_catalog_vectors(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    tokenizer: Tokenizer,
    catalog: Catalog,
    progress: Progress | None = None,
    cache: VectorCache | None = None,
) -> Int8Array:
    """`catalog_vectors` of a large catalog (at least one text) in 8 bits a number, never all of them in float32."""
    texts = description_texts(catalog)
    chunks = [int8_rows(x) for x in _in_chunks(graphdef, parameters, tokenizer, texts, progress, cache)]
    return jax.tree.map(lambda *parts: jnp.asarray(np.concatenate([np.asarray(part) for part in parts])), *chunks)


def _in_chunks(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    progress: Progress | None,
    cache: VectorCache | None,
) -> Iterator[Float[np.ndarray, "n hidden"]]:
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        kept = cache.get(chunk) if cache is not None else {}
        missing = list(dict.fromkeys(text for text in chunk if text not in kept))
        if missing:
            done = start + len(chunk) - len(missing)  # those that are known, and those that stand twice

            def told(of_chunk: int, _: int, done: int = done) -> None:
                if progress is not None:
                    progress(done + of_chunk, len(texts))

            found = _encode(graphdef, parameters, tokenizer, missing, told)
            if cache is not None:
                cache.put(dict(zip(missing, found, strict=True)))
                found = cache.rounded(found)
            kept = {**kept, **dict(zip(missing, found, strict=True))}
        yield np.stack([kept[text] for text in chunk])


def _encode(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> Float[np.ndarray, "n hidden"]:
    token_ids = tokenizer.encode_batch(texts, MAX_DESCRIPTION_TOKENS)
    order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
    bucket = _BUCKET if len(texts) < _MANY else _NARROW_BUCKET
    vectors: np.ndarray | None = None
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        padded = bucket_length(max(len(token_ids[i]) for i in batch), bucket)
        ids = np.zeros((_BATCH, padded), np.int32)
        mask = np.zeros((_BATCH, padded), bool)
        for row, i in enumerate(batch):
            ids[row, : len(token_ids[i])] = token_ids[i]
            mask[row, : len(token_ids[i])] = True
        mask[len(batch) :, 0] = True  # rows that fill the batch up; softmax wants one real token
        found = np.asarray(_describe(graphdef, parameters, ids, mask))
        if vectors is None:
            vectors = np.zeros((len(order), found.shape[1]), np.float32)
        vectors[batch] = found[: len(batch)]
        if progress:
            progress(start + len(batch), len(order))
    assert vectors is not None, "no texts to encode"
    return vectors


@functools.partial(jax.jit, static_argnums=0)
def _describe(graphdef: nnx.GraphDef, parameters: Parameters, ids: Array, mask: Array) -> Array:
    return merge_parameters(graphdef, parameters).describe(ids, mask)
