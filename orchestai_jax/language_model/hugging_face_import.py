"""Reading Hugging Face's BitNet folders: float masters, and packed weights in both scale conventions."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax.numpy as jnp
import numpy as np
import safetensors
from orchestai_kernels.arrays import pack_ternary

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.hugging_face_config import Mode, read_hugging_face_config
from orchestai_jax.language_model.model import Parameters, model_structure
from orchestai_jax.language_model.quarter_blocks import unpack_quarters
from orchestai_jax.quantization import join_ternary

NORMS = {
    "attention_norm.weight": "input_layernorm.weight",
    "feed_forward_norm.weight": "post_attention_layernorm.weight",
    "attention.sub_norm.weight": "self_attn.attn_sub_norm.weight",
    "feed_forward.sub_norm.weight": "mlp.ffn_sub_norm.weight",
}
"""Our name of a layer's norm → theirs."""
PROJECTIONS = {
    "attention.qkv.weight": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out.weight": ("self_attn.o_proj",),
    "feed_forward.gate_up.weight": ("mlp.gate_proj", "mlp.up_proj"),
    "feed_forward.down.weight": ("mlp.down_proj",),
}
"""Our name of a layer's projection → theirs, in the order in which they lie below each other."""

Tensor = Callable[[], np.ndarray]


def import_hugging_face(folder: str | pathlib.Path) -> tuple[LanguageModelConfig, Parameters]:
    """The configuration and parameters of a folder with `config.json` and safetensors, in one file or several.

    Projections of packed files come as `TernaryArray`s: such a model runs, and is not trained.

    Raises ValueError naming file and tensor: keys that are missing or not known (all of them listed), wrong shapes,
    code 3 in packed weights, scales that are not finite or, where they divide, 0.
    """
    folder = pathlib.Path(folder)
    config, mode = read_hugging_face_config(folder)
    tensors = dict(_tensors(folder))
    if config.tied_embeddings:
        tensors.pop("lm_head.weight", None)  # some files hold the tied head a second time
    _check_keys(tensors.keys(), _expected_keys(config, mode), folder)
    shapes = model_structure(config)[1]

    def float_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
        value = tensors[key]()
        if value.shape != shape:
            raise ValueError(f"{folder}: {key} has shape {value.shape}, config.json says {shape}")
        return value.astype(np.float32)

    parameters: Parameters = {
        "embedding": jnp.asarray(float_tensor("model.embed_tokens.weight", shapes["embedding"].shape)),
        "norm.weight": jnp.asarray(float_tensor("model.norm.weight", shapes["norm.weight"].shape)),
    }
    if not config.tied_embeddings:
        parameters["head"] = jnp.asarray(float_tensor("lm_head.weight", shapes["head"].shape))
    layers = range(config.num_layers)
    for ours, theirs in NORMS.items():
        shape = shapes[f"layers.{ours}"].shape[1:]
        stacked = [float_tensor(f"model.layers.{i}.{theirs}", shape) for i in layers]
        parameters[f"layers.{ours}"] = jnp.asarray(np.stack(stacked))
    for ours, theirs in PROJECTIONS.items():
        columns = shapes[f"layers.{ours}"].shape[-1]
        rows = _rows(config, ours)
        if mode in ("float", "online"):
            stacked = [
                np.concatenate(
                    [
                        float_tensor(f"model.layers.{i}.{name}.weight", (count, columns))
                        for name, count in zip(theirs, rows, strict=True)
                    ]
                )
                for i in layers
            ]
            parameters[f"layers.{ours}"] = jnp.asarray(np.stack(stacked))
            continue
        pieces = []
        for name, count in zip(theirs, rows, strict=True):
            read = [_ternary(folder, tensors, f"model.layers.{i}.{name}", (count, columns), mode) for i in layers]
            pieces.append((np.stack([values for values, _ in read]), np.stack([scale for _, scale in read])))
        packed = pack_ternary(*pieces[0]) if len(pieces) == 1 else join_ternary(pieces)
        parameters[f"layers.{ours}"] = packed
    return config, parameters


