import json

import jsonschema
import pytest
import typer
import yaml
from typer.testing import CliRunner

from orchestai_jax.cli import config as config_verbs
from orchestai_jax.config import ConfigError
from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workflow import Reference, Task, Value, Workflow


def cli(*arguments):
    app = typer.Typer()
    config_verbs.register(app)
    return CliRunner().invoke(app, ["config", *map(str, arguments)])


def test_show_fills_in_and_schema_describes_it(tmp_path):
    (tmp_path / "run.yaml").write_text("name: x\ndata: {train: a.jsonl}\n")
    shown = cli("show", tmp_path / "run.yaml", "training.phase1_supervised.batch_size=8")
    assert shown.exit_code == 0
    config = yaml.safe_load(shown.output)
    assert config["training"]["phase1_supervised"]["batch_size"] == 8
    assert config["planner"]["encoder"]["weights"] == "minilm"
    assert json.loads(cli("show", tmp_path / "run.yaml", "--json").output)["name"] == "x"
    jsonschema.validate(config, json.loads(cli("schema").output))
    wrong = cli("show", tmp_path / "run.yaml", "sed=1")
    assert isinstance(wrong.exception, ConfigError)


PLAN = Workflow(
    instruction="x",
    tasks=(
        Task(id="1", task_type="a", arguments={"n": Value(value=[1])}),
        Task(id="2", task_type="b", worker="w", arguments={"i": Reference(task="1", output="o")}, depends_on=("1",)),
    ),
)


@pytest.mark.parametrize(
    ("of", "right", "wrong"),
    [
        ("catalog", load_embedded_catalog().model_dump(mode="json"), {"task_types": [{"description": "no id"}]}),
        ("workflow", PLAN.model_dump(mode="json"), {"tasks": [{"id": "1"}]}),
        ("workflow", {}, {"tasks": [{"id": "1", "task_type": "a", "arguments": {"p": {"taks": "1"}}}]}),
    ],
)
def test_catalogs_and_workflows_have_schemas_too(of, right, wrong):
    schema = json.loads(cli("schema", "--of", of).output)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(right, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_a_schema_that_there_is_not_is_wrong_use():
    assert cli("schema", "--of", "planner").exit_code == 2
    assert "orchestai config schema --of catalog" in cli("schema", "--help").output
