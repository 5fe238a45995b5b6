"""The sizes of a language model that decide which kernel shapes it runs."""

from __future__ import annotations

import os
import pathlib

import pydantic
import yaml
from orchestai_kernels.shapes import TransformerSize

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.hugging_face_config import read_hugging_face_config


def transformer_size(config: LanguageModelConfig) -> TransformerSize:
    """What the kernels' `for_transformer` takes."""
    return TransformerSize(
        hidden=config.hidden_size,
        feed_forward=config.intermediate_size,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        positions=config.max_positions,
        activation=config.activation,
        ternary=any(rule.weights == "ternary" for rule in config.quantization),
    )


def read_transformer_size(path: str | os.PathLike[str]) -> TransformerSize:
    """Of the `model` section of a run configuration (YAML), or of a folder in the Hugging Face BitNet layout.

    Raises ValueError for a file that is missing, no YAML, or without such a section.
    """
    source = pathlib.Path(path)
    if source.is_dir():
        return transformer_size(read_hugging_face_config(source)[0])
    try:
        tree = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{source}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(tree, dict) or tree.get("kind") != "language_model":
        raise ValueError(f"{source}: no configuration of a language model (`kind: language_model`)")
    try:
        return transformer_size(LanguageModelConfig.model_validate(tree.get("model") or {}))
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{source}: model.{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