def _rows(config: LanguageModelConfig, ours: str) -> tuple[int, ...]:
    kv_size = config.num_kv_heads * config.head_dim
    return {
        "attention.qkv.weight": (config.hidden_size, kv_size, kv_size),
        "feed_forward.gate_up.weight": (config.intermediate_size, config.intermediate_size),
    }.get(ours, (config.hidden_size,))


def _ternary(
    folder: pathlib.Path, tensors: Mapping[str, Tensor], name: str, shape: tuple[int, int], mode: Mode
) -> tuple[np.ndarray, np.float32]:
    """(values int8, the scale that multiplies) of one projection."""
    where = f"{folder}: {name}.weight"
    stored = tensors[f"{name}.weight"]()
    if stored.shape == shape and mode == "offline" and stored.dtype != np.uint8:
        values = stored.astype(np.float32)
        if not np.isin(values, (-1.0, 0.0, 1.0)).all():
            raise ValueError(f"{where}: unpacked offline weights must be -1, 0 or 1, got others")
        values = values.astype(np.int8)
    elif stored.shape == (shape[0] // 4, shape[1]) and shape[0] % 4 == 0:
        values = unpack_quarters(stored, where)
    else:
        packed = f"packed {(shape[0] // 4, shape[1])}" if shape[0] % 4 == 0 else "which cannot be packed in quarters"
        raise ValueError(f"{where} has shape {stored.shape}, config.json says {shape}, {packed}")
    scale = tensors[f"{name}.weight_scale"]().astype(np.float32)
    if scale.size != 1:
        raise ValueError(f"{folder}: {name}.weight_scale must hold one number, got shape {scale.shape}")
    scale = np.float32(scale.reshape(()))
    with np.errstate(divide="ignore", over="ignore"):
        multiplier = np.float32(1) / scale if mode == "offline_divided" else scale
    if not (np.isfinite(scale) and np.isfinite(multiplier)):
        raise ValueError(f"{folder}: {name}.weight_scale must be finite and, where it divides, not 0; got {scale}")
    return values, multiplier


def _expected_keys(config: LanguageModelConfig, mode: Mode) -> set[str]:
    keys = {"model.embed_tokens.weight", "model.norm.weight"}
    if not config.tied_embeddings:
        keys.add("lm_head.weight")
    for i in range(config.num_layers):
        keys |= {f"model.layers.{i}.{theirs}" for theirs in NORMS.values()}
        for names in PROJECTIONS.values():
            keys |= {f"model.layers.{i}.{name}.weight" for name in names}
            if mode in ("offline", "offline_divided"):
                keys |= {f"model.layers.{i}.{name}.weight_scale" for name in names}
    return keys


def _check_keys(given: Iterable[str], wanted: set[str], folder: pathlib.Path) -> None:
    keys = set(given)
    missing, surplus = sorted(wanted - keys), sorted(keys - wanted)
    if missing or surplus:
        faults = [f"lacks {', '.join(missing)}"] if missing else []
        faults += [f"holds {', '.join(surplus)}, which the model has no place for"] if surplus else []
        raise ValueError(f"{folder}: {'; '.join(faults)}")


def _tensors(folder: pathlib.Path) -> Iterator[tuple[str, Tensor]]:
    """(key, reader) of every tensor in the folder; each is read from the disk when it is wanted."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = sorted({pathlib.PurePath(name) for name in weight_map.values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{index}: not an index of safetensors ({error})") from None
        if any(len(file.parts) != 1 for file in files):
            raise ValueError(f"{index}: names files outside its folder")
        paths = [folder / file for file in files]
    elif single.is_file():
        paths, weight_map = [single], None
    else:
        raise ValueError(f"{folder}: holds neither {single.name} nor {index.name}")
    found: set[str] = set()
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: missing; {index.name} names it")
        try:
            opened = safetensors.safe_open(path, framework="np")
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(f"{path}: not a safetensors file ({error})") from None
        for key in opened.keys():  # noqa: SIM118  not a dict
            found.add(key)
            yield key, lambda opened=opened, key=key: opened.get_tensor(key)
    if weight_map is not None and set(weight_map) - found:
        raise ValueError(f"{index}: names tensors that no file holds: {', '.join(sorted(set(weight_map) - found))}")
