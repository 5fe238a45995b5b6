import json

import jsonschema
import typer
import yaml
from typer.testing import CliRunner

from orchestai_jax.cli import config as config_verbs
from orchestai_jax.config import ConfigError


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
