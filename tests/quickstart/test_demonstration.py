"""The whole quickstart with a planner that knows the answers: everything but the training is real."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from orchestai_jax.data import load_samples
from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.quickstart import QuickstartSettings, RequestsError, demonstration, parse_requests, run_quickstart
from orchestai_jax.quickstart.held_out_runs import exhibit, pick_shown
from orchestai_jax.workflow import Reference, Task, Workflow, load_catalog, read_records

REQUESTS = [
    {"text": "Make logo.png black and white, then shrink it to 64 pixels wide, quickly.",
     "tasks": ["grayscale_image", "resize_image"], "edges": [[0, 1]], "preference": "fast"},
    {"text": "How long is bells.wav?", "tasks": ["audio_info"]},
    {"text": "Count the words of recipe.txt and find the contacts in contacts.txt.",
     "tasks": ["text_statistics", "extract_contacts"]},
    {"text": "Blur missing_file.png", "tasks": ["blur_image"]},
]  # fmt: skip


@dataclasses.dataclass
class Trained:
    best_step: int = 4
    best_metrics: dict = dataclasses.field(default_factory=lambda: {"node_f1": 0.5})
    steps: int = 6
    stopped_early: bool = False


class KnowingPlanner:
    """Plans what the files of the quickstart say is right, always with the first worker."""

    def __init__(self, folder):
        data = folder.parent / "data"
        self.catalog = load_catalog(data / "catalog.yaml")
        names = ("requests.jsonl", "held_out_templates.jsonl")
        self._gold = {s.instruction: s for n in names for s in load_samples(data / n, "planning", self.catalog)}

    def graph(self, text, task_types, catalog=None):
        return self._gold[text].dependencies

    def plan(self, text, catalog=None, preference=None):
        gold = self._gold[text]
        filled = fill_arguments(text, gold.task_types, set(gold.dependencies), self.catalog)
        tasks = []
        for place, task_type in enumerate(gold.task_types):
            arguments = filled.arguments[place]
            sources = {a.task for a in arguments.values() if isinstance(a, Reference)}
            sources |= {f"t{s + 1}" for s, t in gold.dependencies if t == place}
            worker = self.catalog.workers_for(task_type)[0].id
            tasks.append(
                Task(id=f"t{place + 1}", task_type=task_type, worker=worker, arguments=arguments,
                     depends_on=tuple(sorted(sources)))
            )  # fmt: skip
        return Workflow(instruction=text, tasks=tuple(tasks), confidence=0.9)

    def plan_many(self, texts, catalog=None, preference=None):
        return [self.plan(text) for text in texts]


@pytest.fixture(scope="module")
def ran(tmp_path_factory, outcomes):
    patch = pytest.MonkeyPatch()
    measured, trainings = [], []

    def measure(catalog, workers, root, **how):
        measured.append(how["cache"].name)
        return outcomes

    def train(config, folder, resume):
        trainings.append((config, resume))
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text("begun", encoding="utf-8")
        line = {
            "step": 1,
            "epoch": 1,
            "split": "train",
            "values": {"decision_loss": 2.0},
            "learning_rate": 0.1,
            "wall_s": 1,
        }
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
        return Trained()

    patch.setattr(demonstration, "measure_workers", measure)
    patch.setattr(demonstration, "load_requests", lambda c, o, name: parse_requests(REQUESTS, c, o))
    workdir = tmp_path_factory.mktemp("quickstart") / "new" / "folder"
    output = io.StringIO()
    arguments = {
        "seed": 5,
        "epochs": 2,
        "settings": QuickstartSettings(train=24, validation=6, held_out=8),
        "console": Console(file=output, width=200),
        "train_planner": train,
        "load_planner": KnowingPlanner,
    }
    result = run_quickstart(workdir, **arguments)
    again = run_quickstart(workdir, **arguments)
    patch.undo()
    return result, again, trainings, output.getvalue()


def test_everything_is_left_where_it_is_said_to_be(ran):
    result = ran[0]
    for name in (
        "files/photo.png",
        "records.jsonl",
        "data/train.jsonl",
        "data/catalog.yaml",
        "results.json",
        "report.html",
    ):
        assert (result.workdir / name).is_file(), name
    latest = ran[1].results
    assert json.loads((result.workdir / "results.json").read_text(encoding="utf-8")) == latest
    assert result.report == result.workdir / "report.html"


def test_figures_are_those_of_a_planner_that_is_always_right(ran):
    metrics = ran[0].results["metrics"]
    for name in ("requests", "held_out_templates"):
        assert metrics[name]["plan"]["node_f1"] == 1.0
        assert metrics[name]["edges"]["link_f1"] == 1.0
    choice = metrics["requests"]["worker_choice"]
    assert choice["tasks"] == 2  # resizing and blurring
    assert choice["planner"]["accuracy"] == 0.5  # the first worker is best when it must be fast
    assert metrics["requests"]["edges"]["chain"]["link_f1"] < 1.0


def test_runs_are_counted_by_what_became_of_them(ran):
    execution = ran[0].results["execution"]
    assert [run["status"] for run in execution["runs"]] == ["succeeded", "succeeded", "succeeded", "refused"]
    assert execution["success_rate"] == 0.75
    assert "missing_file.png" in execution["runs"][3]["error"]
    records, problems = read_records(ran[0].workdir / "records.jsonl")
    assert not problems
    assert len(records) == 6  # two runs of three; what was refused never ran
    assert (ran[0].workdir / "files" / "outputs" / "001").is_dir()


def test_one_request_is_shown_for_each_kind_of_data(ran):
    shown = ran[0].results["shown"]
    assert [run["instruction"] for run in shown] == [REQUESTS[i]["text"] for i in (0, 1, 2)]
    assert shown[0]["outputs"][-1]["kind"] == "picture"
    assert shown[0]["inputs"][0]["title"] == "logo.png"
    assert shown[0]["svg"].startswith("<svg")
    assert "ms" in shown[0]["svg"]


def test_the_training_is_told_data_seed_and_epochs_and_is_gone_on_with(ran):
    result, again, trainings, _ = ran
    (config, resumed), (same, resumed_again) = trainings
    assert config == same
    assert (resumed, resumed_again) == (False, True)
    assert config.seed == 5
    assert config.training.phase1_supervised.num_epochs == 2
    assert config.data.train == str(result.workdir / "data" / "train.jsonl")
    assert config.data.format == "planning"
    assert again.results["metrics"] != {}


def test_progress_is_told_all_along(ran):
    text = ran[3]
    for number in range(1, 8):
        assert f"{number}/7 " in text
    assert "node F1 1.000" in text
    assert "3 of 4 ran to their end" in text
    assert "report.html" in text


def test_without_the_pretrained_encoder_a_smaller_one_is_trained_and_that_is_said(tmp_path, monkeypatch):
    from orchestai_jax.planner import pretrained

    def nowhere(name, allow_download=True):
        assert not allow_download  # the quickstart needs no network
        raise pretrained.EncoderNotFoundError("not here")

    monkeypatch.setattr(pretrained, "find_pretrained", nowhere)
    config, encoder = demonstration._planner_config(tmp_path, 0, None)
    assert config.planner.encoder.weights == "none"
    assert config.planner.encoder.hidden_size % config.planner.encoder.num_heads == 0
    assert encoder["pretrained"] is False
    assert "trained from scratch" in encoder["note"]


def test_an_unknown_set_of_requests_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(RequestsError, match="requests is 'other'; allowed: held-out, development"):
        run_quickstart(tmp_path / "w", requests_name="other")
    assert list(tmp_path.iterdir()) == []


def test_shown_are_the_longest_of_each_kind_and_the_first_among_equals(catalog, outcomes):
    texts = [["crop_image"], ["crop_image", "blur_image"], ["blur_image", "crop_image"], ["sort_table"]]
    requests = [{"text": f"{i}", "tasks": tasks} for i, tasks in enumerate(texts)]
    assert pick_shown(parse_requests(requests, catalog, outcomes), catalog) == [1, 3]


def test_exhibits_show_what_they_are(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 30, encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n{"y": 2}\n', encoding="utf-8")
    (tmp_path / "a.txt").write_text("word " * 1000, encoding="utf-8")
    (tmp_path / "a.html").write_text("<p>", encoding="utf-8")
    table = exhibit("t", "a.csv", tmp_path)
    assert table["kind"] == "table"
    assert len(table["content"]) == 7
    assert exhibit("t", "a.jsonl", tmp_path)["content"] == [["x", "y"], ["1", ""], ["", "2"]]
    assert len(exhibit("t", "a.txt", tmp_path)["content"]) < 1000
    assert exhibit("t", "a.html", tmp_path)["kind"] == "file"
    assert exhibit("t", {"a": 1}, tmp_path)["content"] == '{\n "a": 1\n}'
    assert exhibit("t", "no file at all", tmp_path)["kind"] == "text"
