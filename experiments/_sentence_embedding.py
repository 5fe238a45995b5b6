"""Sentence embeddings for the baseline: the frozen encoder, hidden states averaged over tokens."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from orchestai_jax.data import bucket_length
from orchestai_jax.planner.encoders import make_encoder
from orchestai_jax.planner.pretrained import import_weights, load_pretrained
from orchestai_jax.planner.text_encoder import mean_pool

_BATCH = 32


def embed_texts(
    texts: Sequence[str], encoder: str = "minilm", max_tokens: int = 128, cache: pathlib.Path | None = None
) -> NDArray[np.float32]:
    """Embeddings of texts, [texts, width].

    Args:
        texts: What is embedded; at least one.
        encoder: Name or folder of BERT weights (see `find_pretrained`).
        max_tokens: Longer texts are cut.
        cache: A folder where embeddings are kept, named after a hash of all that they depend on.

    Raises:
        EncoderNotFoundError, EncoderFormatError: when there are no such weights.
    """
    kept = None
    if cache is not None:
        key = hashlib.sha256(json.dumps([encoder, max_tokens, list(texts)]).encode()).hexdigest()[:16]
        kept = cache / f"embeddings-{key}.npy"
        if kept.exists():
            return np.load(kept, allow_pickle=False)

    pretrained = load_pretrained(encoder)
    model = make_encoder(pretrained.config, rngs=nnx.Rngs(0))
    import_weights(model, pretrained.tensors)
    graph, state = nnx.split(model)

    @jax.jit
    def pooled(state, token_ids, mask):
        return mean_pool(nnx.merge(graph, state)(token_ids, mask), mask)

    token_ids = pretrained.tokenizer.encode_batch(list(texts), max_tokens)
    order = sorted(range(len(texts)), key=lambda i: len(token_ids[i]))
    embeddings = np.empty((len(texts), pretrained.config.hidden_size), np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        # texts of like length share a batch, and a batch is always full, so that each length compiles once
        shape = (_BATCH, bucket_length(len(token_ids[rows[-1]]), 16))
        ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
        for place, row in enumerate(rows):
            ids[place, : len(token_ids[row])] = token_ids[row]
            mask[place, : len(token_ids[row])] = True
        mask[len(rows) :, 0] = True  # a row of padding alone would attend to nothing
        embeddings[rows] = np.asarray(pooled(state, jnp.asarray(ids), jnp.asarray(mask)))[: len(rows)]
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, embeddings, allow_pickle=False)
    return embeddings
