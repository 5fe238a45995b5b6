"""Rounding and packing of parameters, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import (
    BinaryArray,
    Int8Array,
    TernaryArray,
    dequantize_int8,
    dequantize_ternary,
    unpack_binary,
)

from orchestai_jax.quantization import QuantizationRule, pack, quantization_strength, quantize

RNG = np.random.default_rng(0)
PARAMETERS = {
    "a.weight": jnp.asarray(RNG.normal(size=(2, 12, 8)), jnp.float32),
    "b.weight": jnp.asarray(RNG.normal(size=(5, 7)), jnp.float32),
    "norm": jnp.ones((8,)),
}
PARTS = {"a.weight": (4, 8)}


def in_numpy(weights, kind):
    """One matrix, rounded by the definition."""
    w = np.asarray(weights, np.float64)
    if kind == "ternary":
        mean = np.abs(w).mean()
        return np.clip(np.round(w / mean), -1, 1) * mean
    if kind == "binary":
        return np.where(w > w.mean(), 1, -1) * np.abs(w).mean()
    scale = np.abs(w).max(axis=1, keepdims=True) / 127
    return np.round(w / scale) * scale


def expected(kind):
    a = np.asarray(PARAMETERS["a.weight"])
    parted = [np.concatenate([in_numpy(m[:4], kind), in_numpy(m[4:], kind)]) for m in a]
    return np.stack(parted), in_numpy(PARAMETERS["b.weight"], kind)


@pytest.mark.parametrize("kind", ["ternary", "binary", "int8"])
def test_the_view_and_the_packed_arrays_read_the_same(kind):
    rules = [QuantizationRule(pattern=r".*\.weight", weights=kind)]
    view = quantize(PARAMETERS, rules, parts=PARTS)
    packed = pack(PARAMETERS, rules, parts=PARTS)
    for name, wanted in zip(("a.weight", "b.weight"), expected(kind), strict=True):
        np.testing.assert_allclose(view[name], wanted, atol=1e-6)
        np.testing.assert_allclose(read(packed[name]), wanted, atol=1e-6)
    assert view["norm"] is packed["norm"] is PARAMETERS["norm"]


def read(packed):
    match packed:
        case TernaryArray():
            return dequantize_ternary(packed.validate())
        case Int8Array():
            return dequantize_int8(packed.validate())
        case BinaryArray():
            return unpack_binary(packed.validate()) * packed.scale[..., None, None]
    return jnp.concatenate([read(part) for part in packed], axis=-2)


def test_a_float_rule_leaves_a_matrix_alone():
    rules = [QuantizationRule(pattern="b.weight", weights="float"), QuantizationRule(pattern=r".*\.weight")]
    assert pack(PARAMETERS, rules)["b.weight"] is PARAMETERS["b.weight"]


def test_gradients_go_straight_through():
    direction = jnp.asarray(RNG.normal(size=(5, 7)), jnp.float32)

    def loss(parameters):
        view = quantize(parameters, [QuantizationRule(pattern="b.weight")])
        return jnp.sum(view["b.weight"] * direction)

    np.testing.assert_array_equal(jax.grad(loss)(PARAMETERS)["b.weight"], direction)


def test_strength_mixes():
    rule = [QuantizationRule(pattern="b.weight")]
    w, full = np.asarray(PARAMETERS["b.weight"]), np.asarray(quantize(PARAMETERS, rule)["b.weight"])
    for strength in (0.0, 0.25, 1.0):
        mixed = quantize(PARAMETERS, rule, strength=strength)["b.weight"]
        np.testing.assert_allclose(mixed, w + strength * (full - w), atol=1e-6)


@pytest.mark.parametrize(
    ("pattern", "parts", "message"),
    [
        ("norm", {}, r"matches norm, which is no matrix \(shape \(8,\)\)"),
        ("b.weight", {"b.weight": (2, 2)}, r"parts must be row counts that add up to 5, got \(2, 2\)"),
        ("b.weight", {"c": (2, 2)}, "parts names c, which is no parameter"),
    ],
)
def test_what_cannot_be_quantised(pattern, parts, message):
    for function in (quantize, pack):
        with pytest.raises(ValueError, match=message):
            function(PARAMETERS, [QuantizationRule(pattern=pattern)], parts=parts)


def test_packing_twice_is_refused():
    rules = [QuantizationRule(pattern="b.weight")]
    with pytest.raises(ValueError, match="packed already"):
        pack(pack(PARAMETERS, rules), rules)


def test_the_strength_rises_in_a_line():
    values = [float(quantization_strength(step, 4)) for step in (0, 1, 3, 4, 9)]
    assert values == [0.0, 0.25, 0.75, 1.0, 1.0]
    assert float(quantization_strength(0, 0)) == 1.0
    with pytest.raises(ValueError, match="warmup_steps must be at least 0, got -1"):
        quantization_strength(0, -1)
