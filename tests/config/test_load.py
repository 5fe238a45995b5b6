import os
import pathlib
import subprocess
import sys

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from orchestai_jax.config import (
    ConfigError,
    RunConfig,
    config_differences,
    config_json_schema,
    dump_config,
    load_config,
    parse_config,
)

SMALL = "name: small\ndata: {train: train.jsonl}\n"


def fails(text=SMALL, overrides=(), env=None, source="run.yaml"):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, overrides, env or {}, source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_and_sections():
    config = parse_config(SMALL)
    phase = config.training.phase1_supervised
    assert (phase.batch_size, phase.learning_rate, phase.num_epochs, phase.lambda_dag) == (32, 1e-3, 6, 0.1)
    assert config.planner.encoder.weights == "minilm"
    assert config.planner.decomposer.label_bias == -9.0
    assert config.worker.preference.weights == (1.0, 0.25, 0.25)
    with pytest.raises(ValidationError):
        config.seed = 3


def test_overrides_are_yaml_scalars():
    config = parse_config(
        SMALL,
        [
            "seed=3",
            "training.phase1_supervised.learning_rate=2e-4",
            "planner.encoder.trainable_layers=null",
            "planner.decomposer.allow_repeats=true",
            "worker.preference=fast",
            "data.validation=a=b.jsonl",
            "name=2024-01-01",
        ],
    )
    assert config.seed == 3
    assert config.training.phase1_supervised.learning_rate == 2e-4
    assert config.planner.encoder.trainable_layers is None
    assert config.planner.decomposer.allow_repeats is True
    assert config.worker.preference.weights == (0.3, 0.1, 1.0)
    assert config.data.validation == "a=b.jsonl"
    assert config.name == "2024-01-01"


def test_variables(tmp_path):
    text = 'name: x\ndata: {train: "${ORCHESTAI_DATA:-../shared/data}/ultratool/train.jsonl"}\nseed: ${SEED:-7}\n'
    assert parse_config(text).data.train == "../shared/data/ultratool/train.jsonl"
    assert parse_config(text).seed == 7
    given_both = parse_config(text, env={"ORCHESTAI_DATA": "/d", "SEED": "9"})
    assert (given_both.data.train, given_both.seed) == ("/d/ultratool/train.jsonl", 9)
    assert parse_config(text, env={"SEED": ""}).seed == 7
    assert parse_config(SMALL, ["data.train=$${x}"]).data.train == "${x}"
    assert "data.train" in fails(SMALL, ["data.train=${NOWHERE}/x"])
    assert "NOWHERE is not set" in fails(SMALL, ["data.train=${NOWHERE}/x"])
    assert "malformed" in fails(SMALL, ["data.train=${a b}"])
    assert "malformed" in fails(SMALL, ["data.train=${open"])


def test_secrets_stay_out_of_configurations():
    message = fails(SMALL, ["data.train=${OPENAI_API_KEY:-x}"], env={"OPENAI_API_KEY": "sk-123456"})
    assert "OPENAI_API_KEY" in message
    assert "sk-123456" not in message


