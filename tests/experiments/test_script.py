"""How scripts end."""

import pathlib
import subprocess
import sys

import pytest
from _script import run_script

from orchestai_jax.training import TrainingInterrupted

SCRIPTS = pathlib.Path(__file__).parents[2] / "experiments"


def fails_with(error):
    def main():
        raise error

    return main


def test_exit_codes_and_one_line(capsys):
    assert run_script(lambda: {"x": 1}) == 0
    assert capsys.readouterr().err == ""
    assert run_script(fails_with(ValueError("no file; give one"))) == 1
    assert capsys.readouterr().err == "error: no file; give one\n"
    assert run_script(fails_with(KeyboardInterrupt())) == 130
    assert run_script(fails_with(TrainingInterrupted(2))) == 130
    assert "stopped after step 2, which is saved; the same command goes on" in capsys.readouterr().err


def test_faults_of_the_program_keep_their_traceback():
    with pytest.raises(TypeError):
        run_script(fails_with(TypeError("a bug")))


@pytest.mark.parametrize("script", ["planner_ultratool.py", "edges.py"])
def test_help_has_examples(script, tmp_path):
    pytest.importorskip("sklearn")
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"python experiments/{script} --quick" in done.stdout
