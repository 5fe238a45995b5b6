"""The sizes of a language model that decide which kernel shapes it runs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic
import yaml
from orchestai_kernels.shapes import TransformerSize

from orchestai_jax.config import LanguageModelConfig, PretrainingConfig
from orchestai_jax.language_model.hugging_face_config import read_hugging_face_config
from orchestai_jax.language_model.model import compute_dtype

_Read = TypeVar("_Read", bound=pydantic.BaseModel)


def transformer_size(config: LanguageModelConfig, training: tuple[int, int] | None = None) -> TransformerSize:
    """What the kernels' `for_transformer` takes; `training` is (sequences, tokens) of a step."""
    return TransformerSize(
        hidden=config.hidden_size,
        feed_forward=config.intermediate_size,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        positions=config.max_positions,
        activation=config.activation,
        sub_norms=config.sub_norms,
        ternary=any(rule.weights == "ternary" for rule in config.quantization),
        dtype=compute_dtype(config).name,
        training=training,
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
    model = _section(source, tree, "model", LanguageModelConfig)
    training = _section(source, tree, "training", PretrainingConfig)
    return transformer_size(model, (training.batch_size, training.sequence_length))


def _section(source: pathlib.Path, tree: Mapping[str, Any], name: str, config_class: type[_Read]) -> _Read:
    """A section of the file; the defaults where it has none."""
    try:
        return config_class.model_validate(tree.get(name) or {})
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{source}: {name}.{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
