import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import LanguageModelConfig, QuantizationRule
from orchestai_jax.language_model import apply_model, initial_parameters
from orchestai_jax.language_model.layer import projection_parts
from orchestai_jax.quantization import pack


def test_packed_parameters_give_the_same_logits(small):
    config, parameters = small
    # None of this seed's activations, times its scale, comes within 1e-3 of a half: rounding to int8 has no ties.
    tokens = jnp.asarray(np.random.default_rng(13).integers(0, 17, (2, 11)), jnp.int32)
    packed = pack(parameters, config.quantization, parts=projection_parts(config))
    expected = apply_model(config, parameters, tokens)
    np.testing.assert_allclose(apply_model(config, packed, tokens), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("change", [{"scan_layers": False}, {"remat": True}])
def test_ways_to_compile_change_neither_logits_nor_gradients(small, tokens, change):
    config, parameters = small
    config = config.model_copy(update={"quantization": ()})

    def both(config):
        def loss(parameters):
            logits = apply_model(config, parameters, tokens)
            return jnp.mean(jax.nn.logsumexp(logits, -1)), logits

        return jax.jit(jax.grad(loss, has_aux=True))(parameters)

    gradients, logits = both(config)
    other, same = both(config.model_copy(update=change))
    np.testing.assert_allclose(same, logits, atol=1e-4)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(other[name], gradient, atol=1e-4, err_msg=name)


def test_remat_is_in_the_program(small, tokens):
    config, parameters = small
    for remat in (True, False):
        changed = config.model_copy(update={"remat": remat})
        program = str(jax.make_jaxpr(lambda p, c=changed: apply_model(c, p, tokens))(parameters))
        assert ("remat" in program or "checkpoint" in program) == remat


def test_logits_do_not_see_what_comes_later(small, tokens):
    config, parameters = small
    changed = tokens.at[:, 7:].set(0)
    before = apply_model(config, parameters, tokens)[:, :7]
    np.testing.assert_allclose(apply_model(config, parameters, changed)[:, :7], before, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"quantization": ()},
        {"quantization": (QuantizationRule(pattern=r"layers\.attention\.(qkv|out)\.weight"),)},
        {"activation": "silu"},
        {"rope_theta": 10.0},
        {"rms_epsilon": 1.0},
        {"compute_dtype": "bfloat16"},
    ],
    ids=str,
)
def test_fields_change_the_logits(small, tokens, change):
    config, parameters = small
    changed = apply_model(config.model_copy(update=change), parameters, tokens)
    assert np.abs(changed - apply_model(config, parameters, tokens)).max() > 1e-3


def test_fields_change_the_parameters(small):
    config, parameters = small
    untied = initial_parameters(config.model_copy(update={"tied_embeddings": False}), 3)
    assert set(untied) - set(parameters) == {"head"}
    plain = initial_parameters(config.model_copy(update={"sub_norms": False}), 3)
    assert set(parameters) - set(plain) == {"layers.attention.sub_norm.weight", "layers.feed_forward.sub_norm.weight"}
    wide = initial_parameters(config.model_copy(update={"initializer_range": 3.0}), 3)
    np.testing.assert_allclose(wide["embedding"], 10 * parameters["embedding"], rtol=1e-5)
    assert parameters["layers.attention.qkv.weight"].shape == (2, 16 + 8 + 8, 16)


def test_what_is_refused(small):
    config, parameters = small
    with pytest.raises(ValueError, match="1 to max_positions 48 long, got 49"):
        apply_model(config, parameters, jnp.zeros((1, 49), jnp.int32))
    with pytest.raises(ValueError, match="1 to max_positions 48 long, got 0"):
        apply_model(config, parameters, jnp.zeros((1, 0), jnp.int32))
    with pytest.raises(ValueError, match="vocab_size must be given"):
        initial_parameters(config.model_copy(update={"vocab_size": None}), 0)
    with pytest.raises(ValueError, match=r"rule 0 \('embeddings'\) matches no parameter"):
        initial_parameters(config.model_copy(update={"quantization": (QuantizationRule(pattern="embeddings"),)}), 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 10, "num_heads": 4}, "hidden_size 10 is not a multiple of num_heads 4"),
        ({"num_kv_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3"),
        ({"hidden_size": 12}, "must be even for the rotary embedding"),
    ],
)
def test_sizes_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelConfig(**fields)
