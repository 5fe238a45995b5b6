import subprocess
import sys

import pytest

import orchestai_jax.workflow
from orchestai_jax.workflow import Workflow, WorkflowError, load_workflow, save_workflow


def test_every_public_name_is_there_once_and_sorted():
    names = orchestai_jax.workflow.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(orchestai_jax.workflow, name) for name in names)


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys, orchestai_jax.workflow; "
        "print(sorted({'jax', 'jaxlib', 'flax', 'numpy', 'torch', 'PIL', 'polars', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_workflows_in_files(tmp_path, diamond):
    path = tmp_path / "w.json"
    save_workflow(diamond, path)
    assert load_workflow(path) == diamond


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"tasks": [\n', "line 2"),
        (b'{\n"instruction": "caf\xe9"}', "line 2: is not UTF-8"),
        (b"[]", "given a list"),
        (b'{"schema_version": 9}', "schema_version is 9"),
        (b'{"tasks": [{"id": "a", "task_type": "x", "confidence": 2}]}', r"tasks\[0\]\.confidence.*given 2"),
        (b'{"tasks": [{"id": "a", "task_type": "x", "arguments": {"p": {"taks": "b"}}}]}', r"tasks\[0\]\.arguments"),
        (b'{"tasks": [{"id": "a", "task_type": "x", "arguments": {"p": 3}}]}', r"tasks\[0\]\.arguments"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_workflow(tmp_path, data, says):
    path = tmp_path / "w.json"
    path.write_bytes(data)
    with pytest.raises(WorkflowError, match=rf"w\.json.*{says}") as caught:
        load_workflow(path)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(WorkflowError, match="cannot be read"):
        load_workflow(tmp_path / "ghost.json")
    odd = Workflow.model_validate({"tasks": [{"id": "a", "task_type": "x", "arguments": {"p": {"value": object()}}}]})
    with pytest.raises(WorkflowError, match="cannot be written"):
        save_workflow(odd, tmp_path / "w.json")
