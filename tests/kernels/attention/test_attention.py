import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import quantize_int8
from orchestai_kernels.attention import ATTENTION, GpuTiles, TpuTiles, attention
from orchestai_kernels.attention.config import gpu_candidates, gpu_heuristic, tpu_candidates, tpu_heuristic
from orchestai_kernels.attention.masks import Masks
from orchestai_kernels.attention.shapes import SHAPES, for_transformer
from orchestai_kernels.dispatch import overridden
from orchestai_kernels.shapes import TransformerSize

ONES = jnp.ones((2, 3, 4, 8))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"q": ONES[0]}, r"q must be \[batch, length, heads, dim\], got shape \(3, 4, 8\)"),
        ({"k": ONES[..., :5]}, r"q's batch and head_dim, got q \(2, 3, 4, 8\) and k \(2, 3, 4, 5\)"),
        ({"v": ONES[:, :2]}, r"k's batch, keys and heads, got k \(2, 3, 4, 8\) and v \(2, 2, 4, 8\)"),
        ({"k": ONES[:, :, :3], "v": ONES[:, :, :3]}, "3 does not divide 4"),
        ({"k": ONES.astype(jnp.bfloat16)}, "k must have q's dtype, got bfloat16 and float32"),
        ({"k": quantize_int8(ONES)}, "both be Int8Array or both be float"),
        ({"k": quantize_int8(ONES, 4), "v": quantize_int8(ONES, 4)}, "one scale a .token, head., got blocks of 4"),
        ({"mask": jnp.ones((2, 4, 3, 3))}, "mask must be boolean, True where visible, got float32"),
        ({"mask": jnp.ones((3, 3), bool)}, r"mask must be .* \(2, 4, 3, 3\), or 1 along an axis, got \(3, 3\)"),
        ({"mask": jnp.ones((2, 4, 2, 3), bool)}, r"got \(2, 4, 2, 3\)"),
        ({"segment_ids": jnp.ones((2, 4), int)}, r"segment_ids of the queries must be \(2, 3\), got \(2, 4\)"),
        ({"lengths": jnp.ones(3, int)}, r"lengths must be \(2,\), got \(3,\)"),
        ({"q": ONES.astype(int)}, "q must be floating, got int32"),
        ({"segment_ids": (jnp.ones((2, 3), int),)}, "those of the queries and of the keys, or one array for both"),
        ({"segment_ids": jnp.ones((2, 3))}, "segment_ids of the queries must be integers, got float32"),
        ({"lengths": jnp.ones(2)}, "lengths must be integers, got float32"),
        ({"query_start": jnp.ones(3, int), "causal": True}, r"query_start must be a number or \(2,\), got \(3,\)"),
        ({"query_start": 0.5, "causal": True}, "query_start must be integers, got float32"),
        ({"query_start": 1}, "query_start has a meaning with causal=True only"),
        ({"implementation": "fast"}, "one of pallas_gpu, pallas_tpu, cudnn, xla, reference, not 'fast'"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    # without the tests' own shape checks, which would come first
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(attention)(**{"q": ONES, "k": ONES, "v": ONES, **options})


@pytest.mark.parity
@pytest.mark.parametrize("causal", [False, True])
def test_equals_torch_with_gradients(causal):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    shapes = [(2, 11, 6, 8), (2, 11, 2, 8), (2, 11, 2, 8), (2, 11, 6, 8)]
    q, k, v, weight = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    mask = rng.random((2, 6, 11, 11)) < 0.7
    mask |= np.eye(11, dtype=bool)
    out, backward = jax.vjp(
        lambda q, k, v: attention(q, k, v, causal=causal, mask=None if causal else jnp.asarray(mask), scale=0.4),
        *map(jnp.asarray, (q, k, v)),
    )
    theirs = [torch.tensor(x.swapaxes(1, 2), requires_grad=True) for x in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *theirs, attn_mask=None if causal else torch.tensor(mask), is_causal=causal, scale=0.4, enable_gqa=True
    )
    expected.backward(torch.tensor(weight.swapaxes(1, 2)))
    np.testing.assert_allclose(out, expected.detach().numpy().swapaxes(1, 2), rtol=1e-5, atol=2e-6)
    for ours, x in zip(backward(jnp.asarray(weight)), theirs, strict=True):
        assert x.grad is not None
        np.testing.assert_allclose(ours, x.grad.numpy().swapaxes(1, 2), rtol=1e-4, atol=5e-6)


def test_segment_ids_of_both_and_integer_start():
    q = jnp.asarray(np.random.default_rng(0).standard_normal((1, 4, 1, 8)), jnp.float32)
    segments = jnp.array([[0, 0, 1, 1]])
    halves = [attention(q[:, part], q[:, part], q[:, part]) for part in (slice(2), slice(2, 4))]
    np.testing.assert_allclose(attention(q, q, q, segment_ids=segments), jnp.concatenate(halves, 1), rtol=1e-6)
    late = attention(q[:, 2:], q, q, causal=True, query_start=2)
    np.testing.assert_allclose(late, attention(q, q, q, causal=True)[:, 2:], rtol=1e-6)


def test_float64_stays_float64():
    with jax.enable_x64():
        q = jnp.asarray(np.random.default_rng(0).standard_normal((1, 4, 1, 8)))
        assert attention(q, q, q, implementation="reference").dtype == jnp.float64


@pytest.mark.parametrize("name, first", [("train_2k", "cudnn"), ("train_16k", "cudnn"), ("decode_2b_4k", "pallas_gpu")])
def test_the_heuristic_on_a_gpu(name, first):
    shape = SHAPES[name]
    with overridden(platform="gpu"):
        assert ATTENTION.choose(*shape.args, **shape.kwargs).implementation == first
    with overridden(platform="tpu"):
        assert ATTENTION.choose(*shape.args, **shape.kwargs).implementation == "pallas_tpu"
    on_cpu = ATTENTION.choose(*shape.args, **shape.kwargs)
    assert on_cpu.implementation in ("reference", "xla")
    assert on_cpu.rejected["pallas_gpu"] == "runs on gpu, not on cpu"


def test_tiles_are_checked_and_fit_the_call():
    with pytest.raises(ValueError, match="block_keys must be a power of two of at least 16, got 24"):
        GpuTiles(block_keys=24)
    with pytest.raises(ValueError, match="splits must be at least 1, got 0"):
        GpuTiles(splits=0)
    with pytest.raises(ValueError, match="block_rows must be a power of two of at least 128, got 64"):
        TpuTiles(block_rows=64)
    for shape in SHAPES.values():
        for guess, candidates in ((gpu_heuristic, gpu_candidates), (tpu_heuristic, tpu_candidates)):
            assert guess(*shape.args, **shape.kwargs) in candidates(*shape.args, **shape.kwargs)
    decoding = SHAPES["decode_2b_4k"]
    assert gpu_heuristic(*decoding.args, **decoding.kwargs).splits > 1


def test_keys_tell_apart_what_matters():
    def key(q=(2, 3, 4, 8), k=(2, 5, 2, 8), masks=None, dtype=jnp.float32):
        arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in (q, k, k)]
        return ATTENTION.key(*arrays, masks or Masks(), scale=1.0)

    assert key() == key(q=(2, 4, 4, 8), k=(2, 8, 2, 8))  # one bucket
    keys = {
        key(),
        key(masks=Masks(causal=True)),
        key(masks=Masks(lengths=jnp.ones(2, int))),
        key(dtype=jnp.bfloat16),
        key(k=(2, 9, 2, 8)),
        key(k=(2, 5, 4, 8)),
    }
    assert len(keys) == 6


def test_shapes_of_a_model():
    size = TransformerSize(hidden=64, feed_forward=128, heads=4, kv_heads=2, head_dim=16, positions=512)
    shapes = for_transformer(size)
    assert list(shapes) == ["prefill_128", "prefill_512"]
    assert shapes["prefill_512"].args[1].shape == (1, 512, 2, 16)
    assert shapes["prefill_512"].args[3].query_segments.shape == (1, 512)
    assert list(for_transformer(dataclasses.replace(size, training=(3, 40)))) == ["train", "prefill_128", "prefill_512"]
    small = for_transformer(dataclasses.replace(size, positions=9, dtype="bfloat16"))
    assert {name: shape.args[0].dtype for name, shape in small.items()} == {"prefill_16": jnp.bfloat16}
