"""The lines of documentation and help that use a language model, with a model of the sizes that they train."""

import json
import pathlib
import re
import shlex
import string

import pytest
from typer.testing import CliRunner

import orchestai_jax.cli
from orchestai_jax.config import load_run_config
from orchestai_jax.language_model import export_hugging_face, initial_parameters
from orchestai_jax.language_model.tokenizers import train_characters

ROOT = pathlib.Path(__file__).parents[2]
WHERE = ("README.md", "docs/language_model.md", "configs/lm_tinyshakespeare.yaml", "orchestai_jax/cli/lm.py")


def documented_lines():
    """The generate, bench and export lines that name a model (a shape of random weights is too large for a test)."""
    found = []
    for name in WHERE:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(r"^#?\s*orchestai (lm (?:generate|bench|export) runs/.*?)(?:\s{2,}#.*)?$", text, re.M)
    return sorted(set(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A work place where the models that the lines name lie."""
    config = load_run_config(ROOT / "configs" / "lm_tinyshakespeare.yaml").model
    tokenizer = train_characters(string.printable)
    config = config.model_copy(update={"vocab_size": tokenizer.vocab_size})
    place = tmp_path_factory.mktemp("documented")
    parameters = initial_parameters(config, 0)
    for name in ("shakespeare", "lm"):
        export_hugging_face(place / "runs" / name, config, parameters, mode="online")
        (place / "runs" / name / "tokenizer.json").write_text(tokenizer.json)
    (place / "prompt.txt").write_text("ROMEO:")
    return place


def test_there_are_lines():
    verbs = [line.split()[1] for line in documented_lines()]
    assert {"generate", "bench", "export"} == set(verbs)
    assert len(verbs) >= 6


@pytest.mark.parametrize("line", documented_lines())
def test_documented_lines_run(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    command, _, given = line.partition("<")
    text = (folder / given.strip()).read_text() if given else None
    result = CliRunner().invoke(orchestai_jax.cli.build_app(), shlex.split(command), input=text)
    assert result.exit_code == 0, result.output
    if "--json" in line and "generate" in line:
        assert json.loads(result.output)["num_tokens"] > 0
