"""The ternary encoder: its folder by an independent program, packed and trained form alike, bad folders refused."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from orchestai_kernels.arrays import Int8Array, TernaryArray, dequantize_int8, quantize_int8
from ternary_in_numpy import hidden_states

from orchestai_jax.config import Preference
from orchestai_jax.nn.ternary_encoder_block import TernaryEncoderBlock
from orchestai_jax.planner.encoders import make_encoder
from orchestai_jax.planner.model import ModelSpec, build_model, serving_parameters, split_parameters, token_table
from orchestai_jax.planner.pretrained import EncoderFormatError, import_weights, load_pretrained
from orchestai_jax.planner.saved import planner_metadata, read_spec
from orchestai_jax.planner.ternary_encoder import TernaryEncoder, TernaryEncoderConfig, pack_encoder
from orchestai_jax.planner.ternary_files import save_ternary_encoder
from orchestai_jax.planner.ternary_start import start_from, teacher_states, ternary_sizes
from orchestai_jax.planner.text_encoder import TextEncoder, TextEncoderConfig
from orchestai_jax.planner.vector_cache import fingerprint

SIZES = TernaryEncoderConfig(60, 12, 2, 3, 20, max_positions=16)
IDS = np.array([[1, 5, 9, 3, 2], [1, 7, 2, 0, 0]], np.int32)
MASK = IDS > 0


def parameters_of(encoder):
    state = nnx.to_flat_state(nnx.state(encoder, nnx.Param))
    return {".".join(map(str, path)): variable.get_value() for path, variable in state}


def set_parameters(encoder, parameters):
    flat = [(tuple(int(p) if p.isdigit() else p for p in n.split(".")), nnx.Param(v)) for n, v in parameters.items()]
    nnx.update(encoder, nnx.from_flat_state(flat))


def random_encoder(sizes=SIZES):
    """No parameter is as it starts, so that none can be left out unseen."""
    encoder, random = TernaryEncoder(sizes, rngs=nnx.Rngs(0)), np.random.default_rng(0)
    values = {
        n: random.normal(0.0 if x.ndim == 2 else 0.5, 0.5, x.shape).astype(np.float32)
        for n, x in parameters_of(encoder).items()
    }
    set_parameters(encoder, {n: jnp.asarray(x) for n, x in values.items()})
    return encoder


@pytest.fixture(scope="module", params=[True, False], ids=["sub-norms", "plain"])
def written(request, tmp_path_factory, tokenizer):
    """An encoder and the folder it was written to."""
    encoder = random_encoder(dataclasses.replace(SIZES, sub_norms=request.param))
    folder = tmp_path_factory.mktemp("ternary") / "encoder"
    save_ternary_encoder(folder, encoder.config, parameters_of(encoder), tokenizer)
    return encoder, folder


def states(encoder):
    return np.asarray(encoder(jnp.asarray(IDS), jnp.asarray(MASK)))


def loaded(folder):
    found = load_pretrained(str(folder))
    encoder = make_encoder(found.config, rngs=nnx.Rngs(1))
    import_weights(encoder, found.tensors)
    return encoder


def test_what_is_read_from_the_folder_is_what_an_independent_program_reads(written):
    encoder, folder = written
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    assert {x.dtype for n, x in tensors.items() if n.endswith((".codes", ".values"))} == {
        np.dtype(np.uint8),
        np.dtype(np.int8),
    }
    read = loaded(folder)
    for row, ids in enumerate(IDS):
        n = int(MASK[row].sum())
        # A rounding may fall the other way where float32 and float64 differ in their last bits.
        np.testing.assert_allclose(states(read)[row, :n], hidden_states(tensors, config, ids[:n]), atol=2e-3)
    np.testing.assert_allclose(states(read)[MASK], states(encoder)[MASK], atol=1e-5)


def test_packed_weights_give_the_states_of_the_masters_and_pack_to_the_same_bytes(written):
    encoder, folder = written
    masters = parameters_of(loaded(folder))
    packed = pack_encoder(masters)
    kinds = {type(x) for x in packed.values()}
    assert {TernaryArray, Int8Array} < kinds
    served = loaded(folder)
    set_parameters(served, packed)
    np.testing.assert_allclose(states(served)[MASK], states(encoder)[MASK], atol=2e-3)
    before = pack_encoder(parameters_of(encoder))
    for name, value in before.items():
        if isinstance(value, TernaryArray):
            np.testing.assert_array_equal(packed[name].codes, value.codes, err_msg=name)
        elif isinstance(value, Int8Array):
            np.testing.assert_array_equal(packed[name].values, value.values, err_msg=name)
        else:
            np.testing.assert_array_equal(packed[name], value, err_msg=name)
    assert pack_encoder(packed) == packed  # what is packed stays


def with_tensors(folder, target, change):
    for name in ("config.json", "tokenizer.json"):
        target.joinpath(name).write_bytes((folder / name).read_bytes())
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, target / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("layers.1.up.codes"), r"layers\.1\.up\.codes is missing"),
        (lambda t: t.pop("layers.0.out.scale"), r"layers\.0\.out\.scale is missing"),
        (lambda t: t.update(more=np.zeros(2, np.float32)), "belong to no parameter.*more"),
        (lambda t: t.update({"layers.0.qkv.codes": t["layers.0.out.codes"]}), r"qkv\.codes is uint8 of shape"),
        (lambda t: t.update({"layers.0.up.bias": np.zeros(3, np.float32)}), r"up\.bias is float32 of shape \(3,\)"),
        (
            lambda t: t.update({"embedding.word.values": t["embedding.word.values"].astype(np.int16)}),
            r"embedding\.word\.values is int16",
        ),
        (lambda t: t["layers.0.up.codes"].fill(255), r"layers\.0\.up: codes must be 0, 1 or 2"),
        (lambda t: t["layers.0.up.codes"].fill(0), r"layers\.0\.up: padding"),
        (lambda t: t["embedding.position.values"].fill(-128), r"embedding\.position: values must lie in -127"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(written, tmp_path, change, words):
    with_tensors(written[1], tmp_path, change)
    with pytest.raises(EncoderFormatError, match=words):
        loaded(tmp_path)


def test_a_torn_file_and_a_foreign_configuration_are_refused(written, tmp_path):
    with_tensors(written[1], tmp_path, lambda tensors: None)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(EncoderFormatError, match=r"model\.safetensors: cannot be read"):
        load_pretrained(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(EncoderFormatError, match="format 2 of a ternary encoder; this version reads 1"):
        load_pretrained(str(tmp_path))
    del config["num_heads"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderFormatError, match="num_heads"):
        load_pretrained(str(tmp_path))


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="num_heads must divide hidden_size, got 5 and 12"):
        TernaryEncoderBlock(12, 5, 8, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def teacher():
    """A float encoder whose tables are on an int8 grid already, so that rounding them changes nothing."""
    encoder, random = TextEncoder(TextEncoderConfig(60, 12, 2, 3, 20, 16), rngs=nnx.Rngs(0)), np.random.default_rng(1)
    values = {n: random.normal(0.2, 0.3, x.shape).astype(np.float32) for n, x in parameters_of(encoder).items()}
    set_parameters(encoder, {n: jnp.asarray(x) for n, x in values.items()})
    for table in (encoder.embedding.word, encoder.embedding.position):
        table.embedding.set_value(dequantize_int8(quantize_int8(table.embedding[...])))
    encoder.embedding.segment.embedding.set_value(jnp.zeros((2, 12)))
    return encoder


def started(teacher, sub_norms):
    student = TernaryEncoder(ternary_sizes(teacher.config, sub_norms=sub_norms), rngs=nnx.Rngs(2))
    start_from(student, teacher, jnp.asarray(IDS), jnp.asarray(MASK))
    return student


def unrounded_states(student):
    found, x = [], student.embedding(jnp.asarray(IDS))
    for layer in student.layers:
        x = layer(x, jnp.asarray(MASK), strength=0.0)
        found.append(np.asarray(x)[MASK])
    return found


def test_without_rounding_and_sub_norms_the_start_is_the_teacher(teacher):
    wanted = [np.asarray(x)[MASK] for x in teacher_states(teacher, jnp.asarray(IDS), jnp.asarray(MASK))]
    np.testing.assert_allclose(wanted[-1], np.asarray(teacher(jnp.asarray(IDS), jnp.asarray(MASK)))[MASK], atol=1e-5)
    for got, states in zip(unrounded_states(started(teacher, False)), wanted, strict=True):
        np.testing.assert_allclose(got, states, atol=1e-4)


def test_sub_norms_start_near_the_teacher(teacher):
    wanted = [np.asarray(x)[MASK] for x in teacher_states(teacher, jnp.asarray(IDS), jnp.asarray(MASK))]

    def error(student):
        return np.mean((unrounded_states(student)[-1] - wanted[-1]) ** 2) / np.mean(wanted[-1] ** 2)

    near, plain = started(teacher, True), started(teacher, True)
    for layer in plain.layers:
        for norm in (layer.attention_sub_norm, layer.feed_forward_sub_norm):
            norm.weight.set_value(jnp.ones_like(norm.weight[...]))
    assert error(near) < 0.05
    assert error(near) < error(plain) / 2


def test_a_segment_is_part_of_the_positions(teacher):
    other = TextEncoder(teacher.config, rngs=nnx.Rngs(0))
    set_parameters(other, parameters_of(teacher))
    other.embedding.segment.embedding.set_value(jnp.array([np.linspace(-1, 1, 12), np.ones(12)], jnp.float32))
    got = started(other, False).embedding(jnp.asarray(IDS))
    np.testing.assert_allclose(got, other.embedding(jnp.asarray(IDS)), atol=0.03)  # what int8 rounds away


def test_a_planner_runs_frozen_and_tuned_layers_of_it_to_the_same_states(written, tiny):
    planner = tiny[0].planner
    tuned = planner.encoder.model_copy(update={"trainable_layers": 1})
    found = load_pretrained(str(written[1]))
    config = planner.model_copy(
        update={"encoder": tuned, "decomposer": planner.decomposer.model_copy(update={"dropout": 0.0})}
    )
    spec = ModelSpec(found.config, config, 5, 3, pretrained=True)
    model = build_model(spec, 0)
    import_weights(model.encoder, found.tensors)
    nnx.update(model.describer.layers[0], nnx.state(model.encoder.layers[1], nnx.Param))
    whole = states(model.encoder)
    ids, mask = jnp.asarray(IDS), jnp.asarray(MASK)
    np.testing.assert_allclose(model.upper(model.lower(ids, mask), mask), whole, atol=1e-5)
    np.testing.assert_allclose(model.describer.tokens(model.encoder, ids, mask), whole, atol=1e-5)
    parameters = split_parameters(model)[1]
    served = serving_parameters(spec, parameters)
    packed = {name for name, x in served.items() if isinstance(x, TernaryArray | Int8Array)}
    matrices = ("qkv", "out", "up", "down")
    assert packed == {
        *(f"encoder.layers.{i}.{m}.weight" for i in (0, 1) for m in matrices),
        *(f"describer.layers.0.{m}.weight" for m in matrices),
        "encoder.embedding.word.embedding",
        "encoder.embedding.position.embedding",
    }
    np.testing.assert_allclose(token_table(served), token_table(parameters), atol=1e-6)
    keys = [
        fingerprint(p) for p in (served, {**served, "encoder.layers.0.up.weight": served["encoder.layers.1.up.weight"]})
    ]
    assert keys[0] != keys[1]


def test_other_encoders_are_served_as_they_are(tiny):
    spec, _, parameters, *_ = tiny
    assert serving_parameters(spec, parameters) is parameters


def test_checkpoints_say_that_it_is_ternary(tiny):
    spec = dataclasses.replace(tiny[0], encoder=dataclasses.replace(SIZES, sub_norms=False))
    metadata = planner_metadata(spec, Preference(), "somewhere", {})
    assert metadata["encoder"]["kind"] == "ternary"
    assert read_spec(metadata, "here")[0] == spec
