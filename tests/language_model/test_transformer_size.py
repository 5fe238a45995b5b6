"""The shapes that tuning measures for a model are those of the calls that it makes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.dispatch import observed_calls
from orchestai_kernels.tuning import named_shapes, ops

from orchestai_jax.language_model import apply_model
from orchestai_jax.language_model.generation import decode, pad_left, prefill
from orchestai_jax.language_model.sampling import Draws, Sampling
from orchestai_jax.language_model.serving_model import serving_model
from orchestai_jax.language_model.transformer_size import read_transformer_size, transformer_size

OPS = ("attention", "feed_forward", "ternary_matmul")


def keys_of_shapes(size):
    found = {}
    for name in OPS:
        key = ops([name])[name].key
        found[name] = {key(*shape.args, **shape.kwargs) for shape in named_shapes(name, size).values()}
    return found


def keys_of_calls(config, parameters):
    """Op → the keys under which a training step's forward pass and the reading of prompts look for a record, traced."""
    model, draws = serving_model(config, parameters), Draws.of([Sampling()], config.vocab_size)
    with observed_calls() as calls:
        jax.eval_shape(lambda tokens: apply_model(config, parameters, tokens), jnp.ones((12, 48), jnp.int32))
        for prompt in ([1] * 40, [1] * 5):
            padded, start = pad_left([np.asarray(prompt)])
            read = functools.partial(prefill.__wrapped__, capacity=128, kind="float")
            _, cache = jax.eval_shape(read, model, padded, start, draws)
            jax.eval_shape(decode.__wrapped__, model, cache, np.ones(1, np.int32), draws, np.int32(1))
    found = {name: set() for name in OPS}
    for name, args, options in calls:
        if name in OPS:
            found[name].add(ops([name])[name].key(*args, **options))
    return found


@pytest.mark.parametrize("dtype, ternary", [("float32", True), ("bfloat16", False)])
def test_tuning_measures_what_a_model_calls(small, dtype, ternary):
    config = small[0].model_copy(update={"compute_dtype": dtype, **({} if ternary else {"quantization": ()})})
    called = keys_of_calls(config, small[1])
    size = transformer_size(config, training=(12, 48))
    tuned = keys_of_shapes(size)
    assert called["attention"]
    assert tuned["feed_forward"] == {key for key in called["feed_forward"] if not key.startswith("tokens16 ")}
    long, short = ({key for key in called["attention"] if f"queries{n} " in key} for n in (64, 16))
    assert tuned["attention"] == long
    assert len(short) == 1  # the one bucket below the longest that this small model has
    assert tuned["ternary_matmul"] == {key for key in called["ternary_matmul"] if not key.startswith("m16 ")}


def test_training_is_that_of_the_file(tmp_path):
    path = tmp_path / "lm.yaml"
    path.write_text(
        "kind: language_model\nname: x\ndata: {train: notes.txt}\n"
        "model: {hidden_size: 16, num_heads: 2, num_kv_heads: 1, max_positions: 8, compute_dtype: bfloat16}\n"
        "training: {batch_size: 3, sequence_length: 5}\n"
    )
    size = read_transformer_size(path)
    assert (size.training, size.dtype) == ((3, 5), "bfloat16")
    train = named_shapes("attention", size)["train"]
    assert train.gradient
    assert (train.args[0].shape, train.args[0].dtype) == ((3, 5, 2, 8), jnp.bfloat16)
