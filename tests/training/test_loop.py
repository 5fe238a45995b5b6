import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.checkpoint import CheckpointError, complete_steps, open_checkpoint
from orchestai_jax.data import DataError
from orchestai_jax.training import (
    SilentMonitor,
    TrainingDivergedError,
    TrainingError,
    TrainingInterrupted,
    read_metrics,
)

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_run
from toy_run import CONFIG, run


class Killed(BaseException):
    pass


class Noting(SilentMonitor):
    def __init__(self):
        self.calls = []

    def step(self, step, values, learning_rate):
        self.calls.append(("step", step))

    def validation(self, epoch, metrics, is_best):
        self.calls.append(("validation", epoch, is_best))

    def note(self, text):
        self.calls.append(("note", text))

    @property
    def notes(self):
        return " | ".join(call[1] for call in self.calls if call[0] == "note")


def at(number, action):
    def before_step(step):
        if step == number:
            action()

    return before_step


def die():
    raise Killed


def final_bytes(workdir):
    """The latest step and its whole state as bytes: 0.0 and -0.0, which compare equal, are told apart."""

    def bytes_of(leaf):
        array = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        return np.frombuffer(np.asarray(array).tobytes(), np.uint8)

    reader = open_checkpoint(workdir, "latest")
    return reader.step, jax.tree.map(bytes_of, reader.restore(subtree=None))


