"""Next-token training: data, schedules, exact resumption, starting from float weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import ConfigError, PretrainingConfig, load_config, parse_run_config
from orchestai_jax.language_model.saved import load_language_model
from orchestai_jax.training import TrainingError, TrainingInterrupted, workdir_status
from orchestai_jax.training.language_model import make_train_step, train_language_model
from orchestai_jax.training.pretraining_optimizer import (
    pretraining_learning_rate,
    pretraining_optimizer,
    pretraining_weight_decay,
)
from orchestai_jax.training.text_data import CropBatches, validation_batches

CONFIG = """
kind: language_model
name: tiny
data: {{train: {text}}}
model: {{hidden_size: 16, intermediate_size: 24, num_layers: 1, num_heads: 2, num_kv_heads: 1, max_positions: 16}}
training: {{batch_size: 4, sequence_length: 16, num_steps: 12, evaluate_every_steps: 4, warmup_steps: 2,
  learning_rate: 0.02, log_every_steps: 1}}
system: {{progress: none}}
"""


@pytest.fixture
def config(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return lambda *overrides: parse_run_config(CONFIG.format(text=text), overrides)


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in lines]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(config, tmp_path, monkeypatch):
    result = train_language_model(config(), tmp_path / "whole")
    assert (result.steps, result.stopped_early) == (12, False)
    lines = metrics(tmp_path / "whole")
    assert lines[-1]["values"]["loss"] < lines[0]["values"]["loss"] - 0.3
    assert set(lines[-1]["values"]) == {"loss", "perplexity", "accuracy", "top_5_accuracy", "score"}
    status = workdir_status(tmp_path / "whole")
    assert (status.state, status.num_epochs, status.best_metric) == ("finished", 3, "score")

    import orchestai_jax.training.loop as loop

    class StopsAt6(loop.StopRequest):
        @property
        def requested(self):
            self.asked = getattr(self, "asked", 0) + 1
            return self.asked > 10  # asked twice a step: in the 6th

        @requested.setter
        def requested(self, value):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopRequest", StopsAt6)
        with pytest.raises(TrainingInterrupted):
            train_language_model(config(), tmp_path / "parts")
    assert 0 < workdir_status(tmp_path / "parts").step < 12
    train_language_model(config(), tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == lines
    whole, parts = (load_language_model(tmp_path / name, "latest").parameters for name in ("whole", "parts"))
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)
    with pytest.raises(TrainingError, match="begun with another configuration: seed"):
        train_language_model(config("seed=1"), tmp_path / "parts", resume=True)


def test_the_second_step_compiles_nothing(config, tmp_path):
    loaded = config("training.quantization_warmup_steps=5")
    model = loaded.model.model_copy(update={"vocab_size": 30})
    from orchestai_jax.language_model import initial_parameters
    from orchestai_jax.training import TrainState

    optimizer = pretraining_optimizer(loaded.training)
    parameters = initial_parameters(model, 0)
    state = TrainState(
        jnp.zeros((), jnp.int32), {"trainable": parameters}, jax.jit(optimizer.init)(parameters), jax.random.key(0)
    )
    step = make_train_step(model, loaded.training, optimizer)
    for seed in range(3):
        state, measured = step(state, np.random.default_rng(seed).integers(0, 30, (4, 17)).astype(np.int32))
    assert step._cache_size() == 1
    assert int(state.step) == 3
    assert np.isfinite(float(measured["loss"]))


def test_training_goes_on_from_float_weights(config, tmp_path):
    train_language_model(config("model.quantization=[]"), tmp_path / "float")
    start = f"training.initialize_from={tmp_path / 'float'}"
    train_language_model(
        config(start, "training.quantization_warmup_steps=8", "training.learning_rate=0", "training.num_steps=4",
               "training.warmup_steps=0", "training.final_learning_rate=0"),
        tmp_path / "ternary",
    )  # fmt: skip
    before = load_language_model(tmp_path / "float")
    after = load_language_model(tmp_path / "ternary")
    np.testing.assert_array_equal(after.parameters["embedding"], before.parameters["embedding"])
    lines = metrics(tmp_path / "ternary")
    # At strength 0 the first step sees the float model; the validation sees the whole rounding.
    float_loss = metrics(tmp_path / "float")[-1]["values"]["loss"]
    assert abs(lines[0]["values"]["loss"] - float_loss) < 0.5
    assert lines[-1]["values"]["loss"] > lines[0]["values"]["loss"]
    other = tmp_path / "other.txt"
    other.write_text("ABC" * 100)
    with pytest.raises(ValueError, match=r"its tokenizer is not the one of data\.tokenizer"):
        train_language_model(config(start, f"data.train={other}"), tmp_path / "no")
    with pytest.raises(ValueError, match="of shape"):
        train_language_model(config(start, "model.hidden_size=32"), tmp_path / "no")
    for change, message in (
        ("activation=silu", "activation is relu2 there and silu in the configuration"),
        ("rope_theta=100.0", r"rope_theta is 500000\.0 there and 100\.0 in"),
        ("rms_epsilon=0.1", r"rms_epsilon is 1e-05 there and 0\.1 in"),
        ("num_heads=4", "num_heads is 2 there and 4 in"),
        ("num_kv_heads=2", "num_kv_heads is 1 there and 2 in"),
    ):
        with pytest.raises(ValueError, match=rf"initialize_from .*: model\.{message}"):
            train_language_model(config(start, f"model.{change}"), tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kind=planer"], "kind: got 'planer'; language_model, encoder_distillation, or no kind"),
        (["training.num_step=3"], "unknown key \\(did you mean num_steps\\?\\)"),
        (["training.num_steps=13"], "num_steps 13 is not a multiple of evaluate_every_steps 4"),
        (["training.warmup_steps=12"], "warmup_steps 12 leaves nothing of num_steps 12"),
        (["training.sequence_length=17"], "sequence_length 17 is over model.max_positions 16"),
    ],
)
def test_configurations_that_are_refused(config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        config(*overrides)


def test_data_that_is_refused(config, tmp_path):
    (tmp_path / "short.txt").write_text("short text")
    (tmp_path / "empty.txt").write_text("")
    for override, message in (
        (f"data.train={tmp_path / 'short.txt'}", "over 16 tokens"),
        (f"data.train={tmp_path / 'empty.txt'}", "empty"),
        (f"data.train={tmp_path / 'none.txt'}", "cannot be read"),
        ("model.vocab_size=5", "vocab_size 5 is below the tokenizer's"),
        ("data.tokenizer=none.json", "none.json: cannot be read"),
        ("model.quantization=[{pattern: x}]", "matches no parameter"),
    ):
        with pytest.raises(ValueError, match=message):
            train_language_model(config(override), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_planner_is_wanted_elsewhere(config, tmp_path):
    path = tmp_path / "lm.yaml"
    path.write_text(CONFIG.format(text="x"))
    with pytest.raises(ConfigError, match="kind: language_model is for `orchestai train`"):
        load_config(path)


def test_crops_follow_the_text_and_the_seed():
    tokens = np.arange(100)
    make = lambda **changes: CropBatches(  # noqa: E731
        tokens, **{"batch_size": 3, "length": 8, "seed": 1, "steps_per_epoch": 5, **changes}
    )
    batches = make()
    first, second = next(batches), next(batches)
    assert first.shape == (3, 9)
    assert (np.diff(first, axis=1) == 1).all()
    assert not np.array_equal(first, second)
    again = make()
    again.set_state({**batches.get_state(), "step": 1})
    np.testing.assert_array_equal(next(again), second)
    assert not np.array_equal(next(make(seed=2)), first)
    with pytest.raises(ValueError, match="taken with other data or settings"):
        make(length=9).set_state(batches.get_state())


def test_validation_predicts_every_token_once():
    batches = validation_batches(np.arange(23), batch_size=3, length=4, most=None)
    rows = [row for batch, count in batches for row in batch[:count]]
    assert [row[0] for row in rows] == [0, 4, 8, 12, 16]
    assert all(batch.shape == (3, 5) for batch, _ in batches)
    spread = validation_batches(np.arange(1001), batch_size=2, length=10, most=2)
    assert [row[0] for batch, _ in spread for row in batch] == [0, 330, 660, 990]
    with pytest.raises(ValueError, match="validation text must have over 4"):
        validation_batches(np.arange(4), batch_size=3, length=4, most=None)


def test_schedules_in_one_and_two_phases():
    base = PretrainingConfig(num_steps=101, evaluate_every_steps=101, warmup_steps=10, learning_rate=1.0)
    for schedule, share in {
        "cosine": lambda x: (1 + np.cos(np.pi * x)) / 2,
        "linear": lambda x: 1 - x,
        "stable_decay": lambda x: min(1, (1 - x) / 0.2),
        "constant": lambda x: 1,
    }.items():
        rate = pretraining_learning_rate(base.model_copy(update={"schedule": schedule}))
        for step in (0, 5, 9, 10):  # a first step that counts, the peak at the joint and not before it
            np.testing.assert_allclose(rate(step), (step + 1) / 11, rtol=1e-6)
        for step in (11, 55, 82, 83, 99, 100):
            np.testing.assert_allclose(rate(step), 1e-4 + (1 - 1e-4) * share((step - 10) / 90), rtol=2e-3)
        assert rate(10) == 1
        assert rate(100) == rate(500) == np.float32(1 if schedule == "constant" else 1e-4)
    assert float(pretraining_weight_decay(base)(99)) == np.float32(0.1)
    two = base.model_copy(
        update={"schedule": "two_phase", "second_phase_learning_rate": 0.3, "final_learning_rate": 0.0}
    )
    rate, decay = pretraining_learning_rate(two), pretraining_weight_decay(two)
    assert [round(float(rate(step)), 4) for step in (10, 46, 49, 50, 75, 100)] == [1.0, 0.6, 0.5667, 0.3, 0.15, 0.0]
    assert [round(float(decay(step)), 4) for step in (0, 49, 50)] == [0.1, 0.1, 0.0]
    traced = jax.jit(lambda step: (rate(step), decay(step)))(jnp.int32(50))
    assert [round(float(value), 4) for value in traced] == [0.3, 0.0]
    halved = pretraining_learning_rate(base.model_copy(update={"accumulate_steps": 2}))
    assert [float(halved(update)) for update in (5, 49)] == [1, np.float32(1e-4)]  # 50 updates, 5 of warm-up


@pytest.mark.parametrize("field", ["weight_decay", "beta2", "gradient_clip", "learning_rate"])
def test_fields_of_the_optimizer_act(field):
    base = PretrainingConfig(num_steps=10, evaluate_every_steps=10, warmup_steps=0)
    values = {"weight_decay": 0.5, "beta2": 0.5, "gradient_clip": 0.01, "learning_rate": 0.5}
    parameters = {"layers.attention.qkv.weight": jnp.ones((2, 2)), "norm.weight": jnp.ones(2)}

    def updated(config):
        optimizer = pretraining_optimizer(config)
        state, params = optimizer.init(parameters), parameters
        for size in (0.01, 0.3):
            gradients = jax.tree.map(lambda x, size=size: jnp.full_like(x, size), params)
            updates, state = optimizer.update(gradients, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        return params

    before, after = updated(base), updated(base.model_copy(update={field: values[field]}))
    assert not np.allclose(before["layers.attention.qkv.weight"], after["layers.attention.qkv.weight"], rtol=1e-6)
    if field == "weight_decay":
        np.testing.assert_array_equal(before["norm.weight"], after["norm.weight"])
