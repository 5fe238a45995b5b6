"""Hooks: when they are called, what they may change, what of them is kept; updates refused inside the step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_run import CONFIG, make_batches, make_state, make_train_step, run

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import Phase1Config
from orchestai_jax.training import (
    QuietHook,
    SilentMonitor,
    TrainingDivergedError,
    TrainingError,
    apply_gradients,
    build_optimizer,
    read_metrics,
    update,
    wrap_optimizer,
)
from orchestai_jax.training.update import average

SHORT = CONFIG.model_copy(update={"num_epochs": 2})  # 8 steps


class Noting(QuietHook):
    def __init__(self, name="noting", calls=None):
        self._name, self.calls = name, [] if calls is None else calls

    @property
    def name(self):
        return self._name

    def on_start(self, run):
        self.calls.append((self.name, "start", run.step, run.total_steps, run.steps_per_epoch))

    def on_step(self, run, step, values):
        self.calls.append((self.name, "step", step, run.step, set(values)))

    def on_epoch(self, run, epoch, metrics):
        self.calls.append((self.name, "epoch", epoch, run.step, set(metrics)))

    def on_end(self, run, result):
        self.calls.append((self.name, "end", result.steps, run.step))

    def state(self):
        self.calls.append((self.name, "state"))
        return {"steps": sum(call[:2] == (self.name, "step") for call in self.calls)}

    def restore(self, run, state):
        self.calls.append((self.name, "restore", state, run.step))


class Killed(BaseException):
    pass


def killed_at(number):
    def before_step(step):
        if step == number:
            raise Killed

    return before_step


def test_the_order_of_calls(tmp_path):
    calls = []
    hooks = [Noting("first", calls), Noting("second", calls)]
    run(tmp_path, config=SHORT.model_copy(update={"num_epochs": 1, "save_every_steps": None}), hooks=hooks)
    measured = {"loss", "gradient_norm"}
    expected = [
        *((name, "start", 0, 4, 4) for name in ("first", "second")),
        # A step's measurements are read while the next one runs; the last one's before the validation.
        *((name, "step", step, min(step + 1, 4), measured) for step in range(1, 5) for name in ("first", "second")),
        *((name, "epoch", 1, 4, {"score"}) for name in ("first", "second")),
        *((name, "state") for name in ("first", "second")),
        *((name, "end", 4, 4) for name in ("first", "second")),
    ]
    assert calls == expected


def test_their_data_is_saved_and_comes_back(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, config=SHORT, hooks=[Noting()], before_step=killed_at(8))
    again = Noting()
    run(tmp_path, config=SHORT, hooks=[Noting("new"), again], resume=True)
    assert again.calls[:2] == [("noting", "restore", {"steps": 6}, 6), ("noting", "start", 6, 8, 4)]
    with pytest.raises(TrainingError, match="two are named alike"):
        run(tmp_path, config=SHORT, hooks=[Noting(), Noting()], resume=True)


def test_a_hook_writes_events_and_swaps_the_step(tmp_path):
    class Freezes(QuietHook):
        def on_step(self, run, step, values):
            if step == 3:
                before = run.train_step

                def frozen(state, batch):
                    kept = jax.tree.map(jnp.copy, state.params)
                    after, measured = before(state, batch)
                    return after.replace(params=kept), measured

                run.replace(train_step=frozen)
                run.event(step, "frozen", loss=values["loss"], why="test")

    run(tmp_path, config=SHORT.model_copy(update={"save_every_steps": 1, "keep_checkpoints": 9}), hooks=[Freezes()])
    events = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "event"]
    assert [(e["step"], e["values"]["event"], e["values"]["why"]) for e in events] == [(3, "frozen", "test")]
    kernels = [
        np.asarray(open_checkpoint(tmp_path, step).restore()["trainable"]["head"]["kernel"]) for step in range(2, 6)
    ]
    assert not np.array_equal(kernels[0], kernels[1])
    np.testing.assert_array_equal(kernels[1], kernels[2])
    np.testing.assert_array_equal(kernels[2], kernels[3])


def test_restore_can_give_the_state_the_structure_that_it_was_saved_with(tmp_path):
    """As an optimization does that was backed off before the run was stopped."""

    class Average(QuietHook):
        def __init__(self):
            self.on = False

        def on_step(self, run, step, values):
            if step == 2:
                self.on = True
                run.replace(state=self.with_average(run.state))

        def with_average(self, state):
            return state.replace(ema=jax.tree.map(jnp.copy, state.params["trainable"]))

        def state(self):
            return {"on": self.on}

        def restore(self, run, state):
            self.on = state["on"]
            if self.on:
                run.replace(state=self.with_average(run.state))

    arguments = {"config": SHORT.model_copy(update={"ema_decay": 0.5}), "starts_with_average": False}
    run(tmp_path / "whole", hooks=[Average()], **arguments)
    with pytest.raises(Killed):
        run(tmp_path / "parts", hooks=[Average()], before_step=killed_at(5), **arguments)
    run(tmp_path / "parts", hooks=[Average()], resume=True, **arguments)
    whole, parts = (open_checkpoint(tmp_path / n, "latest").restore(subtree="ema") for n in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def steps_of(optimizer, count=6, **options):
    """States and measurements of single steps of the toy run."""
    batches, _, _ = make_batches()
    ema = options.pop("ema", False)
    step, state = make_train_step(optimizer, **options), make_state(optimizer, ema)
    for _ in range(count):
        before = jax.tree.map(np.asarray, (state.params, jax.tree.leaves(state.opt_state), state.ema))
        state, measured = step(state, next(batches))
        yield before, state, {name: float(value) for name, value in measured.items()}
    assert step._cache_size() == 1


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@pytest.mark.parametrize("how", ["accept", "accept by a select", "not finite"])
def test_a_refused_update_leaves_everything_as_it_was(how, monkeypatch):
    if how == "accept by a select":  # as where the program runs on a GPU, or moments are encoded
        monkeypatch.setattr(update, "_is_conditional", lambda state: False)
    config = SHORT.model_copy(update={"skip_nonfinite_updates": 5 if how == "not finite" else 0})
    refused = lambda step: (step == 2) | (step == 5)  # noqa: E731
    accepts = lambda measured: ~jnp.isnan(measured["loss"])  # noqa: E731
    accept = None if how == "not finite" else accepts
    seen = []
    optimizer = build_optimizer(config, 8)
    for number, (before, state, measured) in enumerate(
        steps_of(optimizer, bad=refused, accept=accept, ema=True, ema_decay=0.9), start=1
    ):
        after = (state.params, jax.tree.leaves(state.opt_state), state.ema)
        counters = 3 if how == "not finite" else 0  # apply_if_finite counts, the rest is as it was
        unchanged = same((before[0], before[1][counters:], before[2]), (after[0], after[1][counters:], after[2]))
        assert unchanged == (number in (2, 5))
        assert same(before[0], after[0]) == (number in (2, 5))  # the parameters by themselves
        assert int(state.step) == number
        seen.append(measured["skipped_updates"])
    assert seen == [0, 1, 1, 1, 2, 2]


def test_gates_that_accept_everything_change_nothing_but_the_rounding():
    optimizer = build_optimizer(SHORT, 8)
    plain = [(state.params, measured["loss"]) for _, state, measured in steps_of(optimizer)]
    gated = [
        (state.params, measured["loss"])
        for _, state, measured in steps_of(optimizer, accept=lambda measured: measured["loss"] >= 0)
    ]
    for one, other in zip(plain, gated, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), one, other)


def test_skipped_updates_are_counted_logged_and_limited(tmp_path):
    config = SHORT.model_copy(update={"skip_nonfinite_updates": 2, "log_every_steps": 1})
    notes = []

    class Listens(SilentMonitor):
        def note(self, text):
            notes.append(text)

    run(tmp_path / "one", config=config, bad=lambda step: (step == 2) | (step == 5), monitor=Listens())
    assert "step 5: loss is nan, gradient_norm is nan; the update is skipped, 2 so far" in notes
    train = [line for line in read_metrics(tmp_path / "one" / "metrics.jsonl") if line["split"] == "train"]
    assert [line["values"]["skipped_updates"] for line in train] == [0, 1, 1, 1, 2, 2, 2, 2]
    assert "loss" not in train[1]["values"]
    # The rate that is logged is the one that the optimizer used: a skipped update does not move the schedule on.
    rates = [line["learning_rate"] for line in train]
    assert rates[1] == rates[2]
    assert rates[2] != rates[3]
    with pytest.raises(
        TrainingDivergedError, match=r"step 4: loss is nan.*2 steps in a row .skip_nonfinite_updates is 2"
    ):
        run(tmp_path / "two", config=config, bad=lambda step: step >= 3)


def test_a_refusal_before_a_kill_is_remembered(tmp_path):
    config = SHORT.model_copy(update={"skip_nonfinite_updates": 3, "log_every_steps": 1})
    bad = lambda step: step == 2  # noqa: E731
    run(tmp_path / "whole", config=config, bad=bad)
    with pytest.raises(Killed):
        run(tmp_path / "parts", config=config, bad=bad, before_step=killed_at(5))
    run(tmp_path / "parts", config=config, bad=bad, resume=True)
    whole, parts = (
        [{k: v for k, v in line.items() if k != "wall_s"} for line in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "parts")
    )
    assert whole == parts


def test_accumulated_gradients_make_the_step_of_the_whole_batch():
    """k steps of b samples move the parameters as one step of k·b does."""
    rng = np.random.default_rng(0)
    gradients = [jnp.asarray(rng.normal(size=5), jnp.float32) for _ in range(6)]
    params = jnp.ones(5)
    options = Phase1Config(accumulate_steps=3)
    accumulated = wrap_optimizer(optax.adam(0.1), options)
    state, moved = accumulated.init(params), params
    for number, gradient in enumerate(gradients, start=1):
        updates, state = accumulated.update(gradient, state, moved)
        assert bool(jnp.any(updates != 0)) == (number % 3 == 0)
        moved = optax.apply_updates(moved, updates)
    plain, expected = optax.adam(0.1), params
    state = plain.init(params)
    for part in (gradients[:3], gradients[3:]):
        updates, state = plain.update(jnp.mean(jnp.stack(part), axis=0), state, expected)
        expected = optax.apply_updates(expected, updates)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)
    assert wrap_optimizer(plain, Phase1Config()) is plain


def test_logged_rates_are_those_of_the_updates(tmp_path):
    """The log against the count that the optimizer itself keeps."""
    config = SHORT.model_copy(update={"accumulate_steps": 2, "skip_nonfinite_updates": 2, "log_every_steps": 1})
    bad = lambda step: step == 3  # noqa: E731
    run(tmp_path, config=config, bad=bad)
    logged = [line["learning_rate"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "train"]
    from orchestai_jax.training import learning_rates

    rate = learning_rates(config, 8)["planner"]
    optimizer = build_optimizer(config, 8)
    used, count = [], 0
    for _, state, _ in steps_of(optimizer, count=8, bad=bad):
        used.append(float(rate(count)))
        count = int(state.opt_state.inner_state.gradient_step)
    assert logged == used
    assert count == 3  # seven good steps of eight: three pairs


def test_the_average_follows_its_formula():
    optimizer, decay = build_optimizer(SHORT, 8), 0.3
    expected = None
    for number, (before, state, _) in enumerate(steps_of(optimizer, ema=True, ema_decay=decay)):
        ramped = min(decay, (1 + number) / (10 + number))
        expected = np.asarray(before[2]["head"]["kernel"], np.float64) if expected is None else expected
        now = np.asarray(state.params["trainable"]["head"]["kernel"], np.float64)
        expected = ramped * expected + (1 - ramped) * now
        np.testing.assert_allclose(state.ema["head"]["kernel"], expected, rtol=1e-6)
    waiting = optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation().init(jnp.ones(2))
    waiting = waiting._replace(mini_step=jnp.int32(1))
    np.testing.assert_array_equal(average(jnp.ones(2), jnp.zeros(2), waiting, 0.5, jnp.int32(3)), jnp.ones(2))
    state = make_state(optimizer, True)
    with pytest.raises(ValueError, match="ema_decay is None"):
        apply_gradients(state, state.params["trainable"], {}, optimizer, key=state.key)


def test_the_average_is_validated_saved_and_released(tmp_path):
    seen = []

    def evaluate(state):
        seen.append(np.asarray(state.params["trainable"]["head"]["kernel"]))
        return {"score": float(len(seen))}

    run(tmp_path, config=SHORT.model_copy(update={"ema_decay": 0.9}), evaluate=evaluate)
    reader = open_checkpoint(tmp_path)
    assert reader.step == 8
    np.testing.assert_array_equal(reader.restore(subtree="ema")["head"]["kernel"], seen[-1])
    np.testing.assert_array_equal(reader.released_parameters()["trainable"]["head"]["kernel"], seen[-1])
    assert not np.array_equal(reader.restore()["trainable"]["head"]["kernel"], seen[-1])


def test_validation_between_epochs_and_a_metric_to_be_low(tmp_path):
    config = SHORT.model_copy(update={"evaluate_every_steps": 3, "best_metric": "error", "best_mode": "min"})
    errors = iter([0.5, 0.2, 0.4, 0.3])
    hook = Noting()
    result = run(tmp_path, config=config, evaluate=lambda state: {"error": next(errors)}, hooks=[hook])
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "validation"]
    assert [line["step"] for line in lines] == [3, 4, 6, 8]
    assert (result.best_step, result.best_metrics) == (4, {"error": 0.2})
    assert open_checkpoint(tmp_path).step == 4
    assert [call[2] for call in hook.calls if call[1] == "epoch"] == [1, 2]
