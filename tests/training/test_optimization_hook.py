"""Optimizations in real trainings: off they change no bit, on they resume to the bit, faults back them off in order."""

import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from toy_planner import toy_config

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import parse_run_config
from orchestai_jax.language_model.saved import load_language_model
from orchestai_jax.planner import Planner
from orchestai_jax.training import TrainingDivergedError, TrainingInterrupted
from orchestai_jax.training import language_model as module
from orchestai_jax.training.language_model import train_language_model
from orchestai_jax.training.optimization_hook import OptimizationHook
from orchestai_jax.training.supervised import train_planner

CONFIG = {
    "kind": "language_model",
    "name": "tiny",
    "model": {
        "hidden_size": 16, "intermediate_size": 24, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1,
        "max_positions": 16,
    },
    "training": {
        "batch_size": 4, "sequence_length": 16, "num_steps": 12, "evaluate_every_steps": 4, "warmup_steps": 2,
        "learning_rate": 0.02, "log_every_steps": 1, "early_stop_patience": None,
    },
    "system": {"progress": "none"},
}  # fmt: skip
ALL_ON = {
    "kernel_optimizer": {"repeats": 1},
    "semantic_compression": {"block_size": 64},
    "inference_scaling": {},
    "safety_gates": {"patience": 2},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)

    def make(optimization=None, **training):
        content = {**CONFIG, "data": {"train": str(text)}, "training": {**CONFIG["training"], **training}}
        return parse_run_config(yaml.safe_dump({**content, "optimization": optimization}))

    return make


def lines(folder):
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in read]


def events(folder):
    return [(line["step"], line["values"]) for line in lines(folder) if line["split"] == "event"]


