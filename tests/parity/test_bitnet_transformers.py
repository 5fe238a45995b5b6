"""Hugging Face's BitNet files against transformers' BitNetForCausalLM, on the CPU in float32."""

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # its forwards are compiled by torch otherwise, which takes minutes here

import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.language_model import apply_model, export_hugging_face, import_hugging_face
from orchestai_jax.language_model.hugging_face_config import MODES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.parity

# Of this seed's tokens no activation, times its scale, comes within 3e-4 of a half in the models below: rounding to
# int8 has no tie there that could fall the other way on another processor: every logit can be held to 1e-4.
TOKENS = np.random.default_rng(40).integers(0, 96, (2, 13))
ONLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}


def write_random_model(folder, *, tied=True, quantization=None, **changes):
    """Random weights of a size that training might have left, norms off 1; saved by transformers itself."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }
    config = transformers.BitNetConfig(**{**sizes, **changes}, tie_word_embeddings=tied)
    model = transformers.BitNetForCausalLM(config).float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(1 + 0.2 * torch.randn_like(weight) if "norm" in name else 0.3 * torch.randn_like(weight))
    model.save_pretrained(folder)
    if quantization is not None:
        rewrite_config(folder, quantization_config=quantization)
    return model


def rewrite_config(folder, **changes):
    import json

    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def their_logits(folder):
    model = transformers.BitNetForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


def assert_same(ours, theirs):
    assert np.abs(theirs).max() > 0.3, "of a size at which 1e-4 tells something"
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def our_logits(folder):
    config, parameters = import_hugging_face(folder)
    return np.asarray(apply_model(config, parameters, jnp.asarray(TOKENS, jnp.int32)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("quantization", [None, ONLINE], ids=["float", "online"])
def test_import_of_float_files(tmp_path, tied, quantization):
    write_random_model(tmp_path, tied=tied, quantization=quantization)
    assert_same(our_logits(tmp_path), their_logits(tmp_path))


def write_offline(folder, linear_class, packed):
    """Master weights ternarised and packed here in NumPy, by the published rules."""
    import safetensors.numpy

    write_random_model(folder)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    for name in [name for name in tensors if "_proj" in name]:
        weight = tensors[name]
        mean = np.float32(max(np.abs(weight).mean(dtype=np.float32), 1e-5))
        ternary = np.clip(np.round(weight * (np.float32(1) / mean)), -1, 1)
        if packed:
            quarter = len(ternary) // 4
            codes = (ternary + 1).astype(np.uint8)
            stored = np.zeros((quarter, weight.shape[1]), np.uint8)
            for row in range(len(ternary)):
                stored[row % quarter] |= codes[row] << (2 * (row // quarter))
            tensors[name] = stored
        else:
            tensors[name] = ternary.astype(np.float32)
        scale = mean if linear_class == "autobitlinear" else 1 / mean
        tensors[f"{name}_scale"] = np.array([scale], np.float32)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    quantization = {"quant_method": "bitnet", "linear_class": linear_class, "quantization_mode": "offline"}
    rewrite_config(folder, quantization_config=quantization)


@pytest.mark.parametrize(
    ("linear_class", "packed"), [("autobitlinear", True), ("autobitlinear", False), ("bitlinear", True)]
)
def test_import_of_offline_files(tmp_path, linear_class, packed):
    write_offline(tmp_path, linear_class, packed)
    assert_same(our_logits(tmp_path), their_logits(tmp_path))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tied", [True, False])
def test_export_in_every_mode(tmp_path, mode, tied):
    write_random_model(tmp_path / "from", tied=tied, quantization=None if mode == "float" else ONLINE)
    config, parameters = import_hugging_face(tmp_path / "from")
    expected = np.asarray(apply_model(config, parameters, jnp.asarray(TOKENS, jnp.int32)))
    sharded = 10_000 if tied else 10**9
    files = export_hugging_face(tmp_path / "to", config, parameters, mode=mode, max_shard_bytes=sharded)
    assert (len(files) > 2) == tied
    assert_same(their_logits(tmp_path / "to"), expected)
    assert_same(our_logits(tmp_path / "to"), expected)


def test_files_sharded_by_transformers(tmp_path):
    model = write_random_model(tmp_path)
    whole = our_logits(tmp_path)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    np.testing.assert_array_equal(our_logits(tmp_path / "sharded"), whole)


def test_settings_reach_the_model(tmp_path):
    for name, changes in {
        "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
        "epsilon": {"rms_norm_eps": 0.1},
        "silu": {"hidden_act": "silu"},
        "heads": {"num_key_value_heads": 4},
    }.items():
        write_random_model(tmp_path / name, **changes)
        assert_same(our_logits(tmp_path / name), their_logits(tmp_path / name))
