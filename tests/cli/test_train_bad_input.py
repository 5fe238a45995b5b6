"""What bad input gets from `orchestai train`: one line that names it, an exit code, the last good checkpoint intact."""

import os
import shutil
import subprocess
import sys

import pytest

from orchestai_jax.checkpoint import open_checkpoint

CONFIG = """
kind: language_model
name: tiny
data: {train: text.txt}
model: {hidden_size: 8, intermediate_size: 8, num_layers: 1, num_heads: 2, num_kv_heads: 1, max_positions: 16}
training: {batch_size: 4, sequence_length: 8, num_steps: 4, evaluate_every_steps: 2, warmup_steps: 0,
  log_every_steps: 1}
monitoring: {trackers: []}
system: {progress: none, log_level: error}
"""


@pytest.fixture
def train(command, tmp_path):
    """`train(*arguments)` runs the command in a folder with run.yaml, and wants a line."""
    (tmp_path / "run.yaml").write_text(CONFIG)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)

    def train(*arguments, code=2, workdir="run"):
        return command.error("train", "run.yaml", "--workdir", workdir, *arguments, code=code)

    return train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The work folder of a run that is done."""
    from orchestai_jax.config import parse_run_config
    from orchestai_jax.training.language_model import train_language_model

    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    train_language_model(parse_run_config(CONFIG, [f"data.train={folder / 'text.txt'}"]), folder / "run")
    return folder / "run"


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("training.num_stepz=3", "'training.num_stepz=3': training.num_stepz: unknown key (did you mean num_steps"),
        ("training.batch_size=many", 'training.batch_size: got "many"; input should be a valid integer'),
        ("mesh.data=4", "mesh: 1 × 4 × 1 wants 4 devices, there are 1 (cpu); lower replica, data or tensor"),
        ("mesh.data=3", "batch_size 4 is not a multiple of mesh.replica × mesh.data = 1 × 3 = 3"),
        ("data.train=gone.txt", "gone.txt: cannot be read (No such file or directory)"),
        ("--from=gone", "gone: no such folder; give a work folder of `orchestai train` or a checkpoint in it"),
        ("--resume=oldest", "Invalid value for '--resume'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named_and_begins_nothing(train, command, tmp_path, argument, says):
    if argument.startswith("--resume"):
        assert says in command("train", "run.yaml", argument, code=2).stderr
    else:
        assert says in train(argument)
    assert not (tmp_path / "run").exists()


def test_a_foreign_checkpoint_is_refused_by_its_first_leaf(train, tmp_path, trained):
    before = sorted(path.name for path in (trained / "checkpoints").iterdir())
    line = train("--from", str(trained), "model.hidden_size=12")
    assert "have embedding of shape (28, 8) where (28, 12) is wanted" in line
    assert not (tmp_path / "run").exists()
    # A checkpoint of another model in the run's own folder.
    shutil.copytree(trained, tmp_path / "run")
    config = (tmp_path / "run" / "config.yaml").read_text().replace("hidden_size: 8", "hidden_size: 12")
    (tmp_path / "run" / "config.yaml").write_text(config)
    line = train("--resume", "model.hidden_size=12", f"data.train={trained.parent / 'text.txt'}")
    assert "is saved as float32[28,8], the model wants float32[28,12]; it belongs to another model" in line
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == before
    assert open_checkpoint(tmp_path / "run", "latest").step == 4


def test_a_checkpoint_of_something_else_is_refused(train, tmp_path, trained):
    planner = tmp_path / "planner.yaml"
    planner.write_text("name: p\ndata: {train: x.jsonl, format: planning}\nsystem: {log_level: error}\n")
    (tmp_path / "run.yaml").write_text(planner.read_text())
    line = train("--from", str(trained))
    assert "a checkpoint of language_model, not of a planner" in line
    assert not (tmp_path / "run").exists()


def test_what_is_not_finite_from_the_first_batch_on_fails_at_once(train, tmp_path):
    line = train("model.initializer_range=1.0e30", code=1)
    assert line.startswith("orchestai: step 1: ")
    assert "is nan" in line
    assert "no checkpoint was saved before; lower learning_rate" in line
    assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


def test_a_full_disk_fails_the_run_and_leaves_the_last_checkpoint(train, tmp_path, trained):
    """Files beyond a size cannot be written in the other process, as on a disk that is full."""
    program = (
        "import resource, signal, sys\n"
        "from orchestai_jax.checkpoint import CheckpointStore\n"
        "from orchestai_jax.cli import main\n"
        "save = CheckpointStore.save\n"
        "def filling(self, step, *args, **options):\n"
        "    if step == 4:\n"
        "        self.wait()\n"
        "        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "    return save(self, step, *args, **options)\n"
        "CheckpointStore.save = filling\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "train", "run.yaml", "--workdir", "run"],
        cwd=tmp_path,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr[-2000:]
    assert "checkpoints/4: cannot be saved ([Errno 27] File too large); check the disk" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert open_checkpoint(tmp_path / "run", "latest").step == 2
