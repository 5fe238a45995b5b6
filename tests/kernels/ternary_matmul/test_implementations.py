"""Which implementation runs, what its configuration changes, and lowering for what is not here."""

import dataclasses
import inspect
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import pack_ternary, quantize_int8
from orchestai_kernels.cpu import library
from orchestai_kernels.cpu.config import CpuConfig
from orchestai_kernels.dispatch import KernelMissingError, overridden
from orchestai_kernels.int8_matmul import INT8_MATMUL, int8_matmul
from orchestai_kernels.int8_matmul import shapes as int8_shapes
from orchestai_kernels.shapes import NamedShape, TransformerSize
from orchestai_kernels.ternary_matmul import TERNARY_MATMUL, GpuTiles, TpuTiles, ternary_matmul
from orchestai_kernels.ternary_matmul.config import gpu_candidates, gpu_guess, tpu_candidates
from orchestai_kernels.ternary_matmul.shapes import SHAPES, for_transformer

X = jnp.ones((2, 64))
WEIGHT = pack_ternary(np.ones((32, 64), np.int8), 1.0)


@pytest.fixture(params=["ternary_matmul", "int8_matmul"])
def op(request):
    """An op, a call of it, and a record of what was logged forgotten."""
    op, call = {
        "ternary_matmul": (TERNARY_MATMUL, lambda **how: ternary_matmul(X, WEIGHT, **how)),
        "int8_matmul": (INT8_MATMUL, lambda **how: int8_matmul(X, quantize_int8(jnp.ones((32, 64))), **how)),
    }[request.param]
    logged, op._logged = op._logged, set()
    yield op, call
    op._logged = logged


def test_auto_runs_the_library_here(op, caplog):
    op, call = op
    with caplog.at_level(logging.INFO):
        call()
    assert re.search(rf"{op.name} on cpu: `cpu` \((heuristic|tuned)\)", caplog.text)


def test_without_the_library_the_reference_runs_and_says_why_once(op, caplog, monkeypatch):
    op, call = op
    monkeypatch.setattr(library, "problem", lambda: "cpu kernel not built: no compiler")
    with caplog.at_level(logging.INFO):
        with_reference = call()
        call()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{op.name}: no `cpu`: cpu kernel not built: no compiler"]
    assert f"{op.name} on cpu: `reference`" in caplog.text
    np.testing.assert_allclose(with_reference, 64, rtol=1e-5)
    with pytest.raises(KernelMissingError, match="no compiler"):
        call(implementation="cpu")


def test_an_instruction_set_that_is_not_here_is_refused(op):
    _, call = op
    other = next(name for name in ("neon_dotprod", "avx2") if name not in library.instruction_sets())
    with pytest.raises(NotImplementedError, match=f"this processor has .*portable, not {other}"):
        call(implementation="cpu", config=CpuConfig(other))
    with pytest.raises(ValueError, match=r"instructions must be one of auto, portable, .*, got 'sse'"):
        CpuConfig("sse")


def test_the_instruction_set_reaches_the_library():
    def call(x, instructions):
        return ternary_matmul(x, WEIGHT, implementation="cpu", config=CpuConfig(instructions))

    for name in library.instruction_sets():
        assert f'instructions = "{name}"' in jax.jit(call, static_argnums=1).lower(X, name).as_text()


def lowered(shape, implementation, platform, config=None):
    def call(*args):
        return ternary_matmul(*args, implementation=implementation, config=config)

    with overridden(platform=platform):
        target = {"gpu": "cuda"}.get(platform, platform)
        return jax.jit(call).trace(*shape.args).lower(lowering_platforms=(target,)).as_text()


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "gpu" in shape.platforms])
def test_lowers_at_the_named_shapes(platform, name):
    text = lowered(SHAPES[name], f"pallas_{platform}", platform)
    assert len(re.findall(r"custom_call @(__gpu\$xla\.gpu\.triton|triton_kernel_call|tpu_custom_call)", text)) == 1
    assert ("dp4a" in text) == (platform == "gpu" and "_1_" in name)


def shape_of(tokens, rows=96, columns=512):
    return NamedShape(
        (jax.ShapeDtypeStruct((tokens, columns), jnp.bfloat16), pack_ternary(np.zeros((rows, columns), np.int8), 1.0))
    )


FEW = {"quads": 32, "splits": 2, "tokens_at_once": 4, "num_warps": 8, "num_stages": 1}
MANY = {"block_tokens": 32, "block_rows": 16, "block_columns": 128, "num_warps": 8, "num_stages": 1}
TPU = {"block_tokens": 32, "block_rows": 128, "block_columns": 256}


@pytest.mark.parametrize(
    "platform, tokens, tiles, field, value",
    [("gpu", 4, GpuTiles(), *item) for item in FEW.items()]
    + [("gpu", 64, GpuTiles(), *item) for item in MANY.items()]
    + [("tpu", 64, TpuTiles(), *item) for item in TPU.items()],
)
def test_each_field_of_the_tiles_changes_the_kernel(platform, tokens, tiles, field, value):
    changed = dataclasses.replace(tiles, **{field: value})
    texts = {lowered(shape_of(tokens), f"pallas_{platform}", platform, config) for config in (tiles, changed)}
    assert len(texts) == 2
    assert set(FEW) | set(MANY) == {f.name for f in dataclasses.fields(GpuTiles)}
    assert set(TPU) == {f.name for f in dataclasses.fields(TpuTiles)}


