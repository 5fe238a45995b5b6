"""Results say what they were measured on, and nothing about whose machine it was."""

import getpass
import json
import platform

import _machine


def test_the_machine_is_described_and_not_named():
    found = _machine.describe_machine()
    assert found["cores"] >= 1
    assert found["processor"]
    assert found["date"]
    assert found["versions"]["jax"]
    assert found["versions"]["orchestai-jax"]
    text = json.dumps(found)
    assert str(_machine.ROOT) not in text
    assert platform.node() not in [v for v in found.values() if isinstance(v, str)]
    assert getpass.getuser() not in [v for v in found.values() if isinstance(v, str)]


def test_commands_name_no_folder_of_this_machine():
    given = ["--workdir", str(_machine.ROOT / "runs" / "x"), "a b"]
    assert _machine.command_line("edges.py", given) == "python experiments/edges.py --workdir runs/x 'a b'"
