"""The T5 encoder gives the states of transformers' T5EncoderModel, whole and in parts, and is kept with its kind."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from flax import nnx

from orchestai_jax.config import Preference
from orchestai_jax.planner.encoders import make_encoder
from orchestai_jax.planner.model import ModelSpec, build_model, split_parameters
from orchestai_jax.planner.pretrained import EncoderFormatError, import_weights, load_pretrained
from orchestai_jax.planner.saved import planner_metadata, read_spec
from orchestai_jax.planner.t5_encoder import T5EncoderConfig
from orchestai_jax.planner.text_encoder import TextEncoderConfig

torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

SIZES = {"vocab_size": 30, "d_model": 12, "d_kv": 6, "d_ff": 16, "num_layers": 2, "num_heads": 3}
SIZES |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}


@pytest.fixture(scope="module", params=["relu", "gated-gelu"])
def published(request, tmp_path_factory):
    """A folder with a tiny random T5 in the published layout, and the model."""
    torch.manual_seed(0)
    config = transformers.T5Config(**SIZES, feed_forward_proj=request.param, dropout_rate=0.0)
    model = transformers.T5EncoderModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms are ones else, and could be left out unseen
            parameter.copy_(torch.randn(parameter.shape) * 0.5 + (parameter.ndim == 1))
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [(w, -1.0) for w in ("\u2581blur", "\u2581it", "\u2581")]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(words, unk_id=2))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    return folder, model


def _inputs():
    random = np.random.default_rng(0)
    ids, mask = random.integers(0, 30, (2, 40)), np.ones((2, 40), bool)
    mask[1, 25:] = False
    return ids.astype(np.int32), mask


def test_hidden_states_equal_those_of_transformers(published):
    folder, model = published
    found = load_pretrained(str(folder))
    assert found.tokenizer.encode_batch(["blur it"], 8) == [[3, 4, 1]]
    encoder = make_encoder(found.config, rngs=nnx.Rngs(0))
    import_weights(encoder, found.tensors)
    ids, mask = _inputs()
    with torch.no_grad():
        wanted = model(torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)).last_hidden_state
    np.testing.assert_allclose(
        np.asarray(encoder(jnp.asarray(ids), jnp.asarray(mask)))[mask], wanted.numpy()[mask], atol=1e-4
    )


def test_a_planner_runs_frozen_and_tuned_layers_of_it_to_the_same_states(published, tiny):
    found = load_pretrained(str(published[0]))
    planner = tiny[0].planner
    tuned = planner.encoder.model_copy(update={"trainable_layers": 1})
    spec = ModelSpec(found.config, planner.model_copy(update={"encoder": tuned}), 5, 3, pretrained=True)
    model = build_model(spec, 0)
    import_weights(model.encoder, found.tensors)
    nnx.update(model.describer.layers[0], nnx.state(model.encoder.layers[1], nnx.Param))
    ids, mask = map(jnp.asarray, _inputs())
    whole = np.asarray(model.encoder(ids, mask))
    np.testing.assert_allclose(model.upper(model.lower(ids, mask), mask), whole, atol=1e-5)
    np.testing.assert_allclose(model.describer.tokens(model.encoder, ids, mask), whole, atol=1e-5)
    names = split_parameters(model)[1]
    assert "encoder.embedding.position.embedding" in names


def test_what_does_not_fit_is_named(published, tmp_path):
    found = load_pretrained(str(published[0]))
    encoder = make_encoder(found.config, rngs=nnx.Rngs(0))
    name = "encoder.block.1.layer.0.SelfAttention.q.weight"
    with pytest.raises(EncoderFormatError, match="is missing"):
        import_weights(encoder, {k: v for k, v in found.tensors.items() if k != name})
    with pytest.raises(EncoderFormatError, match=r"has shape \(2, 2\), the encoder wants \(12, 18\)"):
        import_weights(encoder, {**found.tensors, name: np.zeros((2, 2), np.float32)})
    with pytest.raises(EncoderFormatError, match=r"the first is encoder\.extra"):
        import_weights(encoder, {**found.tensors, "encoder.extra": np.zeros(1, np.float32)})
    import_weights(encoder, {**found.tensors, "decoder.block.0.x": np.zeros(1, np.float32)})


def test_checkpoints_say_which_kind_it_is(tiny):
    t5 = T5EncoderConfig(30, 12, 2, 3, 6, 16, gated=True)
    for sizes in (t5, TextEncoderConfig(30, 12, 2, 3, 16)):
        spec = dataclasses.replace(tiny[0], encoder=sizes)
        metadata = planner_metadata(spec, Preference(), "somewhere", {})
        assert read_spec(metadata, "here")[0] == spec
    del metadata["encoder"]["kind"]  # as before there were two
    assert read_spec(metadata, "here")[0] == spec