@pytest.mark.parametrize("tokens", [3, 20])
def test_other_tiles_compute_the_same(tokens):
    rng = np.random.default_rng(0)
    x = rng.integers(-127, 128, (tokens, 320)).astype(np.float32)
    x[:, 0] = 127
    integers = rng.integers(-1, 2, (45, 320)).astype(np.int8)
    tiles = [
        (
            "pallas_gpu",
            GpuTiles(quads=16, splits=8, tokens_at_once=2, block_tokens=16, block_rows=16, block_columns=32),
        ),
        ("pallas_gpu", GpuTiles(quads=512, splits=1, tokens_at_once=4)),
        ("pallas_tpu", TpuTiles(block_tokens=32, block_rows=128, block_columns=128)),
    ]
    for implementation, config in tiles:
        with overridden(interpret=True):
            y = ternary_matmul(
                jnp.asarray(x), pack_ternary(integers, 1.0), implementation=implementation, config=config
            )
        np.testing.assert_array_equal(y, x.astype(np.int64) @ integers.T.astype(np.int64))


def test_tiles_that_the_compilers_would_refuse():
    with pytest.raises(ValueError, match="block_columns must be a power of two of at least 32, got 16"):
        GpuTiles(block_columns=16)
    with pytest.raises(ValueError, match="splits must be a power of two of at least 1, got 3"):
        GpuTiles(splits=3)
    with pytest.raises(ValueError, match="block_rows must be a power of two of at least 128, got 64"):
        TpuTiles(block_rows=64)


def test_first_guesses_are_among_what_tuning_tries():
    for shape in (shape_of(1), shape_of(128)):
        assert gpu_guess(*shape.args) in gpu_candidates(*shape.args)
        assert TpuTiles() in tpu_candidates(*shape.args)
    # a small matrix is split so that a large GPU has work, no finer than there are columns
    assert gpu_guess(*shape_of(1, 256, 4096).args).splits == 8
    assert gpu_guess(*shape_of(1, 65536, 4096).args).splits == 1


def test_shapes_of_a_model():
    size = TransformerSize(64, 160, heads=4, kv_heads=2, head_dim=16, positions=32, ternary=True)
    shapes = for_transformer(size)
    matrices = {name: shape.args[1].matrix_shape for name, shape in shapes.items() if name.endswith("_1")}
    assert matrices == {"qkv_1": (128, 64), "out_1": (64, 64), "gate_up_1": (320, 64), "down_1": (64, 160)}
    assert {shape.args[0].shape[0] for shape in shapes.values()} == {1, 32}
    assert for_transformer(dataclasses.replace(size, ternary=False)) == {}
    low = for_transformer(dataclasses.replace(size, dtype="bfloat16", positions=200))
    assert {(shape.args[0].shape[0], shape.args[0].dtype) for shape in low.values()} == {
        (n, jnp.dtype("bfloat16")) for n in (1, 128, 256)
    }
    for shape in shapes.values():
        jax.eval_shape(ternary_matmul, *shape.args)


def test_shapes_of_heads():
    for shape in int8_shapes.SHAPES.values():
        x, weight = shape.args
        y = jax.eval_shape(int8_matmul, *shape.args)
        assert (y.shape, y.dtype) == ((x.shape[0], weight.shape[0]), x.dtype)


@pytest.mark.parametrize("op", [ternary_matmul, int8_matmul])
def test_other_types_are_named(op):
    """Without the tests' own shape checks, which would come first. A result of integers would be cut off."""
    own, other = (WEIGHT, quantize_int8(jnp.ones((32, 64))))[:: 1 if op is ternary_matmul else -1]
    for x in (jnp.ones((2, 64), int), jnp.ones((2, 64), bool)):
        with pytest.raises(ValueError, match=f"x must be floating, got {x.dtype}"):
            inspect.unwrap(op)(x, own)
    kind = "ternary" if op is ternary_matmul else "int8"
    for weight in (other, jnp.ones((32, 64))):
        with pytest.raises(ValueError, match=f"weight must be {kind}, got {type(weight).__name__}"):
            inspect.unwrap(op)(X, weight)


@pytest.mark.parametrize("implementation", ["cpu", "reference"])
@pytest.mark.parametrize(
    "change, told",
    [
        ({"codes": WEIGHT.codes[:, :8]}, r"codes must be \(1, 16, 32\) for a 32 x 64 matrix, got \(1, 8, 32\)"),
        ({"codes": jnp.ones((2, 16, 32), jnp.uint8)}, r"codes must be \(1, 16, 32\) .*, got \(2, 16, 32\)"),
        ({"scale": jnp.ones(32)}, r"scale must be \(\) with axis None, got \(32,\)"),
        ({"scale": jnp.ones(31), "axis": 0}, r"scale must be \(32,\) with axis 0, got \(31,\)"),
    ],
)
def test_packed_arrays_that_do_not_fit_their_matrix(implementation, change, told):
    with pytest.raises(ValueError, match=told):
        inspect.unwrap(ternary_matmul)(X, dataclasses.replace(WEIGHT, **change), implementation=implementation)


@pytest.mark.parametrize("implementation", ["cpu", "reference"])
def test_an_int8_scale_that_does_not_fit(implementation):
    weight = dataclasses.replace(quantize_int8(jnp.ones((32, 64))), scale=jnp.ones(31))
    with pytest.raises(ValueError, match=r"scale must be \(32,\), one a row, got \(31,\)"):
        inspect.unwrap(int8_matmul)(X, weight, implementation=implementation)
