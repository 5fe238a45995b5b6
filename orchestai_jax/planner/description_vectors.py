"""Vectors of a catalog's descriptions, by the planner's frozen encoder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from orchestai_jax.data import Tokenizer, bucket_length
from orchestai_jax.planner.catalog_arrays import description_texts
from orchestai_jax.planner.model import Parameters, merge_parameters
from orchestai_jax.planner.vector_cache import VectorCache
from orchestai_jax.workflow import Catalog

MAX_DESCRIPTION_TOKENS = 64
"""What a description holds beyond this many tokens is not read."""

_BATCH = 32
_BUCKET = 32


def catalog_vectors(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    tokenizer: Tokenizer,
    catalog: Catalog,
    progress: Callable[[int, int], None] | None = None,
    cache: VectorCache | None = None,
) -> Float[np.ndarray, "n hidden"]:
    """Unit vectors of the task types' texts, then the workers', in catalog order.

    `progress` is told how many of how many texts are done. What `cache` has is not encoded, and what it lacks is put
    there; a vector's last bits depend on what was encoded beside it, so training, which can be repeated exactly, takes
    none.
    """
    texts = description_texts(catalog)
    kept = cache.get(texts) if cache is not None else {}
    missing = list(dict.fromkeys(text for text in texts if text not in kept))
    if missing:
        found = _encode(graphdef, parameters, tokenizer, missing, progress)
        made = dict(zip(missing, found, strict=True))
        if cache is not None:
            cache.put(made)
            made = {text: cache.rounded(vector) for text, vector in made.items()}
        kept = {**kept, **made}
    return np.stack([kept[text] for text in texts]) if texts else np.zeros((0, 1), np.float32)


def _encode(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> Float[np.ndarray, "n hidden"]:
    token_ids = tokenizer.encode_batch(texts, MAX_DESCRIPTION_TOKENS)
    order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
    vectors: np.ndarray | None = None
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        padded = bucket_length(max(len(token_ids[i]) for i in batch), _BUCKET)
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
