"""The command with a planner that it trains itself: train, status, evaluate, plan, run, and what bad input gets."""

import itertools
import json
import shutil
import xml.etree.ElementTree as ET

import jax.numpy as jnp
import pytest
import yaml
from typer.testing import CliRunner

from orchestai_jax.checkpoint import CheckpointStore
from orchestai_jax.cli import build_app
from orchestai_jax.data import PlanningSample, save_samples
from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workflow import Catalog, load_catalog, load_workflow, read_records, save_catalog, validate_workflow

CLAUSES = {
    "summarize_text": "shorten {}",
    "extract_keywords": "find keywords in {}",
    "text_statistics": "count words of {}",
}
"""What asks for each task type. All three read a text, so that whatever is planned can run on one."""
WORKERS = {
    "summarize_text": "summarize_text_lead",
    "extract_keywords": "extract_keywords_cvalue",
    "text_statistics": "text_statistics_counter",
}
TEXT = "JAX compiles programs. Compiled programs run fast. Plans are programs too. Nothing else is said here.\n" * 5
EPOCHS, REPEATS, BATCH = 5, 32, 8
PLANS = [plan for n in (1, 2) for plan in itertools.permutations(CLAUSES, n)]


def sample(number, plan):
    first, *rest = plan
    clauses = [CLAUSES[first].format(f"{('notes', 'letter', 'essay')[number % 3]}.txt")]
    clauses += [CLAUSES[t].format("it") for t in rest]
    return PlanningSample(
        id=f"s{number}",
        instruction=" and ".join(clauses),
        task_types=plan,
        dependencies=((0, 1),) if rest and first != "text_statistics" else (),  # what it makes is no text
        workers=tuple(WORKERS[t] for t in plan),
        complexities=tuple(0.5 for _ in plan),
    )


