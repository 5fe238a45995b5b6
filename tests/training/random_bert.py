"""A random BERT in the published layout, and what it says, in float64 NumPy (Devlin et al. 2019)."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import safetensors.numpy

from orchestai_jax.data import Tokenizer

HIDDEN, LAYERS, HEADS, INTERMEDIATE, POSITIONS = 16, 2, 2, 32, 64
EPSILON = 1e-12

LINEARS = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
}
"""Names of a layer's linear maps in this project, and as they are published."""
NORMS = {"attention_norm": "attention.output.LayerNorm", "feed_forward_norm": "output.LayerNorm"}
EMBEDDINGS = {"word": "word_embeddings", "position": "position_embeddings", "segment": "token_type_embeddings"}


def random_tensors(vocab_size: int) -> dict[str, np.ndarray]:
    """Tensors under their published names; no bias is zero and no scale one, so that none can be left out unseen."""
    random = np.random.default_rng(0)

    def normal(*shape: int, mean: float = 0.0, deviation: float = 0.15) -> np.ndarray:
        return random.normal(mean, deviation, shape).astype(np.float32)

    rows = {"word_embeddings": vocab_size, "position_embeddings": POSITIONS, "token_type_embeddings": 2}
    tensors = {f"embeddings.{name}.weight": normal(n, HIDDEN) for name, n in rows.items()}
    tensors["embeddings.word_embeddings.weight"] = normal(vocab_size, HIDDEN, deviation=1.0)  # words can be told apart
    sizes = {"intermediate.dense": (INTERMEDIATE, HIDDEN), "output.dense": (HIDDEN, INTERMEDIATE)}
    norms = ["embeddings.LayerNorm"]
    for i in range(LAYERS):
        for name in LINEARS.values():
            out, into = sizes.get(name, (HIDDEN, HIDDEN))
            tensors[f"encoder.layer.{i}.{name}.weight"] = normal(out, into)
            tensors[f"encoder.layer.{i}.{name}.bias"] = normal(out)
        norms += [f"encoder.layer.{i}.{name}" for name in NORMS.values()]
    for name in norms:
        tensors |= {f"{name}.weight": normal(HIDDEN, mean=1.0), f"{name}.bias": normal(HIDDEN)}
    # What published files hold besides.
    tensors["embeddings.position_ids"] = np.arange(POSITIONS)[None]
    tensors["pooler.dense.weight"] = normal(HIDDEN, HIDDEN)
    return tensors


def write_bert(folder: pathlib.Path, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Write the three files of an encoder's folder; returns the tensors."""
    tensors = random_tensors(tokenizer.vocab_size)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer.json, encoding="utf-8")
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": EPSILON,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return tensors


def as_parameters(tensors: Mapping[str, np.ndarray], encoder: str = "encoder") -> dict[str, np.ndarray]:
    """The tensors as a planner should hold them: this project's names, matrices transposed."""
    found = {
        f"{encoder}.embedding.{own}.embedding": tensors[f"embeddings.{name}.weight"] for own, name in EMBEDDINGS.items()
    }
    norms = {f"{encoder}.embedding.norm": "embeddings.LayerNorm"}
    for i in range(LAYERS):
        for own, name in LINEARS.items():
            found[f"{encoder}.layers.{i}.{own}.kernel"] = tensors[f"encoder.layer.{i}.{name}.weight"].T
            found[f"{encoder}.layers.{i}.{own}.bias"] = tensors[f"encoder.layer.{i}.{name}.bias"]
        norms |= {f"{encoder}.layers.{i}.{own}": f"encoder.layer.{i}.{name}" for own, name in NORMS.items()}
    for own, name in norms.items():
        found |= {f"{own}.scale": tensors[f"{name}.weight"], f"{own}.bias": tensors[f"{name}.bias"]}
    return found


def unit_vector(tensors: Mapping[str, np.ndarray], token_ids: Sequence[int]) -> np.ndarray:
    """The mean of one text's hidden states after the last layer, scaled to norm 1."""
    weights = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + EPSILON)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    n = len(token_ids)
    words, positions, segments = (weights[f"embeddings.{name}.weight"] for name in EMBEDDINGS.values())
    x = norm(words[list(token_ids)] + positions[:n] + segments[0], "embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        query, key, value = (
            linear(x, f"{layer}.attention.self.{part}").reshape(n, HEADS, -1) for part in ("query", "key", "value")
        )
        scores = np.exp(np.einsum("qhd,khd->hqk", query, key) / math.sqrt(HIDDEN / HEADS))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(axis=-1, keepdims=True), value).reshape(n, HIDDEN)
        x = norm(x + linear(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        up = linear(x, f"{layer}.intermediate.dense")
        up = up * (1 + np.vectorize(math.erf)(up / math.sqrt(2))) / 2
        x = norm(x + linear(up, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    pooled = x.mean(axis=0)
    return pooled / np.linalg.norm(pooled)
