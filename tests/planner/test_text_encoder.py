"""The encoder gives the hidden states of transformers' BertModel."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from orchestai_jax.planner.pretrained import (
    EncoderFormatError,
    EncoderNotFoundError,
    find_pretrained,
    import_bert,
    load_pretrained,
)
from orchestai_jax.planner.text_encoder import TextEncoder, TextEncoderConfig

TEXTS = ["Book a flight to Paris.", "Resize photo.png to 800 pixels, then blur it and mail me the result, please!", "x"]
SMALL = TextEncoderConfig(30, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=16, max_positions=12)


def _encode(config, tensors, ids, mask):
    encoder = TextEncoder(config, rngs=nnx.Rngs(0))
    import_bert(encoder, tensors)
    return jax.jit(lambda m, i, k: m(i, k))(encoder, ids, mask)


@pytest.mark.parity
def test_hidden_states_of_minilm_equal_those_of_transformers():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    try:
        folder, _ = find_pretrained("minilm", allow_download=False)
    except EncoderNotFoundError as error:
        pytest.skip(str(error))
    encoder = load_pretrained("minilm")
    rows = encoder.tokenizer.encode_batch(TEXTS, 64)
    ids = np.zeros((3, 32), np.int32)
    mask = np.zeros((3, 32), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, True
    assert rows == transformers.AutoTokenizer.from_pretrained(folder)(TEXTS)["input_ids"]
    with torch.no_grad():
        model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        wanted = model(torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)).last_hidden_state
    got = _encode(encoder.config, encoder.tensors, ids, mask)
    np.testing.assert_allclose(np.asarray(got)[mask], wanted.numpy()[mask], atol=1e-4)


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    """A folder with a tiny random BERT in the published layout, and its tensors."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    model = transformers.BertModel(config).eval()
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder, safe_serialization=True)
    return model, folder, safetensors.numpy.load_file(folder / "model.safetensors")


@pytest.mark.parity
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_a_random_bert_is_imported_under_either_prefix(small_bert, prefix):
    import torch

    model, _, tensors = small_bert
    ids, mask = np.arange(10).reshape(2, 5), np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    with torch.no_grad():
        wanted = model(torch.tensor(ids), torch.tensor(mask.astype(int))).last_hidden_state.numpy()
    got = _encode(SMALL, {prefix + k: v for k, v in tensors.items()}, ids, mask)
    np.testing.assert_allclose(np.asarray(got)[mask], wanted[mask], atol=1e-5)


@pytest.mark.parity
def test_missing_misshapen_and_unused_tensors_are_named(small_bert):
    tensors = dict(small_bert[2])
    encoder = TextEncoder(SMALL, rngs=nnx.Rngs(0))
    name = "encoder.layer.1.output.dense.weight"
    with pytest.raises(EncoderFormatError, match=f"{name} is missing"):
        import_bert(encoder, {k: v for k, v in tensors.items() if k != name})
    with pytest.raises(EncoderFormatError, match=r"\(1, 8\).*\(16, 8\)"):
        import_bert(encoder, {**tensors, name: np.zeros((8, 1), np.float32)})
    with pytest.raises(EncoderFormatError, match=r"encoder\.layer\.2\.extra"):
        import_bert(encoder, {**tensors, "encoder.layer.2.extra": np.zeros(1, np.float32)})


def test_a_folder_that_lacks_files_names_them(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderNotFoundError, match=r"lacks model\.safetensors, tokenizer\.json"):
        find_pretrained(str(tmp_path))


def test_what_is_nowhere_says_where_it_was_looked_for():
    with pytest.raises(EncoderNotFoundError, match="Hugging Face cache or on the hub"):
        find_pretrained("nobody/no-such-encoder", allow_download=False)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "not an encoder's configuration"),
        ('{"vocab_size": 3, "model_type": "bert"}', "hidden_size"),
        ('{"vocab_size": 3, "model_type": "t5"}', "num_layers|d_model"),
        ('{"vocab_size": 3}', "model_type None"),
        (
            '{"vocab_size": 3, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,'
            ' "model_type": "gpt2", "intermediate_size": 8, "max_position_embeddings": 8}',
            "gpt2.*allowed: bert",
        ),
    ],
)
def test_a_foreign_configuration_is_refused(tmp_path, config, words):
    (tmp_path / "config.json").write_text(config)
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("")
    with pytest.raises(EncoderFormatError, match=words):
        load_pretrained(str(tmp_path))


def test_a_local_folder_comes_first(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("")
    assert find_pretrained(str(tmp_path)) == (tmp_path, f"local folder {tmp_path.name}")
