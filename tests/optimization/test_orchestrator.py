"""Gates, precedence, backing off, adaptation and snapshots, without a training around them."""

import json
import math
import re

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
import pytest

from orchestai_jax.config import OptimizationConfig
from orchestai_jax.optimization import (
    OptimizationOrchestrator,
    OptimizationState,
    ParameterPrecedenceResolver,
    all_kept,
    gates_of,
)

ALL_ON = {"kernel_optimizer": {}, "semantic_compression": {}, "inference_scaling": {}}
HEALTHY = {"loss": 1.0, "gradient_norm": 0.5, "compression_error": 0.01}


def faults(n=100):
    """Injected faults: each a healthy step's measurements with something broken."""
    rng = np.random.default_rng(0)
    kinds = [
        lambda: {"loss": math.nan},
        lambda: {"loss": math.inf},
        lambda: {"loss": rng.uniform(10.01, 1e6)},
        lambda: {"gradient_norm": 0.0},
        lambda: {"gradient_norm": rng.uniform(0.02, 5.0) * 1e6},
        lambda: {"gradient_norm": math.nan},
        lambda: {"compression_error": rng.uniform(0.05, 1.0)},
        lambda: {"compression_error": math.nan},
        lambda: {"loss": -math.inf},
        lambda: {"loss": 0.0},
    ]
    for i in range(n):
        values = {
            "loss": rng.uniform(0.01, 9),
            "gradient_norm": rng.uniform(0.01, 9),
            "compression_error": rng.uniform(0, 0.049),
        }
        broken = kinds[i % len(kinds)]()
        yield {**values, **broken}, next(iter(broken))


def test_every_one_of_a_hundred_faults_is_caught_inside_jit_and_out_and_named():
    orchestrator = OptimizationOrchestrator({})
    compiled = jax.jit(lambda m: all_kept(orchestrator.gates, m))
    for values, broken in faults():
        sound, found = orchestrator.validate_safety_gates(values)
        assert not sound
        assert [line.split()[0] for line in found] == [broken]
        assert not compiled({name: jnp.float32(value) for name, value in values.items()})
    assert compiled._cache_size() == 1
    assert orchestrator.validate_safety_gates(HEALTHY) == (True, [])
    assert compiled({name: jnp.float32(value) for name, value in HEALTHY.items()})


@pytest.mark.parametrize(
    "name, inside, outside",
    [
        ("loss", [1e-8, 10], [9.9e-9, 10.00001]),
        ("gradient_norm", [1e-6, 10], [9.9e-7, 10.00001]),
        ("compression_error", [0, 0.0499], [0.05]),
    ],
)
def test_bounds_belong_to_the_range_that_the_configuration_says(name, inside, outside):
    orchestrator = OptimizationOrchestrator({})
    for value in inside:
        assert orchestrator.validate_safety_gates({name: value})[0], value
    for value in outside:
        assert not orchestrator.validate_safety_gates({name: value})[0], value
    moved = OptimizationOrchestrator(
        {"safety_gates": {"loss": [5, 6], "gradient_norm": [5, 6], "compression_error": 0.7}}
    )
    assert moved.validate_safety_gates({"loss": 5.5, "gradient_norm": 5.5, "compression_error": 0.6})[0]
    assert len(moved.validate_safety_gates({"loss": 1, "gradient_norm": 7, "compression_error": 0.8})[1]) == 3


def test_the_loss_gate_looks_at_the_loss_per_decision():
    gates = gates_of(OptimizationConfig().safety_gates, "decision_loss")
    assert bool(
        all_kept(gates, {"loss": jnp.float32(100), "decision_loss": jnp.float32(2), "gradient_norm": jnp.float32(1)})
    )
    with pytest.raises(ValueError, match="want the measurement 'decision_loss'; the step has"):
        all_kept(gates, {"loss": jnp.float32(1), "gradient_norm": jnp.float32(1)})


