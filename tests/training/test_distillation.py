"""Distillation: what it is trained on, that it learns, goes on bit for bit, and makes an encoder that planners use."""

import json

import chex
import numpy as np
import pytest
import yaml
from orchestai_kernels.arrays import Int8Array, TernaryArray
from random_bert import write_bert
from toy_planner import VERBS, toy_config
from typer.testing import CliRunner

from orchestai_jax.checkpoint import CheckpointError, open_checkpoint
from orchestai_jax.cli import build_app
from orchestai_jax.config import ConfigError, DistillationDataConfig, parse_run_config
from orchestai_jax.data import load_samples, split_by_hash, train_tokenizer
from orchestai_jax.planner import Planner
from orchestai_jax.planner.pretrained import load_pretrained
from orchestai_jax.training import workdir_status
from orchestai_jax.training.distillation import ENCODER_FOLDER, distill_encoder
from orchestai_jax.training.distillation_texts import TokenizedTexts, load_texts
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.supervised import train_planner
from orchestai_jax.workflow import load_catalog


class StopAfter(SilentMonitor):
    """Raises at a step, as a crash would."""

    def __init__(self, step):
        self.last = step

    def step(self, step, values, learning_rate):
        if step == self.last:
            raise RuntimeError("crash")


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """A folder with a random BERT of two layers beside a file of lines."""
    folder = tmp_path_factory.mktemp("distillation")
    (folder / "bert").mkdir()
    words = [" ".join([*VERBS, *VERBS.values()]), "then a file one two 0 1 2 3 4 5 6"]
    write_bert(folder / "bert", train_tokenizer(words, 100))
    lines = [{"say": f"describe file {i} twice"} for i in range(40)]
    (folder / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def content(files, folder):
    """A configuration, changed as keys say."""

    def content(**training):
        return {
            "kind": "encoder_distillation",
            "name": "tiny",
            "data": {
                "sources": [
                    {"path": str(files / "train.jsonl"), "format": "planning"},
                    {"path": str(files / "catalog.yaml"), "format": "catalog"},
                    {"path": str(folder / "lines.jsonl"), "format": "lines", "key": "say"},
                ]
            },
            "encoder": {"teacher": str(folder / "bert"), "max_tokens": 16},
            "training": {
                "batch_size": 8,
                "num_steps": 45,
                "evaluate_every_steps": 15,
                "evaluation_batches": 2,
                "warmup_steps": 4,
                "quantization_warmup_steps": 10,
                "learning_rate": 0.01,
                "log_every_steps": 5,
                **training,
            },
            "system": {"progress": "none"},
        }

    return content


@pytest.fixture(scope="module")
def config(content):
    return lambda **training: parse_run_config(yaml.safe_dump(content(**training)))


@pytest.fixture(scope="module")
def distilled(config, tmp_path_factory):
    """The run that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    return workdir, distill_encoder(config(), workdir, monitor=SilentMonitor())


def metrics_of(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in lines]


def test_the_student_comes_near_the_teacher(distilled):
    workdir, result = distilled
    found = [line["values"] for line in metrics_of(workdir) if line["split"] == "validation"]
    assert set(found[0]) == {
        "loss", "hidden_error", "pooled_cosine", "error_layer_1", "error_layer_2", "score"
    }  # fmt: skip
    assert found[-1]["hidden_error"] < 0.7 * found[0]["hidden_error"]
    assert found[-1]["pooled_cosine"] > 0.95
    assert result.best_metrics["score"] == max(values["score"] for values in found)
    status = workdir_status(workdir)
    assert (status.state, status.num_epochs, status.best_metric) == ("finished", 3, "score")


def test_the_folder_is_the_best_checkpoint(distilled):
    workdir, _ = distilled
    found = load_pretrained(str(workdir / ENCODER_FOLDER))
    best = open_checkpoint(workdir).released_parameters()["trainable"]
    np.testing.assert_array_equal(found.tensors["layers.1.down.scale"], best["layers.1.down.scale"])
    assert not any(name.startswith("embedding") for name in best)  # the teacher's, in int8
    assert (found.config.num_layers, found.config.sub_norms) == (2, True)


def test_a_run_that_crashed_goes_on_bit_for_bit(config, distilled, tmp_path):
    with pytest.raises(RuntimeError, match="crash"):
        distill_encoder(config(save_every_steps=25), tmp_path / "run", monitor=StopAfter(28))
    distill_encoder(config(save_every_steps=25), tmp_path / "run", resume=True, monitor=SilentMonitor())
    whole, parts = (open_checkpoint(w, "latest").restore() for w in (distilled[0], tmp_path / "run"))
    chex.assert_trees_all_equal(whole, parts)
    assert metrics_of(distilled[0]) == metrics_of(tmp_path / "run")
    encoders = [w / ENCODER_FOLDER / "model.safetensors" for w in (distilled[0], tmp_path / "run")]
    assert encoders[0].read_bytes() == encoders[1].read_bytes()


def test_one_run_starts_from_anothers_weights(config, distilled, tmp_path):
    still = {"num_steps": 1, "evaluate_every_steps": 1, "learning_rate": 0, "final_learning_rate": 0, "warmup_steps": 0}
    distill_encoder(config(initialize_from=str(distilled[0]), **still), tmp_path / "more", monitor=SilentMonitor())
    chex.assert_trees_all_equal(*(open_checkpoint(w).restore()["trainable"] for w in (distilled[0], tmp_path / "more")))


@pytest.fixture(scope="module")
def planner_run(files, distilled, tmp_path_factory):
    """A planner that was trained with the distilled encoder, its upper layer tuned."""
    workdir = tmp_path_factory.mktemp("planners") / "run"
    encoder = {"weights": str(distilled[0] / ENCODER_FOLDER), "trainable_layers": 1}
    result = train_planner(toy_config(files, encoder=encoder), workdir, monitor=SilentMonitor())
    return workdir, result


def test_a_planner_learns_with_it_and_plans_with_packed_weights(planner_run, files):
    workdir, result = planner_run
    assert result.best_metrics["node_f1"] > 0.8
    saved = open_checkpoint(workdir).restore()
    tuned = [name for name in saved["trainable"] if name.startswith("encoder.")]
    assert {name.split(".")[2] for name in tuned} == {"1"}
    assert saved["trainable"]["encoder.layers.1.up.weight"].dtype == np.float32  # masters
    planner = Planner.from_checkpoint(workdir)
    assert isinstance(planner._parameters["encoder.layers.0.up.weight"], TernaryArray)
    assert isinstance(planner._parameters["encoder.layers.1.up.weight"], TernaryArray)
    assert isinstance(planner._parameters["encoder.embedding.word.embedding"], Int8Array)
    text = "soften file 3, then cut file 3"
    workflow = planner.plan(text)
    assert [t.task_type for t in workflow.tasks] == ["blur", "crop"]
    for other in planner.plan_many([text] * 2):
        assert [t.task_type for t in other.tasks] == ["blur", "crop"]
        assert other.confidence == pytest.approx(workflow.confidence, abs=1e-3)
    explanation = planner.explain(text)
    assert explanation.words[0] == "soften"
    assert np.argmax(explanation.tasks["t1"]) == 0
    other = planner.plan(text, load_catalog(files / "catalog.yaml"))  # descriptions encoded anew, by packed weights
    assert [(t.task_type, t.worker) for t in other.tasks] == [(t.task_type, t.worker) for t in workflow.tasks]
    assert other.confidence == pytest.approx(workflow.confidence, abs=1e-3)


def test_the_command_plans_evaluates_and_trains_on(planner_run, files, distilled, tmp_path):
    def orchestai(*arguments):
        result = CliRunner().invoke(build_app(), [str(a) for a in arguments])
        assert result.exit_code == 0, (result.stderr, result.exception)
        return result.stdout

    workdir = planner_run[0]
    plan = json.loads(orchestai("plan", "pack file 2", "--planner", workdir, "--json"))
    assert [task["task_type"] for task in plan["tasks"]] == ["zip"]
    report = orchestai("evaluate", workdir, "--data", files / "train.jsonl", "--format", "planning", "--json")
    assert json.loads(report)["node_f1"] > 0.8
    config = toy_config(files, num_epochs=1)
    file = tmp_path / "on.yaml"
    content = config.model_dump(mode="json", exclude={"planner"})
    file.write_text(yaml.safe_dump(content))
    orchestai("train", file, "--from", workdir, "--workdir", tmp_path / "on")
    saved = open_checkpoint(tmp_path / "on").metadata
    assert saved["encoder"]["kind"] == "ternary"


def test_the_command_distils(content, tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(content(num_steps=2, evaluate_every_steps=1, warmup_steps=0)))
    result = CliRunner().invoke(build_app(), ["train", str(file), "--workdir", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert json.loads(result.stdout)["steps"] == 2
    assert (tmp_path / "run" / ENCODER_FOLDER / "model.safetensors").exists()


def test_texts_are_read_once_and_those_held_out_are_not_trained_on(files, content):
    config = DistillationDataConfig.model_validate(content()["data"])
    train, held_out = load_texts(config)
    samples = load_samples(files / "train.jsonl", "planning")
    _, out = split_by_hash(samples, 0.1)
    assert {s.instruction for s in out} <= set(held_out)
    assert not set(train) & set(held_out)
    assert len(set(train)) == len(train)
    lines = {text for text in (*train, *held_out) if text.endswith("twice")}
    assert len(lines) == 40
    assert 0 < sum(text.endswith("twice") for text in held_out) < 15
    assert any("soften a file" in text for text in train)  # a description
    left_out = content()["data"]
    left_out["sources"][0] |= {"leave_out": 0.5, "salt": "x"}
    fewer = load_texts(DistillationDataConfig.model_validate(left_out))
    kept, test = split_by_hash(samples, 0.5, salt="x")
    gone = {s.instruction for s in test} - {s.instruction for s in kept}
    assert gone
    assert not gone & {text for part in fewer for text in part}


def test_rows_that_fill_a_batch_up_have_no_tokens():
    texts = TokenizedTexts(["a b", "a", "a b a b a b"], train_tokenizer(["a b"], 40), 16)
    (ids, mask), (_, last) = texts.in_order(2, None)
    assert ids.shape == mask.shape == (2, 16)
    assert mask.sum(1).tolist() == sorted(texts.lengths)[:2]
    assert last.sum(1).tolist() == [max(texts.lengths), 0]
    assert len(texts.in_order(1, 2)) == 2


def test_files_that_are_refused(content, tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"say": "x"}\n{"sy": "x"}\n')
    (tmp_path / "torn.jsonl").write_text('{"say": "x"\n')
    for source, message in (
        ({"path": str(tmp_path / "broken.jsonl"), "format": "lines", "key": "say"}, "broken.jsonl:2: no text under"),
        ({"path": str(tmp_path / "torn.jsonl"), "format": "lines", "key": "say"}, "torn.jsonl:1: not JSON"),
        ({"path": str(tmp_path / "none.jsonl"), "format": "lines", "key": "say"}, "none.jsonl: cannot be read"),
        (content()["data"]["sources"][1], "no validation texts in 1 files"),
    ):
        with pytest.raises(ValueError, match=message):
            load_texts(DistillationDataConfig.model_validate({"sources": [source]}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "distillation"}, "kind: got 'distillation'; language_model, encoder_distillation, or no kind"),
        ({"data": {"sources": []}}, "data.sources"),
        ({"data": {"sources": [{"path": "x", "format": "lines"}]}}, "key is for the format lines"),
        ({"data": {"sources": [{"path": "x", "key": "k"}]}}, "key is for the format lines"),
        ({"data": {"sources": [{"path": "x", "format": "catalog", "leave_out": 0.5}]}}, "leave_out is for samples"),
        ({"training": {"hidden_loss_weight": 0, "final_loss_weight": 0, "pooled_loss_weight": 0}}, "a value above 0"),
        ({"encoder": {"teacer": "x"}}, "unknown key .did you mean teacher"),
    ],
)
def test_configurations_that_are_refused(content, change, message):
    with pytest.raises(ConfigError, match=message):
        parse_run_config(yaml.safe_dump({**content(), **change}))


def test_what_cannot_be_started_is_refused(content, config, distilled, planner_run, tmp_path):
    with pytest.raises(CheckpointError, match="a checkpoint of planner, not of an encoder's distillation"):
        distill_encoder(config(initialize_from=str(planner_run[0])), tmp_path / "no", monitor=SilentMonitor())
    other = content(initialize_from=str(distilled[0]))
    other["encoder"]["sub_norms"] = False
    with pytest.raises(CheckpointError, match=r"attention_sub_norm\.weight has shape \(16,\) there and None"):
        distill_encoder(parse_run_config(yaml.safe_dump(other)), tmp_path / "no", monitor=SilentMonitor())
    other = content()
    other["encoder"]["teacher"] = str(distilled[0] / ENCODER_FOLDER)
    with pytest.raises(ValueError, match="a BERT encoder is wanted"):
        distill_encoder(parse_run_config(yaml.safe_dump(other)), tmp_path / "no", monitor=SilentMonitor())
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_loss_weight": 0.0},
        {"final_loss_weight": 5.0},
        {"pooled_loss_weight": 9.0},
        {"quantization_warmup_steps": 0},
        {"ema_decay": 0.5},
    ],
)
@pytest.mark.slow
def test_fields_of_the_configuration_act(config, distilled, tmp_path, change):
    short = {"num_steps": 20, "evaluate_every_steps": 20, "final_learning_rate": 0.01, "schedule": "constant"}
    for name, more in (("plain", {}), ("changed", change)):
        distill_encoder(config(**short, **more), tmp_path / name, monitor=SilentMonitor())
    plain, changed = (open_checkpoint(tmp_path / n).released_parameters()["trainable"] for n in ("plain", "changed"))
    assert not np.allclose(plain["layers.0.up.weight"], changed["layers.0.up.weight"], atol=1e-6)