def assert_same_bits(one, other):
    first, second = (open_checkpoint(folder, "latest").restore(subtree=None) for folder in (one, other))
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def plain(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "run"
    train_language_model(config(), folder)
    return folder


@pytest.fixture(scope="module")
def optimized(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimized") / "run"
    train_language_model(config(ALL_ON), folder)
    return folder


def test_switched_off_it_changes_no_bit(config, tmp_path, plain):
    train_language_model(config({"enabled": False, **ALL_ON}), tmp_path / "off")
    assert_same_bits(plain, tmp_path / "off")
    assert lines(plain) == lines(tmp_path / "off")
    assert not (tmp_path / "off" / "kernels").exists()


def test_gates_alone_accept_a_healthy_run_and_leave_the_state_as_it_is_built(config, tmp_path, plain):
    train_language_model(config({}), tmp_path / "gates")
    with_gates, without = (load_language_model(f, "latest").parameters for f in (tmp_path / "gates", plain))
    for name, value in without.items():
        np.testing.assert_allclose(
            with_gates[name], value, atol=2e-3, err_msg=name
        )  # the gates' selects change rounding
    assert not events(tmp_path / "gates")
    assert open_checkpoint(tmp_path / "gates", "latest").restore(subtree="skipped") == 0


def test_all_of_it_is_at_work(optimized, plain):
    assert not events(optimized)  # no false alarm
    trained = [line["values"] for line in lines(optimized) if line["split"] == "train"]
    assert all(0 < values["compression_error"] < 0.05 for values in trained)
    assert trained[-1]["loss"] < trained[0]["loss"] - 0.3
    reader, of_plain = open_checkpoint(optimized, "latest"), open_checkpoint(plain, "latest")
    encoded = [leaf.name for leaf in reader.leaves if leaf.dtype in ("int8", "uint8")]
    assert encoded == ["opt_state/first/codes", "opt_state/second/codes"]
    size = lambda reader: sum(f.stat().st_size for f in (reader.folder / "state").rglob("*") if f.is_file())  # noqa: E731
    assert size(reader) < size(of_plain)
    saved = reader.data_state["hooks"]["optimization"]["orchestrator"]
    assert saved["active"] == ["kernel_optimizer", "semantic_compression", "inference_scaling"]
    assert [snapshot["epoch"] for snapshot in saved["snapshots"]] == [1, 2, 3][: len(saved["snapshots"])]
    assert len(saved["snapshots"]) == 3
    report = json.loads((optimized / "kernels" / "report.json").read_text())
    assert [found["op"] for found in report["tuned"]].count("attention") == 1


def test_a_stopped_run_goes_on_to_the_same_bits(config, tmp_path, optimized, monkeypatch):
    # The same tuned kernels, whatever the clock says this time.
    interrupted_run(config(ALL_ON), tmp_path / "parts", monkeypatch, 5, kernels=optimized / "kernels")
    train_language_model(config(ALL_ON), tmp_path / "parts", resume=True)
    assert_same_bits(optimized, tmp_path / "parts")
    assert lines(optimized) == lines(tmp_path / "parts")


def interrupted_run(config, folder, monkeypatch, stop_at, kernels=None):
    """A run that gets SIGTERM during a step, and saves it."""
    calls, step, tune = 0, OptimizationHook.train_step, OptimizationHook._tune

    def stopping_step(self, state, batch):
        nonlocal calls
        calls += 1
        if calls == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return step(self, state, batch)

    def tune_from(self, state, batch):
        if kernels is not None:
            shutil.copytree(kernels, self._records, dirs_exist_ok=True)
        tune(self, state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(OptimizationHook, "train_step", stopping_step)
        patch.setattr(OptimizationHook, "_tune", tune_from)
        with pytest.raises(TrainingInterrupted):
            train_language_model(config, folder)
    assert open_checkpoint(folder, "latest").step == stop_at


def faulty(monkeypatch, steps):
    """The loss of these steps (from 1) is not a number, its gradient either."""
    original = module.next_token_loss
    bad = jnp.asarray(sorted(steps))

    def make(model, config, optimizer, accept=None, observe=None, keep=None):
        def loss_at(step):
            def loss(model, parameters, tokens, strength=None):
                value = original(model, parameters, tokens, strength)
                return jnp.where(jnp.isin(step + 1, bad), jnp.nan, value)

            return loss

        def step(state, tokens):
            loss, gradients = jax.value_and_grad(loss_at(state.step), argnums=1)(
                model, state.params["trainable"], tokens
            )
            return module.apply_gradients(
                state, gradients, {"loss": loss}, optimizer, key=state.key, accept=accept, observe=observe
            )

        return jax.jit(step, donate_argnums=0)

    monkeypatch.setattr(module, "make_train_step", make)


SERIAL = {"semantic_compression": {}, "inference_scaling": {}, "safety_gates": {"patience": 2}}


FAULTS = {3, 4, 6, 7}  # 3 and 4 back the last one off, 5 is under way, 6 and 7 back off the one before


@pytest.fixture(scope="module")
def faulted(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        faulty(patch, FAULTS)
        train_language_model(config(SERIAL), folder)
    return folder


def test_faults_are_refused_told_and_back_off_the_last_one_first(faulted):
    told = events(faulted)
    assert [(step, values["event"], values.get("optimization")) for step, values in told] == [
        (3, "gate_violation", None),
        (4, "gate_violation", None),
        (4, "backed_off", "inference_scaling"),
        (6, "gate_violation", None),
        (7, "gate_violation", None),
        (7, "backed_off", "semantic_compression"),
    ]
    assert "loss nan is not in [1e-08, 10]" in told[0][1]["violations"]
    assert "2 updates in a row were refused: loss nan" in told[2][1]["reason"]
    reader = open_checkpoint(faulted, "latest")
    assert reader.restore(subtree="skipped") == 4
    assert not [leaf for leaf in reader.leaves if leaf.dtype in ("int8", "uint8")]  # moments are float32 again
    assert np.isfinite(lines(faulted)[-1]["values"]["loss"])


# Stopped as the second fault is read early, between decision and change-over, and after it.
@pytest.mark.parametrize("stop_at", [4, 8])
def test_it_resumes_to_the_same_bits_around_a_back_off(config, tmp_path, monkeypatch, faulted, stop_at):
    faulty(monkeypatch, FAULTS)
    interrupted_run(config(SERIAL), tmp_path / "parts", monkeypatch, stop_at)
    train_language_model(config(SERIAL), tmp_path / "parts", resume=True)
    assert_same_bits(faulted, tmp_path / "parts")
    assert lines(faulted) == lines(tmp_path / "parts")


def test_with_nothing_left_it_stops_with_the_reason_and_the_last_good_state(config, tmp_path, monkeypatch):
    faulty(monkeypatch, set(range(6, 13)))
    with pytest.raises(
        TrainingDivergedError, match=r"step 10: 2 updates in a row .* no optimization is left to back off"
    ):
        train_language_model(config({"semantic_compression": {}, "safety_gates": {"patience": 2}}), tmp_path / "run")
    assert open_checkpoint(tmp_path / "run", "latest").step == 8
    parameters = load_language_model(tmp_path / "run", "latest").parameters
    assert all(np.isfinite(value).all() for value in parameters.values())


def test_a_ratio_that_cannot_be_reached_is_told_and_left_off(config, tmp_path):
    optimization = {"semantic_compression": {"compression_ratio": 0.2}}
    train_language_model(config(optimization, num_steps=4), tmp_path / "run")
    told = events(tmp_path / "run")
    assert [(step, values["event"]) for step, values in told] == [(1, "compatibility"), (1, "backed_off")]
    assert "compression_ratio 0.2 cannot be reached" in told[1][1]["reason"]


def test_an_error_near_its_limit_makes_blocks_smaller_from_the_next_epoch_on(config, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestai_jax.optimization.orchestrator.NEAR_LIMIT", 0.1)
    optimization = {"semantic_compression": {"compression_ratio": 0.3}}
    train_language_model(config(optimization, num_steps=8), tmp_path / "run")
    told = [values for _, values in events(tmp_path / "run") if values["event"] == "adapted"]
    assert told[0]["semantic_compression.block_size"] == "64 -> 32"
    reader = open_checkpoint(tmp_path / "run", "latest")
    blocks = {leaf.shape[1] for leaf in reader.leaves if leaf.dtype in ("int8", "uint8")}
    assert blocks == {32}


@pytest.mark.slow
def test_a_planner_trains_with_all_of_it_and_is_read_again(files, tmp_path):
    content = toy_config(files, num_epochs=1).model_dump(mode="json")
    gates = {"patience": 2, "gradient_norm": [1e-6, 1e5]}  # the planner's loss is a sum of many
    on = parse_run_config(yaml.safe_dump({**content, "optimization": {**ALL_ON, "safety_gates": gates}}))
    train_planner(on, tmp_path / "run")
    assert not events(tmp_path / "run")
    saved = [line["values"] for line in lines(tmp_path / "run") if line["split"] == "train"]
    assert all(values["compression_error"] < 0.05 for values in saved)
    reader = open_checkpoint(tmp_path / "run", "latest")
    names = [leaf.name for leaf in reader.leaves]
    assert "params/catalog/vectors/codes" in names
    planner = Planner.from_checkpoint(tmp_path / "run")
    assert planner.vector_block == 64
    whole = planner._bound_to(planner.catalog).whole
    assert whole is not None
    descriptions = np.asarray(whole.arrays.descriptions)
    np.testing.assert_allclose(np.linalg.norm(descriptions, axis=1), 1, atol=1e-5)
    assert planner.plan("soften file 3").tasks
    assert isinstance(reader.restore()["catalog"]["vectors"], dict)
