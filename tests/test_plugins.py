"""What is watched in every test is watched for real: skips that CI does not expect, and declared shapes."""

import os
import pathlib
import shutil
import subprocess
import sys
import types

import expected_skips
import jax.numpy as jnp
import jaxtyping
import pytest

HERE = pathlib.Path(__file__).parent
EXPECTED = """
import pytest

def test_public_data(public_data):
    public_data("no/such/file.jsonl")

@pytest.mark.xfail(reason="known")
def test_known_fault():
    assert False

def test_that_passes():
    pass
"""
UNEXPECTED = """
import pytest

def test_that_nobody_runs():
    pytest.skip("too slow on Mondays")
"""
WHOLE_FILE = "import pytest; pytest.importorskip('no_such_library')"


def run_in_ci(folder, *options):
    for name in ("conftest.py", "plugins"):
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copyfile
        copy(HERE / name, folder / name)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)],
        env={**os.environ, "CI": "true", "ORCHESTAI_DATA": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unexpected_skip_fails_the_run_in_ci_under_xdist(tmp_path):
    for name, source in (("expected", EXPECTED), ("unexpected", UNEXPECTED), ("whole_file", WHOLE_FILE)):
        (tmp_path / f"test_{name}.py").write_text(source)
    done = run_in_ci(tmp_path, "-n", "1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    told = done.stdout.split("skips that CI does not expect")[1].splitlines()[1:3]
    assert sorted(line.rpartition("::")[2] for line in told) == [
        "test_that_nobody_runs: too slow on Mondays",
        "test_whole_file.py: could not import 'no_such_library': No module named 'no_such_library'",
    ]


def test_expected_skips_alone_do_not_fail_it(tmp_path):
    (tmp_path / "test_expected.py").write_text(EXPECTED)
    done = run_in_ci(tmp_path)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "1 passed, 1 skipped, 1 xfailed" in done.stdout


@pytest.mark.parametrize(
    ("ci", "worker", "watched"),
    [("true", False, True), ("1", False, True), ("", False, False), ("false", False, False), ("true", True, False)],
)
def test_skips_are_watched_in_ci_once(monkeypatch, ci, worker, watched):
    monkeypatch.setenv("CI", ci)
    registered = []
    manager = types.SimpleNamespace(register=lambda plugin, name: registered.append(name))
    config = types.SimpleNamespace(pluginmanager=manager, **({"workerinput": {}} if worker else {}))
    expected_skips.register(config)
    assert bool(registered) == watched


def test_shapes_are_checked():
    from orchestai_jax.nn.graph import adjacency

    with pytest.raises(jaxtyping.TypeCheckError, match="'mask'"):
        adjacency.without_masked(jnp.zeros((2, 3, 3)), jnp.ones((2, 4), bool))
