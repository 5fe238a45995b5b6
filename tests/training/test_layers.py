"""Norms and histograms by layer, against NumPy; layers that explode and vanish are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_run import CONFIG, make_state, run

from orchestai_jax.config import MonitoringConfig, Phase1Config
from orchestai_jax.training import build_optimizer, read_metrics
from orchestai_jax.training.layer_monitor import EDGES, LayerMonitor
from orchestai_jax.training.layer_statistics import HISTOGRAMS, NORMS, LayerStatistics

SHAPES = {
    "embedding": (7, 3),
    "layers.attention.weight": (2, 3, 4),
    "layers.norm.weight": (2, 5),
    "encoder.layers.3.attention.q.weight": (4, 4),
    "encoder.layers.3.norm.bias": (4,),
    "decomposer.projection.kernel": (3, 3),
    "head.empty": (0, 2),
}
GROUPS = {
    "embedding": ["embedding"],
    "layers.0": ["layers.attention.weight", "layers.norm.weight"],
    "layers.1": ["layers.attention.weight", "layers.norm.weight"],
    "encoder.layers.3": ["encoder.layers.3.attention.q.weight", "encoder.layers.3.norm.bias"],
    "decomposer.projection": ["decomposer.projection.kernel"],
    "head": ["head.empty"],
}


def trees(count):
    rng = np.random.default_rng(0)
    return [
        {
            name: jnp.asarray(rng.normal(size=shape) * 10.0 ** rng.integers(-12, 6), jnp.float32)
            for name, shape in SHAPES.items()
        }
        for _ in range(count)
    ]


def values_of(tree, group):
    stacked = group.startswith("layers.")
    parts = [np.asarray(tree[name], np.float64) for name in GROUPS[group]]
    return np.concatenate([(part[int(group[-1])] if stacked else part).ravel() for part in parts])


def test_they_are_numpys():
    gradients, parameters, updates = trees(3)
    parameters["embedding"] = parameters["embedding"].at[0].set(0)
    statistics = LayerStatistics.of(parameters, 2, 3, lambda name: name.startswith("layers."))
    assert set(statistics.names) == set(GROUPS)
    measure = jax.jit(statistics.measure)
    for step in range(1, 7):
        measured = measure(jnp.int32(step), gradients, parameters, updates)
        norms, histograms = measured[NORMS], measured[HISTOGRAMS]
        assert bool(jnp.any(norms)) == (step % 2 == 0)
        assert bool(jnp.any(histograms)) == (step % 3 == 0)
    assert measure._cache_size() == 1
    for i, group in enumerate(statistics.names):
        for row, tree in zip(norms, (gradients, parameters, updates), strict=True):
            np.testing.assert_allclose(row[i], np.linalg.norm(values_of(tree, group)), rtol=1e-5)
        for row, tree in zip(histograms, (gradients, parameters), strict=True):
            magnitudes = np.clip(np.abs(values_of(tree, group)), EDGES[0], np.nextafter(EDGES[-1], 0))
            np.testing.assert_array_equal(row[i], np.histogram(magnitudes, EDGES)[0])
    assert LayerStatistics.of(parameters, None, None).measure(jnp.int32(1), gradients, parameters, updates) == {}


def test_what_is_not_finite_counts_as_large():
    tree = {"a": jnp.asarray([np.nan, np.inf, -np.inf, 1.0, 0.0, 1e-40])}
    (counts,) = LayerStatistics.of(tree, None, 1).histograms(tree)
    assert (counts[-1], counts[0], counts.sum()) == (3, 2, 6)


class Holds:
    """A tracker that keeps what it is given."""

    def __init__(self):
        self.histograms, self.splits, self.texts = [], {}, []

    def scalars(self, step, split, values):
        self.splits.setdefault(split, []).append((step, set(values)))

    def histogram(self, step, name, edges, counts):
        self.histograms.append((step, name, int(counts.sum())))

    def text(self, step, name, text):
        self.texts.append((step, name, text))

    def close(self):
        self.closed = True


def monitored(tmp_path, **changes):
    config = MonitoringConfig(**{"layer_norms_every_steps": 2, "histograms_every_steps": 4, **changes})
    phase = CONFIG.model_copy(update={"num_epochs": 2})
    trainable = make_state(build_optimizer(phase, 8)).params["trainable"]
    statistics = LayerStatistics.of(trainable, config.layer_norms_every_steps, config.histograms_every_steps)
    tracker = Holds()
    options = {"config": phase, "observe": statistics, "tracker": tracker}
    run(tmp_path, hooks=[LayerMonitor(statistics, config)], **options)
    return tracker, read_metrics(tmp_path / "metrics.jsonl")


def test_lines_histograms_and_speed(tmp_path):
    tracker, lines = monitored(tmp_path)
    layers = [line for line in lines if line["split"] == "layers"]
    assert [line["step"] for line in layers] == [2, 4, 6, 8]
    kinds = ("gradient_norm", "parameter_norm", "update_ratio")
    assert set(layers[0]["values"]) == {f"{kind}/{group}" for kind in kinds for group in ("encoder", "head")}
    total = np.hypot(layers[0]["values"]["gradient_norm/encoder"], layers[0]["values"]["gradient_norm/head"])
    train = [line for line in lines if line["split"] == "train"]
    assert train[0]["step"] == 2
    assert 0 < total < 2 * 2 * train[0]["values"]["gradient_norm"]
    assert 0 < layers[0]["values"]["update_ratio/encoder"] < 0.2
    assert [h[:2] for h in tracker.histograms[:2]] == [
        (4, "gradient_magnitude/encoder"),
        (4, "gradient_magnitude/head"),
    ]
    assert tracker.histograms[2] == (4, "parameter_magnitude/encoder", 96)
    assert {step for step, _, _ in tracker.histograms} == {4, 8}
    assert tracker.splits["system"][0][1] >= {"samples_per_s", "host_mb"}
    assert "learning_rate" in tracker.splits["train"][0][1]
    assert tracker.closed
    assert not [line for line in lines if line["split"] in ("event", "system")]


@pytest.mark.parametrize(
    ("changes", "word"), [({"explosion_norm": 1e-3}, "exploding"), ({"vanishing_norm": 1e3}, "vanishing")]
)
def test_layers_that_explode_or_vanish_are_named_once(tmp_path, changes, word):
    tracker, lines = monitored(tmp_path, **changes)
    events = [line for line in lines if line["split"] == "event"]
    assert [(e["step"], e["values"]["event"], e["values"]["layer"]) for e in events] == [
        (2, f"{word} gradient", "encoder"),
        (2, f"{word} gradient", "head"),
    ]
    assert tracker.texts[0][:2] == (2, f"{word} gradient")


class Run:
    """A RunControl for one hook."""

    def __init__(self):
        self.events, self.diagnostics = [], {}

    def event(self, step, name, **values):
        self.events.append((step, name, values["layer"]))

    def record(self, step, split, values):
        pass


def test_a_fault_ends_and_is_remembered():
    statistics = LayerStatistics(("a", "b"), 1, None)
    hook, seen = LayerMonitor(statistics, MonitoringConfig(explosion_norm=10, vanishing_norm=0.1)), Run()
    for step, (a, b) in enumerate([(1, 1), (20, 1), (np.nan, 1), (1, 0.01), (0.01, 1)], start=1):
        seen.diagnostics = {NORMS: np.array([[a, b], [1, 1], [1, 1]])}
        hook.on_step(seen, step, {})
        again = LayerMonitor(statistics, MonitoringConfig(explosion_norm=10, vanishing_norm=0.1))
        again.restore(seen, hook.state())
        hook = again
    assert seen.events == [
        (2, "exploding gradient", "a"),
        (4, "gradient no longer exploding", "a"),
        (4, "vanishing gradient", "b"),
        (5, "vanishing gradient", "a"),
        (5, "gradient no longer vanishing", "b"),
    ]


def test_monitoring_changes_no_step(tmp_path):
    """But for the rounding of another program."""
    monitored(tmp_path / "with")
    run(tmp_path / "without", config=Phase1Config(**CONFIG.model_dump() | {"num_epochs": 2}))
    with_, without = (
        [line["values"]["loss"] for line in read_metrics(tmp_path / n / "metrics.jsonl") if line["split"] == "train"]
        for n in ("with", "without")
    )
    np.testing.assert_allclose(with_, without, rtol=1e-5)