def orchestai(*arguments, stdin=None, code=0):
    result = CliRunner().invoke(build_app(), [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
    return result


def refused(*arguments, stdin=None, code=2):
    """The one line of a command that must be refused."""
    result = orchestai(*arguments, stdin=stdin, code=code)
    assert result.stdout == ""
    assert result.stderr.startswith("orchestai: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a catalog of three local tools, samples, and the work folder of a planner trained on them."""
    folder = tmp_path_factory.mktemp("real")
    embedded = load_embedded_catalog()
    types = tuple(embedded.task_type(t) for t in CLAUSES)
    workers = tuple(w for w in embedded.workers if set(w.task_types) <= set(CLAUSES))
    save_catalog(Catalog(name="texts", task_types=types, workers=workers), folder / "catalog.yaml")
    save_samples(folder / "train.jsonl", [sample(i, plan) for i, plan in enumerate(PLANS * REPEATS)])
    save_samples(folder / "held_out.jsonl", [sample(i, plan) for i, plan in enumerate(PLANS)])
    config = {
        "name": "texts",
        "data": {
            "train": str(folder / "train.jsonl"),
            "validation": str(folder / "held_out.jsonl"),
            "format": "planning",
            "catalog": str(folder / "catalog.yaml"),
        },
        "planner": {
            "encoder": {
                "weights": "none",
                "hidden_size": 16,
                "num_heads": 2,
                "num_layers": 1,
                "intermediate_size": 16,
                "max_tokens": 32,
                "vocab_size": 200,
            },
            "decomposer": {"num_heads": 2, "max_tasks": 3},
            "graph_generator": {"hidden_size": 8},
            "worker_selector": {"hidden_size": 8},
        },
        "training": {
            "phase1_supervised": {
                "batch_size": BATCH,
                "num_epochs": 100,
                "learning_rate": 0.02,
                "encoder_learning_rate": 0.01,
                "early_stop_patience": None,
                "keep_checkpoints": 1,
            }
        },
        "system": {"progress": "none"},
    }
    (folder / "texts.yaml").write_text(yaml.safe_dump(config))
    epochs = f"training.phase1_supervised.num_epochs={EPOCHS}"
    said = orchestai("train", folder / "texts.yaml", epochs, "--workdir", folder / "run").stdout
    return folder, said


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A folder with the planner, its catalog and a text; the current one."""
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planner").symlink_to(folder / "run")
    (tmp_path / "held_out.jsonl").symlink_to(folder / "held_out.jsonl")
    (tmp_path / "notes.txt").write_text(TEXT)
    return tmp_path


PLANNER = ("--planner", "planner")
STEPS = EPOCHS * len(PLANS) * REPEATS // BATCH


def test_train_says_where_it_ended_and_status_agrees(trained, here):
    said = trained[1]
    assert f"{STEPS} steps, best at step " in said
    assert (
        f"texts: finished, step {STEPS} of {STEPS}, epoch {EPOCHS} of {EPOCHS}"
        in orchestai("workdir", "status", "planner").stdout
    )
    status = json.loads(orchestai("workdir", "status", "planner", "--json").stdout)
    assert (status["state"], status["step"], len(status["validation"])) == ("finished", STEPS, EPOCHS)
    assert f"best at step {status['best_step']}: " in said
    again = refused("train", trained[0] / "texts.yaml", "--workdir", "planner")
    assert "a run is in it" in again


def test_evaluate_gives_every_figure(here):
    arguments = ("evaluate", "planner", "--data", "held_out.jsonl", "--format", "planning")
    figures = json.loads(orchestai(*arguments, "--json", "--predictions", "out.jsonl").stdout)
    shares = ("node_f1", "link_f1", "accuracy", "coverage", "dag_validity", "selection_accuracy")
    assert all(0 <= figures[name] <= 1 for name in shares)
    assert figures["coverage"] == figures["dag_validity"] == 1
    assert min(figures["node_f1"], figures["link_f1"]) > 0.7  # it was trained on the like
    assert figures["n"] == len(PLANS) == len((here / "out.jsonl").read_text().splitlines())
    assert 0 < figures["latency_ms_p50"] <= figures["latency_ms_p95"]


def test_plan_is_valid_and_drawn(trained, here):
    text = "shorten notes.txt and find keywords in it"
    (here / "plan.json").write_text(orchestai("plan", text, *PLANNER, "--json").stdout)
    plan = load_workflow(here / "plan.json")
    assert [task.task_type for task in plan.tasks] == ["summarize_text", "extract_keywords"]
    assert plan.edges == (("t1", "t2"),)
    assert validate_workflow(plan, load_catalog(trained[0] / "catalog.yaml")) == []
    assert orchestai("plan", text, *PLANNER, "--svg", "plan.svg").stdout == "wrote plan.svg\n"
    assert ET.parse(here / "plan.svg").getroot().tag.endswith("svg")
    mermaid = orchestai("plan", text, *PLANNER, "--mermaid").stdout
    assert mermaid.startswith("flowchart")
    assert all(name in mermaid for name in ("Summarize text", "Extract keywords"))


def test_run_does_the_work_and_appends_records(trained, here):
    text = "shorten notes.txt and count words of it"
    printed = json.loads(orchestai("run", text, *PLANNER, "--json").stdout)
    (here / "plan.json").write_text(json.dumps(printed["workflow"]))
    orchestai("run", "--workflow", "plan.json", "--catalog", trained[0] / "catalog.yaml")
    records, problems = read_records(here / "runs" / "records.jsonl")
    assert not problems
    assert len(records) == 2
    assert json.loads(records[0].model_dump_json()) == printed
    for record in records:
        assert record.status == "succeeded"
        assert record.instruction == text
        outputs = {run.task_type: run.outputs for run in record.tasks}
        assert outputs["text_statistics"]["statistics"]["words"] > 0
        assert (here / outputs["summarize_text"]["text"]).read_text().startswith("JAX compiles programs.")
    # What was run can be scored.
    figures = orchestai("evaluate", "planner", "--data", "runs/records.jsonl", "--format", "records", "--json")
    assert json.loads(figures.stdout)["n"] == 2


def test_text_without_words_is_an_empty_plan_that_says_so_and_does_not_run(here):
    plan = json.loads(orchestai("plan", "-", *PLANNER, "--json", stdin="🎉🎉🎉".encode()).stdout)
    assert (plan["tasks"], plan["confidence"]) == ([], 0.0)
    assert "no words" in plan["notes"][0]
    assert "no words" in refused("run", "-", *PLANNER, stdin=b"\x00\x07\x1b[2J")


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(
    ("text", "said"),
    [(b"", "the instruction is empty"), (b" \n\t", "empty"), (b"x" * 100_000, "put the long text in a file")],
    ids=["empty", "blank", "100 kB"],
)
def test_what_is_no_instruction_is_one_line(here, verb, text, said):
    assert said in refused(verb, "-", *PLANNER, stdin=text)


@pytest.mark.parametrize(
    "text", ["第一次 翻译 文本\x07\x1b[31m", "shorten notes.txt " * 1800], ids=["Chinese", "32 kB"]
)
def test_other_text_gives_a_valid_plan(trained, here, text):
    (here / "plan.json").write_text(orchestai("plan", "-", *PLANNER, "--json", stdin=text.encode()).stdout)
    assert validate_workflow(load_workflow(here / "plan.json"), load_catalog(trained[0] / "catalog.yaml")) == []


def largest(checkpoint):
    return max((p for p in (checkpoint / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


@pytest.mark.parametrize(
    "damaged", [largest, lambda c: c / "manifest.json", lambda c: c / "record" / "metadata.json"],
    ids=["arrays", "manifest", "metadata"],
)  # fmt: skip
def test_a_truncated_checkpoint_is_one_line(here, damaged):
    checkpoint = shutil.copytree(max((here / "planner" / "checkpoints").glob("[0-9]*")), here / "copy")
    path = damaged(checkpoint)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    line = refused("plan", "shorten notes.txt", "--planner", checkpoint)
    assert path.name in line
    assert "damaged" in line


def test_a_checkpoint_of_something_else_is_one_line(here):
    with CheckpointStore(here / "other" / "checkpoints") as store:
        state, metadata = {"params": {"x": jnp.zeros(2)}}, {"kind": "value function"}
        store.save(1, state, data_state={}, metadata=metadata, metrics={}, assets={})
    for verb in (("plan", "x"), ("run", "x")):
        assert "a checkpoint of value function, not of a planner" in refused(*verb, "--planner", "other")
    (here / "empty").mkdir()
    assert "no checkpoint of orchestai" in refused("plan", "x", "--planner", "empty")
