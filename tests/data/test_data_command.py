"""`orchestai data`: what it writes, prints and refuses."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from orchestai_jax.cli import build_app
from orchestai_jax.data import load_samples
from orchestai_jax.workflow import RunRecord, Task, TaskRun, Workflow, append_record

CATALOG = {
    "name": "small",
    "task_types": [
        {"id": name, "inputs": [{"name": "image", "type": "image"}], "outputs": [{"name": "image", "type": "image"}]}
        for name in ("resize", "blur", "sharpen")
    ],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(CATALOG))
    rows = [
        {"id": i, "user_request": f"Do {i}.", "task_nodes": [{"task": "blur"}], "task_links": []} for i in range(200)
    ]
    (tmp_path / "bench.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def call(*words):
    return CliRunner().invoke(build_app(), ["data", *words])


def test_prepare_splits_by_id_and_says_where(folder):
    done = call("prepare", "bench.jsonl", "--format", "taskbench", "--out", "p", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    train = load_samples(folder / "p/train.jsonl", "planning")
    validation = load_samples(folder / "p/validation.jsonl", "planning")
    assert (report["train"]["samples"], report["validation"]["samples"]) == (len(train), len(validation))
    assert len(train) + len(validation) == 200
    assert 5 < len(validation) < 40
    table = call("prepare", "bench.jsonl", "--format", "taskbench", "--catalog", "catalog.yaml", "--out", "q")
    assert table.exit_code == 0
    assert "validation" in table.stdout


def test_prepare_of_few_samples_says_that_a_part_is_empty(folder):
    lines = (folder / "bench.jsonl").read_text().splitlines()
    (folder / "few.jsonl").write_text("\n".join(lines[:2]))
    options = ("prepare", "few.jsonl", "--format", "taskbench", "--out", "few")
    done = call(*options, "--validation-fraction", "0.001")
    assert done.exit_code == 0
    assert "validation.jsonl is empty" in done.stderr
    assert "--validation-fraction" in done.stderr
    assert json.loads(call(*options, "--validation-fraction", "0", "--json").stdout)["hint"] is None


def test_prepare_leaves_failed_runs_out_unless_told(folder):
    targets = {"task_types": ["blur"], "model_selections": ["w"], "dependencies": []}
    rows = [{"id": i, "instruction": f"x{i}", "targets": targets, "rewards": {"success": i % 2}} for i in range(10)]
    (folder / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert json.loads(call("prepare", "runs.jsonl", "--format", "planning", "--json").stdout)["left_out"] == 5
    loose = call("prepare", "runs.jsonl", "--format", "planning", "--json", "--min-success", "0")
    assert json.loads(loose.stdout)["left_out"] == 0


def test_prepare_takes_the_best_run_of_each_instruction_in_records(folder):
    def ran(number, instruction, seconds, quality=None, **changes):
        workflow = Workflow(instruction=instruction, tasks=(Task(id="t", task_type="blur", worker="w"),))
        done = TaskRun(task="t", task_type="blur", worker=f"w{number}", status="succeeded", quality=quality)
        fields = {"status": "succeeded", "duration_s": seconds, **changes}
        append_record("runs.jsonl", RunRecord(run_id=f"r{number}", workflow=workflow, tasks=(done,), **fields))

    ran(0, "blur it", 3.0)
    ran(1, "blur it", 1.0)
    ran(2, "blur that", 1.0, quality=0.2)
    ran(3, "no, blur this", 1.0, accepted=0.0)
    options = ("prepare", "runs.jsonl", "--format", "records", "--validation-fraction", "0", "--json")

    def left(*more):
        done = call(*options, *more)
        assert done.exit_code == 0, done.output
        kept = [sample.id for sample in load_samples(folder / "prepared/train.jsonl", "planning")]
        assert json.loads(done.stdout)["left_out"] == 4 - len(kept)
        return kept

    assert left() == ["r1", "r2"]
    assert left("--min-quality", "0.3") == ["r1"]
    assert left("--every-run") == ["r0", "r1", "r2"]


@pytest.mark.parametrize("source", ["p/train.jsonl", "p/validation.jsonl"])
def test_prepare_does_not_write_over_its_source(folder, source):
    call("prepare", "bench.jsonl", "--format", "taskbench", "--out", "p")
    before = [(folder / "p" / name).read_bytes() for name in ("train.jsonl", "validation.jsonl")]
    refused = call("prepare", source, "--format", "planning", "--out", "p")
    assert refused.exit_code == 2
    assert f"{source} is the source itself" in refused.stderr
    assert [(folder / "p" / name).read_bytes() for name in ("train.jsonl", "validation.jsonl")] == before


def test_prepare_adds_variants_to_the_training_part_alone(folder):
    def prepared(out, *options):
        done = call("prepare", "bench.jsonl", "--format", "taskbench", "--out", out, "--json", *options)
        assert done.exit_code == 0, done.output
        parts = (load_samples(folder / out / f"{name}.jsonl", "planning") for name in ("train", "validation"))
        return json.loads(done.stdout), *parts

    _, train, validation = prepared("plain")
    report, more, same = prepared("a", "--augment", "30", "--seed", "1")
    assert (report["augmented"], report["train"]["samples"]) == (30, len(more))
    assert more[: len(train)] == train
    assert len(more) == len(train) + 30
    assert same == validation
    assert prepared("b", "--augment", "30", "--seed", "1")[1] == more
    assert prepared("c", "--augment", "30", "--seed", "2")[1] != more
    table = call("prepare", "bench.jsonl", "--format", "taskbench", "--out", "d", "--augment", "7")
    assert "variants" in table.stdout


def test_inspect_prints_a_table_or_json(folder):
    table = call("inspect", "bench.jsonl", "--format", "taskbench", "--catalog", "catalog.yaml")
    assert table.exit_code == 0, table.output
    assert "200" in table.stdout
    assert "note: 2 task types of the catalog occur in no sample (resize, sharpen)" in table.stdout
    report = json.loads(call("inspect", "bench.jsonl", "--format", "taskbench", "--json").stdout)
    assert report["frequencies"] == {"blur": 200}


def test_synthesize_writes_the_same_samples_for_the_same_seed(folder):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        done = call("synthesize", "catalog.yaml", "-n", "20", "--seed", seed, "--out", f"{name}.jsonl", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["samples"] == 20
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes() != (folder / "c.jsonl").read_bytes()


def test_synthesize_prints_samples_without_out_and_heeds_templates_and_shapes(folder):
    templates = {"task_types": {"blur": {"do": ["SMUDGE {image}"]}}}
    (folder / "t.yaml").write_text(yaml.safe_dump(templates))
    done = call("synthesize", "catalog.yaml", "-n", "12", "--templates", "t.yaml", "--shapes", "chain=1")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 12
    assert all(len(row["targets"]["task_types"]) > 1 for row in rows)
    assert any("smudge" in row["instruction"].lower() for row in rows)


def test_synthesize_takes_held_out_clauses_synonyms_and_politeness(folder):
    lines = ["TRAIN {image}", "HELD {image}", "daub {image}", "HELD too {image}"]
    templates = {"task_types": {"blur": {"do": lines}}, "synonyms": {"daub": ["smear"]}}
    (folder / "t.yaml").write_text(yaml.safe_dump(templates))

    def said(*options):
        shape = ("--templates", "t.yaml", "--shapes", "node=1", "-n", "60")
        done = call("synthesize", "catalog.yaml", *shape, *options)
        assert done.exit_code == 0, done.output
        return " ".join(json.loads(line)["instruction"] for line in done.stdout.splitlines()).lower()

    train = said("--template-split", "train", "--held-out-every", "2", "--paraphrase", "0", "--polite", "0")
    assert "train" in train
    assert "daub" in train
    assert not any(word in train for word in ("held", "smear", "ould you"))
    held_out = said("--template-split", "held-out", "--held-out-every", "2", "--polite", "1")
    assert "held" in held_out
    assert "ould you" in held_out
    assert "train" not in held_out
    assert "daub" not in said("--paraphrase", "1")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["inspect", "gone.jsonl"], 2, "gone.jsonl: no such file"),
        (["inspect", "bench.jsonl"], 2, "bench.jsonl:1: field `targets`: missing"),
        (["inspect", "bench.jsonl", "--format", "csv"], 2, "csv"),
        (["inspect", "bench.jsonl", "--graph", "g.json"], 2, "--graph goes with --catalog"),
        (["prepare", "bench.jsonl", "--format", "taskbench", "--validation-fraction", "2"], 2, "validation-fraction"),
        (["prepare", "bench.jsonl", "--format", "taskbench", "--out", "catalog.yaml"], 2, "cannot write"),
        (
            ["prepare", "bench.jsonl", "--format", "taskbench", "--validation-fraction", "1", "--augment", "3"],
            2,
            "only 0 different variants of 3",
        ),
        (["synthesize", "catalog.yaml", "--template-split", "test"], 2, "held-out"),
        (["synthesize", "gone.yaml"], 2, "gone.yaml"),
        (["synthesize", "catalog.yaml", "-n", "0"], 2, "-n"),
        (["synthesize", "catalog.yaml", "--shapes", "ring=1"], 2, "`ring` is no shape"),
        (["synthesize", "catalog.yaml", "--shapes", "dag=x"], 2, "`x` is no number"),
        (["synthesize", "catalog.yaml", "--shapes", "dag=-1"], 2, "must not be negative"),
        (["synthesize", "catalog.yaml", "--json"], 2, "--json prints a summary and needs --out"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(folder, words, code, message):
    done = call(*words)
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["prepare", "inspect", "synthesize"])
def test_help_shows_examples(verb):
    assert f"orchestai data {verb} " in call(verb, "--help").stdout.split("Examples:")[1]
