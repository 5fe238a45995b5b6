"""The shapes that tuning measures for a model are those of the calls that it makes."""

import jax
import jax.numpy as jnp
import pytest
from orchestai_kernels.tuning import named_shapes, ops

from orchestai_jax.language_model import apply_model
from orchestai_jax.language_model.generation import Generator
from orchestai_jax.language_model.serving_model import serving_model
from orchestai_jax.language_model.transformer_size import read_transformer_size, transformer_size

OPS = ("attention", "feed_forward", "ternary_matmul")


@pytest.fixture
def keys_of_calls(monkeypatch):
    """Op → the keys under which calls look for a record."""
    seen = {name: set() for name in OPS}
    for name, op in ops(OPS).items():

        def key(*args, name=name, original=op.key, **options):
            seen[name].add(original(*args, **options))
            return original(*args, **options)

        monkeypatch.setattr(op, "key", key)
    jax.clear_caches()  # what was traced before asks no more
    return seen


def keys_of_shapes(size):
    found = {}
    for name in OPS:
        key = ops([name])[name].key
        found[name] = {key(*shape.args, **shape.kwargs) for shape in named_shapes(name, size).values()}
    return found


@pytest.mark.parametrize("dtype, ternary", [("float32", True), ("bfloat16", False)])
def test_tuning_measures_what_a_model_calls(small, keys_of_calls, dtype, ternary):
    config = small[0].model_copy(update={"compute_dtype": dtype, **({} if ternary else {"quantization": ()})})
    jax.eval_shape(lambda tokens: apply_model(config, small[1], tokens), jnp.ones((12, 48), jnp.int32))
    generator = Generator(serving_model(config, small[1]))
    for prompt in ([1] * 40, [1] * 5):
        generator.generate([prompt], max_new_tokens=2)
    called = {name: set(keys) for name, keys in keys_of_calls.items()}
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