def test_env_file_fills_what_the_environment_lacks(tmp_path):
    (tmp_path / ".env").write_text("A=from-file\nB=from-file\n")
    (tmp_path / "run.yaml").write_text("name: ${A}-${B}\ndata: {train: x.jsonl}\n")
    loaded = load_config(tmp_path / "run.yaml", env={"A": "given"}, env_file=tmp_path / ".env")
    assert loaded.name == "given-from-file"
    with pytest.raises(ConfigError, match="A is not set"):
        load_config(tmp_path / "run.yaml", env={}, env_file=None)


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (SMALL + "sed: 1\n", [], ["run.yaml:3: sed", "unknown key", "did you mean seed?", "planner"]),
        (
            SMALL + "training:\n  phase1_supervised:\n    batchsize: 3\n",
            [],
            ["run.yaml:5: training.phase1_supervised.batchsize", "did you mean batch_size?"],
        ),
        (SMALL, ["lambda_dag=1"], ["override 'lambda_dag=1'", "belongs at training.phase1_supervised.lambda_dag"]),
        (SMALL, ["seed=-1"], ["override 'seed=-1'", "got -1", "greater than or equal to 0"]),
        (SMALL, ["seed=true"], ["seed", "got true", "number"]),
        (SMALL, ["seed=1.5"], ["seed", "got 1.5"]),
        (SMALL, ["planner.decomposer.dropout=.nan"], ["dropout", "finite"]),
        (SMALL, ["data.format=csv"], ["data.format", '"csv"', "'taskbench'", "'planning'"]),
        (SMALL, ["planner.encoder.num_heads=5"], ["planner.encoder", "hidden_size 384", "num_heads 5"]),
        (
            SMALL,
            ["planner.graph_generator.layer=gat", "planner.graph_generator.num_heads=3"],
            ["planner.graph_generator", "num_heads 3 does not divide the width 128", "heads: averaged"],
        ),
        (SMALL, ["planner=3"], ["planner", "got 3"]),
        (SMALL, ["seed.x=3"], ["override 'seed.x=3'"]),
        (SMALL, ["name.first=x"], ["name is the value 'small', not a section"]),
        (SMALL, ["seed"], ["must be written key=value"]),
        (SMALL, ["=3"], ["must be written key=value"]),
        (SMALL, ["seed=[1"], ["not a YAML value"]),
        ("name: x\n", [], ["data", "missing"]),
        ("name: x\ndata: {}\n", [], ["run.yaml:2: data", "train or records"]),
        ("", [], ["empty", "name, seed, data"]),
        ("- 1\n", [], ["a list"]),
        ("name: [x\n", [], ["run.yaml:2", "not valid YAML"]),
        ("name: x\nname: y\n", [], ["run.yaml:2: name is given twice", "line 1"]),
        ("name: x\n? [a, b]\n: 1\n", [], ["run.yaml:2", "key"]),
        ("name: !!python/object/apply:os.getcwd []\n", [], ["not valid YAML"]),
        ("seed: !!int abc\n", [], ["not valid YAML"]),
        ("seed: !!timestamp abc\n", [], ["not valid YAML"]),
        (SMALL, ["seed=!!int x"], ["not a YAML value"]),
        ("name: \x00\n", [], ["not valid YAML"]),
    ],
)
def test_what_is_wrong_is_named(text, overrides, words):
    message = fails(text, overrides)
    for word in words:
        assert word in message, message


def test_every_fault_is_listed():
    message = fails(SMALL, ["seed=-1", "sed=1", "planner.encoder.max_tokens=1"])
    assert all(word in message for word in ("seed: got -1", "sed: unknown", "max_tokens: got 1"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml: not UTF-8"):
        load_config(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@settings(max_examples=40, deadline=None)
@example(name="1e3", train="0E0", seed=0, rate=1e-3)
@given(
    name=st.text(min_size=1).filter(lambda t: all(c.isprintable() for c in t)),
    train=st.text(min_size=1).filter(lambda t: all(c.isprintable() for c in t)),
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(0, 1),
)
def test_dump_is_read_back(name, train, seed, rate):
    config = RunConfig.model_validate(
        {
            "name": name,
            "data": {"train": train},
            "seed": seed,
            "training": {"phase1_supervised": {"learning_rate": rate}},
        }
    )
    assert parse_config(dump_config(config)) == config


def test_differences():
    one = parse_config(SMALL)
    other = parse_config(SMALL, ["seed=2", "planner.decoding.beam_size=8"])
    assert config_differences(one, other) == [("seed", 0, 2), ("planner.decoding.beam_size", 4, 8)]
    assert config_differences(one, one) == []


def test_schema_accepts_what_the_loader_writes_and_documents_every_field():
    schema = config_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    dumped = yaml.safe_load(dump_config(parse_config(SMALL)))
    validator.validate(dumped)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**dumped, "sed": 1})
    for definition in [schema, *schema["$defs"].values()]:
        for field, description in definition["properties"].items():
            # A doc line that equals the section's own is left out beside its reference.
            section = schema["$defs"].get(description.get("$ref", "").removeprefix("#/$defs/"), {})
            text = description.get("description") or section.get("description")
            assert text, field
            assert "\n" not in text, field


def models(model):
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from models(field.annotation)


def test_every_section_is_frozen_and_refuses_unknown_keys():
    for model in models(RunConfig):
        assert model.model_config["frozen"] is True
        assert model.model_config["extra"] == "forbid"


def test_config_imports_no_jax():
    code = (
        "import sys, orchestai_jax.config; assert not {m.split('.')[0] for m in sys.modules} & "
        "{'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'grain', 'rich', 'torch'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path("/"), env=dict(os.environ))
