"""How a language model is kept in a checkpoint, and reading one from there or from a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from orchestai_jax.config import InferenceScalingConfig, LanguageModelConfig, serving_in_force
from orchestai_jax.language_model.hugging_face_import import import_hugging_face
from orchestai_jax.language_model.model import Parameters
from orchestai_jax.language_model.serving_model import check_parameters
from orchestai_jax.language_model.tokenizers import TextTokenizer, load_tokenizer, read_tokenizer

KIND = "language_model"
TOKENIZER_FILE = "tokenizer.json"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A language model as it lies on the disk."""

    config: LanguageModelConfig
    parameters: Parameters
    tokenizer: TextTokenizer | None
    """None for a Hugging Face folder without tokenizer.json."""
    stop_tokens: tuple[int, ...]
    """Tokens that end an answer (eos_token_id of a Hugging Face folder)."""
    source: str
    """Where it was read from: the folder, and the step of a checkpoint."""
    special_tokens: Mapping[str, int | list[int]] = dataclasses.field(default_factory=dict)
    """bos_token_id, eos_token_id, pad_token_id of a Hugging Face folder, those that it names."""
    serving: InferenceScalingConfig | None = None
    """How its run says that it is to be served; None where it says nothing."""


def model_metadata(config: LanguageModelConfig, run: Any) -> dict[str, Any]:
    """What a checkpoint must say about a language model besides its arrays; `run` is the run's configuration."""
    return {"kind": KIND, "model": config.model_dump(mode="json"), "config": run}


def model_assets(tokenizer: TextTokenizer) -> dict[str, str]:
    """The text files of a language model's checkpoint."""
    return {TOKENIZER_FILE: tokenizer.json}


def load_language_model(path: str | pathlib.Path, which: Literal["best", "latest"] | int = "best") -> LoadedModel:
    """Read a run's work folder, one checkpoint, or a folder in Hugging Face's BitNet layout.

    Raises ValueError (CheckpointError for checkpoints) naming what is missing, damaged or of another kind.
    """
    folder = pathlib.Path(path)
    if (folder / "config.json").is_file():
        config, parameters = import_hugging_face(folder)
        tokenizer_file = folder / TOKENIZER_FILE
        tokenizer = load_tokenizer(tokenizer_file) if tokenizer_file.is_file() else None
        special = _special_tokens(folder)
        ends = special.get("eos_token_id", [])
        stop_tokens = tuple(ends) if isinstance(ends, list) else (ends,)
        return LoadedModel(config, parameters, tokenizer, stop_tokens, str(folder), special)
    from orchestai_jax.checkpoint import CheckpointError, open_checkpoint  # orbax: not for who serves other folders

    reader = open_checkpoint(folder, which)
    config = read_model_config(reader.metadata, str(reader.folder))
    parameters = dict(reader.released_parameters()["trainable"])
    try:
        check_parameters(config, parameters)
    except ValueError as error:
        raise CheckpointError(f"{reader.folder}: {error}") from None
    if TOKENIZER_FILE not in reader.assets:
        raise CheckpointError(f"{reader.folder}: lacks {TOKENIZER_FILE}")
    tokenizer = read_tokenizer(reader.assets[TOKENIZER_FILE], f"{reader.folder}: {TOKENIZER_FILE}")
    serving = serving_in_force(reader.data_state)
    return LoadedModel(config, parameters, tokenizer, (), f"{folder} (step {reader.step})", serving=serving)


def _special_tokens(folder: pathlib.Path) -> dict[str, int | list[int]]:
    """What generation_config.json names counts before config.json, as in transformers."""
    found: dict[str, int | list[int]] = {}
    for path in (folder / "config.json", folder / "generation_config.json"):
        if not path.is_file():
            continue
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not JSON ({error})") from None
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            given = raw.get(name) if isinstance(raw, dict) else None
            if given is None:
                continue
            if not all(type(token) is int for token in (given if isinstance(given, list) else [given])):
                raise ValueError(f"{path}: {name} must be a token number or a list of them, got {given!r}")
            found[name] = given
    return found


def read_model_config(metadata: Mapping[str, Any], where: str) -> LanguageModelConfig:
    """The model's configuration. Raises CheckpointError for a checkpoint of something else."""
    from orchestai_jax.checkpoint import CheckpointError

    if metadata.get("kind") != KIND:
        raise CheckpointError(
            f"{where}: a checkpoint of {metadata.get('kind', 'something unnamed')}, not of a language model"
        )
    try:
        return LanguageModelConfig.model_validate(metadata["model"])
    except (KeyError, pydantic.ValidationError) as error:
        cause = str(error).splitlines()[0]
        raise CheckpointError(f"{where}: its metadata is not that of a language model ({cause})") from error