def test_the_last_optimization_is_backed_off_first_then_the_one_before_and_then_it_stops():
    orchestrator = OptimizationOrchestrator({**ALL_ON, "safety_gates": {"patience": 2}})
    assert orchestrator.active == ("kernel_optimizer", "semantic_compression", "inference_scaling")
    bad, step, backed = {**HEALTHY, "loss": 12.5}, 0, []
    assert orchestrator.observe(1, bad).violations == (
        "loss 12.5 is not in [1e-08, 10] (optimization.safety_gates.loss)",
    )
    assert orchestrator.observe(2, HEALTHY).violations == ()  # not in a row
    assert orchestrator.violations_in_a_row == 0
    for step in range(3, 40):
        verdict = orchestrator.observe(step, bad)
        if verdict.backed_off:
            backed.append((step, verdict.backed_off))
        if verdict.stop:
            break
    # Each needs two violations, and the step under way while one is decided is not counted.
    assert backed == [(4, "inference_scaling"), (7, "semantic_compression"), (10, "kernel_optimizer")]
    assert step == 13
    assert verdict.stop.startswith("2 updates in a row were refused: loss 12.5 is not in [1e-08, 10]")
    assert "; no optimization is left to back off; where such a step is healthy for this model" in verdict.stop
    assert orchestrator.active == ()
    assert list(orchestrator.backed_off) == ["inference_scaling", "semantic_compression", "kernel_optimizer"]
    assert orchestrator.total_violations == 9
    names = [event["event"] for event in orchestrator.events]
    assert names.count("backed_off") == 3
    assert "loss 12.5" in orchestrator.events[0]["violations"][0]


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [
        ({"gradient_norm": 14.6}, "set optimization.safety_gates.gradient_norm=[1e-06,29]; else lower the learning"),
        ({"gradient_norm": 1e-7}, "set optimization.safety_gates.gradient_norm=[5e-08,10]"),
        ({"compression_error": 0.08}, "set optimization.safety_gates.compression_error=0.16"),
        (
            {"loss": 40.0, "gradient_norm": 46.0},
            "safety_gates.loss=[1e-08,80] optimization.safety_gates.gradient_norm=",
        ),
        ({"gradient_norm": math.inf}, "no bound lets such a value pass"),
        ({"loss": math.nan, "gradient_norm": 46.0}, "no bound lets such a value pass"),
    ],
)
def test_a_refusal_says_which_key_to_set_and_that_setting_lets_the_step_pass(metrics, remedy):
    orchestrator = OptimizationOrchestrator({"safety_gates": {"patience": 2}})
    given = {**HEALTHY, **metrics}
    first = orchestrator.observe(1, given)
    assert remedy in first.remedy
    assert all("(optimization.safety_gates." in text for text in first.violations)
    assert (
        "2 updates in a row were refused, and none passed since the run began: " in orchestrator.observe(2, given).stop
    )
    settings = re.findall(r"safety_gates\.(\w+)=(\S+?)[ ;]", first.remedy)
    bounds = {name: json.loads(value) for name, value in settings}
    assert OptimizationOrchestrator({"safety_gates": bounds}).validate_safety_gates(given)[0] == bool(bounds)


def test_only_what_is_on_is_backed_off():
    orchestrator = OptimizationOrchestrator({"semantic_compression": {}, "safety_gates": {"patience": 1}})
    assert orchestrator.active == ("semantic_compression",)
    assert orchestrator.observe(1, {"loss": math.nan}).backed_off == "semantic_compression"
    assert orchestrator.observe(3, {"loss": math.nan}).stop
    with pytest.raises(ValueError, match="optimization must be one that is on"):
        orchestrator.back_off("kernel_optimizer", "", 4)
    for off in (None, {"enabled": False, **ALL_ON}):
        assert OptimizationOrchestrator(off).active == ()


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(tile=st.integers(1, 300), block=st.integers(4, 300), cache=st.integers(1, 300))
def test_lower_sizes_are_moved_to_fit_higher_ones(tile, block, cache):
    config = OptimizationConfig.model_validate(
        {
            "kernel_optimizer": {"tile_size": tile},
            "semantic_compression": {"block_size": block},
            "inference_scaling": {"cache_block": cache},
        }
    )
    resolved, moves = ParameterPrecedenceResolver().resolve(config)
    sizes = [
        resolved.kernel_optimizer.tile_size,
        resolved.semantic_compression.block_size,
        resolved.inference_scaling.cache_block,
    ]
    assert sizes[0] == tile  # the highest is never moved
    for i, size in enumerate(sizes):
        assert size >= 1
        assert all(size % other == 0 or other % size == 0 for other in sizes[:i])
    assert [m.parameter for m in moves] == [
        name
        for name, before, after in zip(ParameterPrecedenceResolver.order, (tile, block, cache), sizes, strict=True)
        if before != after
    ]
    if moves:  # nothing nearer would have fitted
        near = next(s for d in range(300) for s in (block - d, block + d) if s > 0 and (s % tile == 0 or tile % s == 0))
        assert sizes[1] == near
    assert ParameterPrecedenceResolver().resolve(resolved) == (resolved, ())


