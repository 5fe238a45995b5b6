"""Hugging Face folders that are wrong, and the packing by itself; tests/parity compares with transformers."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from orchestai_kernels.arrays import dequantize_ternary

from orchestai_jax.language_model import export_hugging_face, import_hugging_face
from orchestai_jax.language_model.quarter_blocks import pack_quarters, unpack_quarters
from orchestai_jax.language_model.saved import load_language_model


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 100))
def test_quarters_hold_rows_of_four_blocks(quarter, columns, seed):
    values = np.random.default_rng(seed).integers(-1, 2, (4 * quarter, columns)).astype(np.int8)
    packed = pack_quarters(values)
    assert packed.shape == (quarter, columns)
    for row in range(4 * quarter):
        codes = (packed[row % quarter] >> (2 * (row // quarter))) & 3
        np.testing.assert_array_equal(codes.astype(int) - 1, values[row])
    np.testing.assert_array_equal(unpack_quarters(packed), values)


def test_what_cannot_be_packed():
    with pytest.raises(ValueError, match="w: rows must be a multiple of 4 to be packed, got 6"):
        pack_quarters(np.zeros((6, 2), np.int8), "w")
    with pytest.raises(ValueError, match=r"w: holds the unused code 3 in 2 bytes, the first at \[0, 1\]"):
        unpack_quarters(np.array([[0, 3], [0xC0, 0]], np.uint8), "w")
    with pytest.raises(ValueError, match="must be uint8"):
        unpack_quarters(np.zeros((2, 2), np.int8), "w")


@pytest.fixture(params=["online", "offline"])
def folder(small, tmp_path, request):
    export_hugging_face(tmp_path, *small, mode=request.param)
    return tmp_path


def change(folder, changes):
    path = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    changes(tensors)
    safetensors.numpy.save_file(tensors, path)


def refused(folder, message):
    with pytest.raises(ValueError, match=message):
        import_hugging_face(folder)


def test_missing_and_surplus_keys_are_all_listed(folder):
    def changes(tensors):
        del tensors["model.norm.weight"]
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.2.x"] = tensors["a"] = np.zeros(1, np.float32)

    change(folder, changes)
    refused(folder, r"lacks model.layers.1.mlp.up_proj.weight, model.norm.weight; holds a, model.layers.2.x, which")


def test_shapes_of_another_model(folder):
    change(folder, lambda t: t.update({"model.norm.weight": np.zeros(8, np.float32)}))
    refused(folder, r"model.norm.weight has shape \(8,\), config.json says \(16,\)")


@pytest.mark.parametrize("folder", ["offline"], indirect=True)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", np.full((4, 16), 255, np.uint8), "q_proj.weight: holds the unused code 3"),
        ("weight", np.zeros((4, 15), np.uint8), r"has shape \(4, 15\), config.json says \(16, 16\), packed \(4, 16\)$"),
        ("weight", np.zeros((3, 16), np.uint8), r"has shape \(3, 16\), config.json says \(16, 16\), packed \(4, 16\)$"),
        ("weight", np.full((16, 16), 2, np.float32), "must be -1, 0 or 1"),
        ("weight_scale", np.array([np.nan], np.float32), "weight_scale must be finite"),
        ("weight_scale", np.ones(2, np.float32), "weight_scale must hold one number"),
    ],
)
def test_broken_packed_weights(folder, name, value, message):
    change(folder, lambda t: t.update({f"model.layers.0.self_attn.q_proj.{name}": value}))
    refused(folder, message)


def test_a_scale_that_divides_must_not_be_0(small, tmp_path):
    export_hugging_face(tmp_path, *small, mode="offline_divided")
    key = "model.layers.0.self_attn.q_proj.weight_scale"
    for value in (0, 1e-45):  # what divides by the second is infinite
        change(tmp_path, lambda t, value=value: t.update({key: np.full(1, value, np.float32)}))
        refused(tmp_path, "where it divides, not 0")


@pytest.mark.parametrize("folder", ["offline"], indirect=True)
def test_a_scale_of_0_makes_a_matrix_of_zeros(folder, tmp_path):
    key = "model.layers.0.self_attn.q_proj.weight_scale"
    change(folder, lambda t: t.update({key: np.zeros(1, np.float32)}))
    config, parameters = import_hugging_face(folder)
    assert not np.asarray(dequantize_ternary(parameters["layers.attention.qkv.weight"]))[0, :16].any()
    with pytest.raises(ValueError, match=r"q_proj: mode 'offline_divided' has no way to store .* the scale 0\.0"):
        export_hugging_face(tmp_path / "divided", config, parameters, mode="offline_divided")
    assert not (tmp_path / "divided").exists()


@pytest.mark.parametrize("folder", ["online"], indirect=True)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "model_type must be 'bitnet', got 'llama'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type must be 'default', got 'yarn'"),
        ({"attention_bias": True}, "attention_bias must be false"),
        ({"quantization_config": {"quant_method": "awq"}}, "quant_method must be 'bitnet', got 'awq'"),
        ({"num_attention_heads": 3}, r"config\.json: hidden_size 16 is not a multiple of num_heads 3$"),
        ({"hidden_act": "gelu"}, "hidden_act: .* got 'gelu'"),
    ],
)
def test_configurations_that_are_not_supported(folder, changes, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refused(folder, message)


@pytest.mark.parametrize("folder", ["online"], indirect=True)
def test_files_that_are_not_there(folder):
    (folder / "model.safetensors").write_bytes(b"x")
    refused(folder, "not a safetensors file")
    (folder / "model.safetensors").unlink()
    refused(folder, "holds neither model.safetensors nor model.safetensors.index.json")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "b.safetensors"}}))
    refused(folder, "b.safetensors: missing; model.safetensors.index.json names it")
    index.write_text(json.dumps({"weight_map": {"a": "../b.safetensors"}}))
    refused(folder, "names files outside its folder")
    index.write_text("[]")
    refused(folder, "not an index of safetensors")


def test_modes_that_the_rules_do_not_allow(small, tmp_path):
    config, parameters = small
    with pytest.raises(ValueError, match="mode must be one of float, online"):
        export_hugging_face(tmp_path, config, parameters, mode="packed")
    with pytest.raises(ValueError, match="mode 'float' is for a model without quantization rules"):
        export_hugging_face(tmp_path, config, parameters, mode="float")
    with pytest.raises(ValueError, match=r"rules for 0 of 4 projections \(none\)"):
        export_hugging_face(tmp_path, config.model_copy(update={"quantization": ()}), parameters, mode="online")
    with pytest.raises(ValueError, match="sub_norms must be true"):
        export_hugging_face(tmp_path, config.model_copy(update={"sub_norms": False}), parameters, mode="online")
    assert not list(tmp_path.iterdir())


def test_packed_parameters_are_exported_as_they_are(small, tmp_path):
    export_hugging_face(tmp_path / "one", *small, mode="offline")
    config, packed = import_hugging_face(tmp_path / "one")
    export_hugging_face(tmp_path / "two", config, packed, mode="offline", special_tokens={"eos_token_id": 3})
    one, two = (safetensors.numpy.load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(two[key], value, err_msg=key)
    assert load_language_model(tmp_path / "two").stop_tokens == (3,)
    with pytest.raises(ValueError, match="mode 'online' wants float parameters"):
        export_hugging_face(tmp_path / "three", config, packed, mode="online")


def test_special_tokens_are_read_as_transformers_reads_them(small, tmp_path):
    special = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0}
    export_hugging_face(tmp_path, *small, mode="online", special_tokens=special)
    loaded = load_language_model(tmp_path)
    assert (loaded.special_tokens, loaded.stop_tokens) == (special, (2, 3))
    generation = tmp_path / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": [4, 2], "pad_token_id": None}))
    loaded = load_language_model(tmp_path)
    assert (loaded.special_tokens, loaded.stop_tokens) == (special | {"eos_token_id": [4, 2]}, (4, 2))
    generation.write_text(json.dumps({"eos_token_id": "end"}))
    with pytest.raises(ValueError, match=r"generation_config\.json: eos_token_id must be a token number .* got 'end'"):
        load_language_model(tmp_path)
