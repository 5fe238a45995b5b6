"""`config.json` of Hugging Face's BitNet models, to and from our configuration."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from orchestai_jax.config import BITNET_RULES, LanguageModelConfig

Mode = Literal["float", "online", "offline", "offline_divided"]
"""How weights are stored: float without quantisation; float masters that are rounded as they are used; packed with a
scale that multiplies (autobitlinear), or with one that divides (bitlinear, the default of older files)."""

MODES: tuple[Mode, ...] = ("float", "online", "offline", "offline_divided")

_QUANTIZATION: dict[Mode, dict[str, str]] = {
    "online": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"},
    "offline": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"},
    "offline_divided": {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"},
}
_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "max_positions": "max_position_embeddings",
    "rms_epsilon": "rms_norm_eps",
    "activation": "hidden_act",
}


def read_hugging_face_config(folder: pathlib.Path) -> tuple[LanguageModelConfig, Mode]:
    """The configuration and the storage mode of a folder with `config.json`.

    Raises ValueError for a file that is missing or broken, another kind of model, and settings that are not supported.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(raw, dict) or raw.get("model_type") != "bitnet":
        kind = raw.get("model_type") if isinstance(raw, dict) else type(raw).__name__
        raise ValueError(f"{path}: model_type must be 'bitnet', got {kind!r}")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        raise ValueError(f"{path}: rope_type must be 'default', got {rope_type!r}")
    if raw.get("attention_bias"):
        raise ValueError(f"{path}: attention_bias must be false: BitNet's projections have no biases")
    mode = _mode(raw.get("quantization_config"), path)
    missing = [theirs for theirs in _SIZES.values() if theirs not in raw and theirs != "num_key_value_heads"]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    given = {ours: raw[theirs] for ours, theirs in _SIZES.items() if raw.get(theirs) is not None}
    try:
        config = LanguageModelConfig(
            **{"num_kv_heads": raw["num_attention_heads"], **given},
            rope_theta=rope.get("rope_theta", raw.get("rope_theta", 500000.0)),
            tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
            quantization=() if mode == "float" else BITNET_RULES,
        )
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        if not field:  # of several fields at once: the message names them and their values
            raise ValueError(f"{path}: {fault['msg'].removeprefix('Value error, ')}") from None
        raise ValueError(f"{path}: {_SIZES.get(field, field)}: {fault['msg']}, got {fault['input']!r}") from None
    return config, mode


def hugging_face_config(
    config: LanguageModelConfig, mode: Mode, special_tokens: Mapping[str, int | list[int]] | None = None
) -> dict[str, Any]:
    """What `config.json` holds; `special_tokens` are bos_token_id, eos_token_id, pad_token_id where there are any."""
    raw: dict[str, Any] = {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tied_embeddings,
        "attention_bias": False,
        "initializer_range": config.initializer_range,
        "torch_dtype": "float32",
        # Named even where there are none: transformers' defaults lie beyond small vocabularies.
        **{f"{name}_token_id": (special_tokens or {}).get(f"{name}_token_id") for name in ("bos", "eos", "pad")},
    }
    if mode != "float":
        raw["quantization_config"] = dict(_QUANTIZATION[mode])
    return raw


def _mode(quantization: Mapping[str, Any] | None, path: pathlib.Path) -> Mode:
    if not quantization:
        return "float"
    if quantization.get("quant_method") != "bitnet":
        raise ValueError(f"{path}: quant_method must be 'bitnet', got {quantization.get('quant_method')!r}")
    if quantization.get("use_rms_norm"):
        raise ValueError(f"{path}: use_rms_norm is not supported: norms inside the projections")
    if quantization.get("modules_to_not_convert") not in (None, [], ["lm_head"]):
        raise ValueError(
            f"{path}: modules_to_not_convert must be empty or lm_head, got {quantization['modules_to_not_convert']}"
        )
    linear_class = quantization.get("linear_class", "bitlinear")
    if linear_class == "bitlinear":
        return "offline_divided"
    if linear_class != "autobitlinear":
        raise ValueError(f"{path}: linear_class must be bitlinear or autobitlinear, got {linear_class!r}")
    stored = quantization.get("quantization_mode", "offline")
    if stored not in ("online", "offline"):
        raise ValueError(f"{path}: quantization_mode must be online or offline, got {stored!r}")
    return stored
