import json
import pathlib
import sys
import types

import pytest
from typer.testing import CliRunner

import orchestai_jax.cli
from orchestai_jax.training import LoopResult, TrainingDivergedError, TrainingError, TrainingInterrupted


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Stands in for the training itself: notes how it is called, and does what it is told to."""
    calls = types.SimpleNamespace(seen=[], raises=None)

    def train_planner(config, workdir, resume):
        calls.seen.append((config, workdir, resume))
        if calls.raises is not None:
            raise calls.raises
        return LoopResult(best_step=8, best_metrics={"score": 0.75}, steps=16, stopped_early=True)

    for name, function in (("supervised", "train_planner"), ("language_model", "train_language_model")):
        module = types.ModuleType(f"orchestai_jax.training.{name}")
        setattr(module, function, train_planner)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("orchestai_jax.config.set_up_logging", lambda level: calls.seen.append(level))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("name: small\ndata: {train: a.jsonl}\nsystem: {log_level: error}\n")
    return calls


def cli(*arguments):
    return CliRunner().invoke(orchestai_jax.cli.build_app(), list(arguments))


def test_arguments_arrive(calls):
    result = cli("train", "run.yaml", "seed=3", "--workdir", "w", "planner.decomposer.max_tasks=4", "--resume")
    assert result.exit_code == 0, result.output
    config, workdir, resume = calls.seen[-1]
    assert (config.seed, config.planner.decomposer.max_tasks) == (3, 4)
    assert (workdir, resume) == (pathlib.Path("w"), "latest")
    assert calls.seen[-2] == "error"
    assert result.output.strip() == "w: 16 steps (stopped early), best at step 8: score 0.7500"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--resume=latest-good"], "latest-good"),
        (["--resume=latest"], "latest"),
        (["--resume", "seed=3"], "latest"),
        ([], False),
    ],
)
def test_what_to_resume_from(calls, arguments, expected):
    assert cli("train", "run.yaml", *arguments).exit_code == 0
    assert calls.seen[-1][2] == expected


def test_resuming_from_something_else_is_wrong(calls):
    result = cli("train", "run.yaml", "--resume=oldest")
    assert result.exit_code == 2
    assert "latest-good" in result.output


@pytest.mark.parametrize("name", ["runs/a", "odd ${name}: it's"])
def test_where_to_start_from_and_for_how_long(calls, name):
    given = "training.phase1_supervised.initialize_from=x", "training.phase1_supervised.num_epochs=9"
    assert cli("train", "run.yaml", "--from", name, "--epochs", "2", *given).exit_code == 0
    phase = calls.seen[-1][0].training.phase1_supervised
    assert (phase.initialize_from, phase.num_epochs) == (name, 2)
    assert cli("train", "run.yaml", "--epochs", "0").exit_code == 2


def test_an_epoch_of_a_language_model_is_from_one_validation_to_the_next(calls):
    pathlib.Path("lm.yaml").write_text(
        "kind: language_model\nname: lm\ndata: {train: a.txt}\ntraining: {evaluate_every_steps: 50}\n"
    )
    assert cli("train", "lm.yaml", "--from", "runs/a", "--epochs", "3").exit_code == 0
    training = calls.seen[-1][0].training
    assert (training.initialize_from, training.num_steps) == ("runs/a", 150)


def test_defaults_and_json(calls):
    result = cli("train", "run.yaml", "--json")
    config, workdir, resume = calls.seen[-1]
    assert (config.name, workdir, resume) == ("small", pathlib.Path("runs/small"), False)
    assert json.loads(result.output) == {
        "workdir": "runs/small",
        "best_step": 8,
        "best_metrics": {"score": 0.75},
        "steps": 16,
        "stopped_early": True,
    }


@pytest.mark.parametrize(
    ("raises", "code"),
    [(TrainingInterrupted(7), 130), (TrainingError("not empty"), 2), (TrainingDivergedError("step 3: loss is nan"), 1)],
)
def test_exit_codes(calls, raises, code):
    calls.raises = raises
    assert cli("train", "run.yaml").exit_code == code


def test_a_wrong_configuration_starts_nothing(calls):
    result = cli("train", "run.yaml", "sed=3")
    assert result.exit_code == 2
    assert "did you mean seed?" in result.output
    assert not [call for call in calls.seen if isinstance(call, tuple)]