def test_moves_and_impossible_ratios_are_reported():
    orchestrator = OptimizationOrchestrator(
        {"kernel_optimizer": {"tile_size": 64}, "semantic_compression": {"block_size": 48}}
    )
    assert orchestrator.config.semantic_compression.block_size == 32
    sound, warnings = orchestrator.validate_parameter_compatibility()
    assert warnings[0] == ("semantic_compression.block_size 48 is moved to 32, to fit kernel_optimizer.tile_size 64")
    assert sound
    sound, warnings = OptimizationOrchestrator(
        {"semantic_compression": {"compression_ratio": 0.26}}
    ).validate_parameter_compatibility()
    assert not sound
    assert "compression_ratio 0.26 cannot be reached by 8-bit blocks of 64, which take 0.2656" in warnings[0]
    assert OptimizationOrchestrator(ALL_ON).validate_parameter_compatibility() == (True, [])
    assert (
        "no path to select"
        in OptimizationOrchestrator({"inference_scaling": {"candidates": 1}}).validate_parameter_compatibility()[1][0]
    )


def test_adaptation_is_only_ever_towards_care():
    orchestrator = OptimizationOrchestrator({**ALL_ON, "semantic_compression": {"compression_ratio": 0.35}})
    before = orchestrator.config
    assert orchestrator.adapt_parameters({"score": 0.8, "compression_error": 0.03}) == before
    after = orchestrator.adapt_parameters({"score": 0.9, "compression_error": 0.045})
    assert after.semantic_compression.block_size == 32
    assert after.inference_scaling == before.inference_scaling
    worse = orchestrator.adapt_parameters({"score": 0.85, "compression_error": 0.045})
    assert worse.inference_scaling.sparsity_threshold == 0.25
    assert worse.inference_scaling.path_selection_threshold == 0.85
    assert worse.semantic_compression.block_size == 16
    least = orchestrator.adapt_parameters({"compression_error": 0.045})  # 8 would take 0.375
    assert least.semantic_compression.block_size == 16
    assert (
        OptimizationOrchestrator(ALL_ON).adapt_parameters({"compression_error": 0.045}).semantic_compression.block_size
        == 32
    )
    assert orchestrator.events[-1]["event"] == "adapted"


def test_snapshots_metadata_and_state_go_through_json_and_back():
    orchestrator = OptimizationOrchestrator({**ALL_ON, "safety_gates": {"patience": 1}})
    orchestrator.observe(1, HEALTHY)
    first = orchestrator.snapshot_configuration(1, 1000.5)
    assert first == OptimizationState(
        orchestrator.config.kernel_optimizer,
        orchestrator.config.semantic_compression,
        orchestrator.config.inference_scaling,
        1,
        1000.5,
        HEALTHY,
    )
    assert OptimizationState.from_json(json.loads(json.dumps(first.to_json()))) == first
    orchestrator.observe(2, {**HEALTHY, "loss": 50.0})
    assert orchestrator.snapshot_configuration(2, 2000.0).rlvr_config is None
    saved = json.loads(json.dumps(orchestrator.state()))
    other = OptimizationOrchestrator({**ALL_ON, "safety_gates": {"patience": 1}})
    other.restore(saved)
    assert other.state() == orchestrator.state()
    assert other.active == ("kernel_optimizer", "semantic_compression")
    metadata = orchestrator.get_checkpoint_metadata()
    assert metadata["backed_off"].keys() == {"inference_scaling"}
    assert [snapshot["epoch"] for snapshot in metadata["snapshots"]] == [1, 2]
    for step, values in ((3, {"loss": 50.0}), (4, {"loss": 50.0}), (5, HEALTHY), (6, {"loss": 50.0})):
        assert other.observe(step, values) == orchestrator.observe(step, values)
    with pytest.raises(ValueError, match="another `optimization` block"):
        OptimizationOrchestrator({}).restore(saved)
    with pytest.raises(ValueError, match="an optimization state holds"):
        OptimizationState.from_json({"epoch": 1})


@pytest.mark.parametrize(
    "block, words",
    [
        ({"semantic_compresion": {}}, "semantic_compresion"),
        ({"kernel_optimizer": {"tile_size": 0}}, "tile_size"),
        ({"semantic_compression": {"compression_ratio": 0}}, "compression_ratio"),
        ({"inference_scaling": {"sparsity_threshold": 1.5}}, "sparsity_threshold"),
        ({"safety_gates": {"loss": [10, 1]}}, "loss must be"),
    ],
)
def test_what_the_block_refuses(block, words):
    with pytest.raises(pydantic.ValidationError, match=words):
        OptimizationOrchestrator(block)