def lines(workdir):
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in read_metrics(workdir / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def assert_same(workdir, result, whole):
    folder, expected = whole
    assert result == expected
    chex.assert_trees_all_equal(final_bytes(workdir), final_bytes(folder))
    assert lines(workdir) == lines(folder)


def test_killed_processes_go_on_bit_for_bit(tmp_path, whole):
    program = [sys.executable, toy_run.__file__, str(tmp_path)]

    def killed_by(*arguments, wait=True):
        process = subprocess.Popen([*program, *arguments], env=dict(os.environ))
        if wait:
            assert process.wait(timeout=240) == -signal.SIGKILL
        return process

    killed_by(f"kill=step:{random.Random(0).randint(4, 8)}")
    # Killed when everything of a checkpoint is written but its name.
    killed_by("resume", "kill=seal:9")
    assert list((tmp_path / "checkpoints").glob("*orbax-checkpoint-tmp"))
    before = complete_steps(tmp_path / "checkpoints")
    assert before
    assert max(before) < 9
    # Killed from outside, wherever it is, once it has gone on.
    process = killed_by("resume", wait=False)
    deadline = time.monotonic() + 240
    while max(complete_steps(tmp_path / "checkpoints")) < 9 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert_same(tmp_path, run(tmp_path, resume=True), whole)


@pytest.mark.parametrize("number", [1, 4, 12])
def test_stopped_before_any_step_it_goes_on_bit_for_bit(tmp_path, whole, number):
    # The checkpoints before 4 and 12 lie inside a window of averaged measurements, and 12 comes after a line that the
    # checkpoint does not know. There is no checkpoint before 1.
    with pytest.raises(Killed):
        run(tmp_path, before_step=at(number, die))
    monitor = Noting()
    result = run(tmp_path, resume=True, monitor=monitor)
    assert ("no checkpoint to resume from" in monitor.notes) == (number == 1)
    assert_same(tmp_path, result, whole)


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_saves_the_step_it_came_in(tmp_path, whole, number, word):
    monitor = Noting()
    handler = signal.getsignal(number)
    with pytest.raises(TrainingInterrupted) as caught:
        run(tmp_path, before_step=at(7, lambda: os.kill(os.getpid(), number)), monitor=monitor)
    assert signal.getsignal(number) is handler
    assert caught.value.step == 7
    assert open_checkpoint(tmp_path, "latest").step == 7
    assert f"{word}: saved step 7; go on with --resume" in monitor.notes
    assert_same(tmp_path, run(tmp_path, resume=True), whole)


def test_second_interrupt_does_not_wait(tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        run(tmp_path, before_step=at(2, twice))
    assert not isinstance(caught.value, TrainingInterrupted)


def test_a_finished_run_is_resumed_without_a_step(whole, tmp_path):
    folder, expected = whole
    assert run(folder, resume=True, before_step=lambda step: die()) == expected


def test_what_is_saved(whole):
    folder, result = whole
    reader = open_checkpoint(folder)
    assert reader.step == result.best_step
    assert reader.metrics == result.best_metrics
    assert reader.metadata == {"toy": True}
    assert reader.assets == {"notes.txt": "toy"}
    assert result.steps == 12
    assert not result.stopped_early


def test_lines_of_metrics(whole):
    folder, _ = whole
    every = lines(folder)
    train = [line for line in every if line["split"] == "train"]
    assert [line["step"] for line in train] == [2, 4, 6, 8, 10, 12]
    assert [line["epoch"] for line in train] == [1, 1, 2, 2, 3, 3]
    assert [line["step"] for line in every if line["split"] == "validation"] == [4, 8, 12]
    scores = [line["values"]["score"] for line in every if line["split"] == "validation"]
    assert scores[-1] > scores[0]  # it does learn
    assert set(train[0]["values"]) == {"loss", "gradient_norm"}
    walls = [json.loads(text)["wall_s"] for text in (folder / "metrics.jsonl").read_text().splitlines()]
    assert walls == sorted(walls)


def test_a_line_is_the_mean_since_the_line_before(tmp_path):
    run(tmp_path / "each", config=CONFIG.model_copy(update={"log_every_steps": 1, "num_epochs": 1}))
    run(tmp_path / "three", config=CONFIG.model_copy(update={"log_every_steps": 3, "num_epochs": 1}))
    each = [line["values"]["loss"] for line in lines(tmp_path / "each") if line["split"] == "train"]
    three = [(line["step"], line["values"]["loss"]) for line in lines(tmp_path / "three") if line["split"] == "train"]
    assert [step for step, _ in three] == [3, 4]
    expected = [np.mean(each[:3]), each[3]]
    np.testing.assert_allclose([loss for _, loss in three], expected, rtol=1e-12)


def test_measurements_are_read_one_step_late(tmp_path):
    seen = []
    monitor = Noting()
    config = CONFIG.model_copy(update={"save_every_steps": None, "num_epochs": 1})
    run(tmp_path, config=config, monitor=monitor, before_step=lambda step: seen.append((step, len(monitor.calls))))
    # Before step 1 and 2 nothing is read, before step 3 step 1 is, …
    assert seen == [(step, max(0, step - 2)) for step in range(1, 5)]
    assert monitor.calls[-2:] == [("step", 4), ("validation", 1, True)]


def test_not_finite_is_named_and_never_saved(tmp_path):
    with pytest.raises(TrainingDivergedError) as caught:
        run(tmp_path, bad=lambda step: step >= 5)
    message = str(caught.value)
    assert message.startswith("step 5: loss is nan, gradient_norm is nan; the last good checkpoint is step 4")
    assert complete_steps(tmp_path / "checkpoints") == [3, 4]
    assert all(
        np.isfinite(np.asarray(x)).all() for x in open_checkpoint(tmp_path).restore()["trainable"]["head"].values()
    )
    with pytest.raises(TrainingDivergedError, match=r"step 1: loss is nan, .*; no checkpoint was saved before"):
        run(tmp_path / "other", bad=lambda step: step >= 1)


def scripted(*scores):
    left = list(scores)
    return lambda state: {"score": left.pop(0), "other": 0.0}


def test_early_stop(tmp_path):
    config = CONFIG.model_copy(update={"early_stop_patience": 2, "num_epochs": 6, "save_every_steps": None})
    result = run(tmp_path, config=config, evaluate=scripted(0.1, 0.5, 0.5, 0.4))
    assert (result.best_step, result.steps, result.stopped_early) == (8, 16, True)
    assert result.best_metrics == {"score": 0.5, "other": 0.0}
    assert open_checkpoint(tmp_path).step == 8
    assert run(tmp_path, config=config, resume=True, evaluate=scripted()) == result
    patient = config.model_copy(update={"early_stop_patience": 3})
    longer = run(tmp_path / "patient", config=patient, evaluate=scripted(0.1, 0.5, 0.5, 0.4, 0.6, 0.5))
    assert (longer.best_step, longer.steps, longer.stopped_early) == (20, 24, False)


def test_patience_is_kept_across_a_resumption(tmp_path):
    config = CONFIG.model_copy(update={"early_stop_patience": 2, "num_epochs": 6})
    with pytest.raises(Killed):
        run(tmp_path, config=config, evaluate=scripted(0.5, 0.4), before_step=at(10, die))
    result = run(tmp_path, config=config, resume=True, evaluate=scripted(0.3))
    assert (result.best_step, result.steps, result.stopped_early) == (4, 12, True)


def test_settings_of_saving_count(tmp_path):
    config = CONFIG.model_copy(update={"keep_checkpoints": 3, "save_every_steps": 1, "num_epochs": 2})
    run(tmp_path, config=config, evaluate=scripted(0.9, 0.1))
    assert complete_steps(tmp_path / "checkpoints") == [4, 6, 7, 8]


def test_what_cannot_go_on(tmp_path):
    with pytest.raises(TrainingError, match="best_metric 'score' is not among the validation metrics: f1"):
        run(tmp_path / "a", evaluate=lambda state: {"f1": 1.0})
    with pytest.raises(TrainingDivergedError, match=r"step 4: validation score is nan; .* is step 3"):
        run(tmp_path / "b", evaluate=scripted(float("nan")))
    with pytest.raises(TrainingError, match="holds checkpoints already; resume"):
        run(tmp_path / "b")
    with pytest.raises(TrainingError, match="planned for 12 steps, now for 15"):
        run(tmp_path / "b", resume=True, samples=20)
    with pytest.raises(DataError, match="samples"):
        run(tmp_path / "b", resume=True, samples=13)


def test_a_damaged_newest_checkpoint_is_named_or_passed_over(tmp_path, whole):
    with pytest.raises(Killed):
        run(tmp_path, before_step=at(11, die))
    checkpoints = tmp_path / "checkpoints"
    assert complete_steps(checkpoints) == [8, 9]
    damaged = next((checkpoints / "9" / "state").rglob("manifest.ocdbt"))
    damaged.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"9.*manifest\.ocdbt: 0 bytes.*--resume=latest-good"):
        run(tmp_path, resume=True)
    monitor = Noting()
    result = run(tmp_path, resume="latest-good", monitor=monitor)
    assert re.search(r"passed over: \S+/9/\S+ 0 bytes.* \| resuming after step 8", monitor.notes)
    assert (tmp_path / "damaged" / "9").is_dir()
    assert_same(tmp_path, result, whole)


def test_no_whole_checkpoint(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, before_step=at(7, die))
    for step in complete_steps(tmp_path / "checkpoints"):
        (tmp_path / "checkpoints" / str(step) / "manifest.json").unlink()
    for resume in (True, "latest-good"):  # not taken for a run without checkpoints, which would begin anew
        with pytest.raises(CheckpointError, match=r"no checkpoint of orchestai .it has no manifest"):
            run(tmp_path, resume=resume)


@pytest.mark.parametrize("metrics", [False, True])
def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(tmp_path, metrics):
    """Files beyond a size cannot be written in the other process, as on a disk that is full."""
    program = [sys.executable, toy_run.__file__, str(tmp_path)]
    limit = "metrics" if metrics else "checkpoint"
    ended = subprocess.run([*program, f"full={limit}:5"], env=dict(os.environ), capture_output=True, text=True)
    assert ended.returncode == 1
    assert re.search(
        r"CheckpointError: .*cannot be saved|CheckpointError: .*could not be saved|OSError: ", ended.stderr
    )
    assert "File too large" in ended.stderr
    reader = open_checkpoint(tmp_path, "latest")
    assert reader.step in (3, 4)
    assert np.isfinite(np.asarray(reader.restore()["trainable"]["head"]["kernel"])).all()
