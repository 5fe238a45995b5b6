import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from orchestai_jax.checkpoint import CheckpointStore
from orchestai_jax.cli import workdir as workdir_verbs
from orchestai_jax.config import parse_config
from orchestai_jax.training import MetricsLog, TrainingError, plot_curves, prepare_workdir, workdir_status
from orchestai_jax.training.workdir import locked_workdir

CONFIG = parse_config("name: toy\ndata: {train: x.jsonl}\n")


def with_(**overrides):
    return parse_config("name: toy\ndata: {train: x.jsonl}\n", [f"{k}={v}" for k, v in overrides.items()])


def test_config_is_written_and_compared(tmp_path):
    folder = tmp_path / "deep" / "run"
    prepare_workdir(folder, CONFIG, resume=False)
    assert parse_config((folder / "config.yaml").read_text()) == CONFIG
    prepare_workdir(folder, CONFIG, resume=True)
    prepare_workdir(folder, with_(**{"system.progress": "none"}), resume=True)
    with pytest.raises(TrainingError) as caught:
        prepare_workdir(folder, with_(seed=3, **{"training.phase1_supervised.schedule": "constant"}), resume=True)
    message = str(caught.value)
    assert "seed (0 then, 3 now)" in message
    assert 'training.phase1_supervised.schedule ("warmup_linear" then, "constant" now)' in message
    assert "learning_rate" not in message


def test_folders_that_cannot_be_used(tmp_path):
    prepare_workdir(tmp_path / "run", CONFIG, resume=False)
    with pytest.raises(TrainingError, match=r"a run is in it.*--resume"):
        prepare_workdir(tmp_path / "run", CONFIG, resume=False)
    (tmp_path / "other").mkdir()
    prepare_workdir(tmp_path / "other", CONFIG, resume=False)
    with pytest.raises(TrainingError, match=r"not empty .it holds other, run.; give another --workdir"):
        prepare_workdir(tmp_path, CONFIG, resume=False)
    with pytest.raises(TrainingError, match=r"no run to resume .it has no config\.yaml."):
        prepare_workdir(tmp_path, CONFIG, resume=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match="a file"):
        prepare_workdir(tmp_path / "file", CONFIG, resume=False)
    with pytest.raises(TrainingError, match="cannot be used"):
        prepare_workdir(tmp_path / "file" / "run", CONFIG, resume=False)
    (tmp_path / "run" / "config.yaml").write_text("name: [")
    with pytest.raises(TrainingError, match=r"cannot be resumed: .*not valid YAML"):
        prepare_workdir(tmp_path / "run", CONFIG, resume=True)


def test_resuming_a_folder_that_is_not_there_begins_the_run(tmp_path):
    prepare_workdir(tmp_path / "run", CONFIG, resume=True)
    assert (tmp_path / "run" / "config.yaml").exists()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    prepare_workdir(folder, CONFIG, resume=False)
    log = MetricsLog(folder / "metrics.jsonl")
    for step, score in ((4, 0.5), (8, 0.75)):
        common = {"step": step, "epoch": step // 4, "learning_rate": 0.1 / step, "wall_s": step / 2}
        log.write(split="train", values={"loss": 1 / step, "edge": 0.1}, **common)
        log.write(split="validation", values={"score": score, "loss": 2 / step}, **common)
    log.close()
    with CheckpointStore(folder / "checkpoints", best_metric="score") as store:
        loop = {"total_steps": 12, "best": {"step": 8, "value": 0.75}, "stopped_early": False}
        store.save(
            8,
            {"params": {"x": np.zeros(1)}},
            data_state={"loop": loop},
            metadata={},
            metrics={"score": 0.75},
            assets={},
        )
    return folder


def cli(*arguments):
    app = typer.Typer()
    workdir_verbs.register(app)
    return CliRunner().invoke(app, ["workdir", *map(str, arguments)], env={"COLUMNS": "120"})


def test_status(folder):
    status = workdir_status(folder)
    assert (status.name, status.state, status.step, status.total_steps) == ("toy", "unfinished", 8, 12)
    assert (status.epoch, status.num_epochs) == (2, 6)
    assert (status.best_metric, status.best_step, status.best_value) == ("score", 8, 0.75)
    assert status.validation[1] == {"epoch": 2, "step": 8, "score": 0.75, "loss": 0.25}
    shown = cli("status", folder)
    assert shown.exit_code == 0
    for part in ("toy: unfinished, step 8 of 12, epoch 2 of 6", "best score 0.7500 at step 8", "0.5000"):
        assert part in shown.output
    assert json.loads(cli("status", folder, "--json").output)["best_value"] == 0.75


def test_status_of_many_validations_shows_the_newest_and_the_best(folder):
    log = MetricsLog(folder / "metrics.jsonl")
    for epoch in range(3, 13):
        line = {"step": 4 * epoch, "epoch": epoch, "learning_rate": 0.1, "wall_s": 1.0}
        log.write(split="validation", values={"score": 0.1}, **line)
    log.close()
    shown = cli("status", folder).output
    assert "12 validations, the newest and the best shown" in shown
    assert [epoch for epoch in range(1, 13) if f"epoch {epoch} " in shown.split("shown")[1]] == [2, 8, 9, 10, 11, 12]
    assert "…" not in shown


def test_status_of_a_run_that_has_not_begun_and_of_other_folders(tmp_path, folder):
    prepare_workdir(tmp_path / "new", CONFIG, resume=False)
    status = workdir_status(tmp_path / "new")
    assert (status.state, status.step, status.best_step, status.validation) == ("not started", 0, None, ())
    with pytest.raises(TrainingError, match="no work folder of a run"):
        workdir_status(tmp_path)
    (folder / "metrics.jsonl").write_text("rubbish\n{}\n")
    with pytest.raises(TrainingError, match=r"metrics\.jsonl:1"):
        workdir_status(folder)


def test_curves(folder, tmp_path):
    assert cli("plot", folder).output.strip() == str(folder / "curves.png")
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert plot_curves(folder, tmp_path / "x.png") == tmp_path / "x.png"
    with pytest.raises(TrainingError, match="cannot be written"):
        plot_curves(folder, tmp_path / "none" / "x.png")
    with pytest.raises(TrainingError, match=r"no metrics\.jsonl"):
        plot_curves(tmp_path)
    (folder / "metrics.jsonl").write_text("")
    with pytest.raises(TrainingError, match="holds no metrics yet"):
        plot_curves(folder)


def test_one_training_at_a_time_in_a_folder(tmp_path):
    code = (
        "import sys, pathlib; from orchestai_jax.training.workdir import locked_workdir\n"
        "with locked_workdir(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match="another training is at work in it"), locked_workdir(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate()
    with locked_workdir(tmp_path):  # the lock went with the process that was killed
        pass


def test_a_folder_with_a_lock_alone_is_empty(tmp_path):
    with locked_workdir(tmp_path):
        pass
    prepare_workdir(tmp_path, CONFIG, resume=False)
    assert (tmp_path / "config.yaml").exists()
