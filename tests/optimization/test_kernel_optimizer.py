"""The calls that a model makes, what is tried of them, and that dispatch goes by what was found."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from orchestai_kernels.attention import attention
from orchestai_kernels.attention.api import ATTENTION
from orchestai_kernels.dispatch import OPS, ConfigSpace, Implementation, Op, overridden
from orchestai_kernels.graph_attention import graph_attention

from orchestai_jax.config import KernelOptimizerConfig
from orchestai_jax.optimization import calls_of, detect_and_tune
from orchestai_jax.optimization import kernel_optimizer as module


def model(x):
    heads = x.reshape(2, 8, 2, 16)
    y = attention(heads, heads, heads, causal=True)
    y = attention(y, y, y, causal=True)  # the same shapes: measured once
    return graph_attention(y, jnp.ones((2, 8, 8)), aggregation="mean")


def test_the_calls_of_a_model_are_found_measured_and_used(tmp_path):
    calls = calls_of(model, jax.ShapeDtypeStruct((2, 8, 32), jnp.float32))
    assert [op for op, _, _ in calls] == ["attention", "attention", "graph_attention"]
    told = []
    report = detect_and_tune(calls, KernelOptimizerConfig(repeats=1), tmp_path, progress=told.append)
    assert [(t.op, t.trials > 1) for t in report.tuned] == [("attention", True), ("graph_attention", False)]
    assert report.platform == "cpu"
    assert report.tuned[0].gain >= 1
    assert report.tuned[1].gain == 1
    assert len(told) == 2
    assert report.seconds > 0
    _, args, kwargs = calls[0]
    with overridden(records=tmp_path):
        choice = ATTENTION.choose(*args, **kwargs)
    assert (choice.why, choice.implementation) == ("tuned", report.tuned[0].implementation)
    assert ATTENTION.choose(*args, **kwargs).why == "heuristic"


@dataclasses.dataclass(frozen=True)
class Tiles:
    block_rows: int
    block_keys: int
    num_warps: int = 200


@pytest.fixture
def tiled(tmp_path, monkeypatch):
    source = tmp_path / "kernel.py"
    source.write_text("one = 1\n")
    every = [Tiles(rows, keys) for rows in (32, 64, 128) for keys in (32, 64, 128)]
    made = Op(
        "tiled",
        key=lambda x: f"n{x.shape[0]}",
        implementations=[
            Implementation(
                "only",
                run=lambda x, *, config: x + config.block_rows,
                configs=ConfigSpace(Tiles, heuristic=lambda x: every[-1], candidates=lambda x: every),
                sources=(source,),
            )
        ],
    )
    monkeypatch.setattr(module, "ops", lambda names: {"tiled": made})
    yield made
    OPS.pop("tiled")


@pytest.mark.parametrize("tile, block, wanted", [(64, 64, 4), (64, 32, 2), (128, 128, 9), (16, 16, 1)])
def test_tile_size_and_block_size_bound_what_is_tried(tiled, tmp_path, tile, block, wanted):
    calls = calls_of(tiled, jax.ShapeDtypeStruct((4, 4), jnp.float32))
    config = KernelOptimizerConfig(tile_size=tile, block_size=block, repeats=1)
    (found,) = detect_and_tune(calls, config, tmp_path, gradient=False).tuned
    assert found.trials == wanted
    if wanted > 1:
        assert found.config["block_rows"] <= tile
        assert found.config["block_keys"] <= block
    else:  # nothing fits: the first that it would try
        assert (found.config["block_rows"], found.config["block_keys"]) == (32, 32)
