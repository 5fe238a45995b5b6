"""Collection: what is run, recorded, measured, judged, passed over and refused."""

import asyncio
import json

import numpy as np
import pytest

from orchestai_jax.config import Preference
from orchestai_jax.data import learnable_runs, load_samples
from orchestai_jax.execution import CollectionSettings, HybridPolicy, RunPolicies, WorkerPolicy, collect
from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workers import Output, WorkerError, local_workers
from orchestai_jax.workflow import Reference, Task, Value, Workflow, read_records

CATALOG = load_embedded_catalog()
TEXT = "Trains run at night. Night trains are quiet. Quiet trains run late. Nothing else is said of trains here.\n" * 3


def tasks(file="notes.txt", second="extract_keywords"):
    """A summary, and something done with it."""
    return (
        Task(
            id="t1",
            task_type="summarize_text",
            worker="summarize_text_lead",
            arguments={"text": Value(value=file), "sentences": Value(value=2)},
        ),
        Task(
            id="t2",
            task_type=second,
            worker={"extract_keywords": "extract_keywords_frequency", "text_statistics": "text_statistics_counter"}[
                second
            ],
            arguments={"text": Reference(task="t1", output="text")},
            depends_on=("t1",),
        ),
    )


def workflow(text, *steps):
    return Workflow(instruction=text, tasks=steps or tasks(), confidence=0.5)


class OnePlan:
    def __init__(self, make=workflow):
        self.make = make
        self.asked = []

    def plan(self, text, catalog=None, preference=None):
        self.asked.append(text)
        return self.make(text)


class ManyPlans(OnePlan):
    """Its own plan, the same again, and two others."""

    def candidates(self, text, n=4, catalog=None, preference=None):
        others = [self.make(text), workflow(text, *tasks(second="text_statistics")), workflow(text, tasks()[0])]
        return others[:n]


@pytest.fixture
def gather(tmp_path):
    (tmp_path / "notes.txt").write_text(TEXT)

    def run(instructions, planner=None, workers=None, **options):
        return asyncio.run(
            collect(
                instructions,
                planner or OnePlan(),
                CATALOG,
                workers or local_workers(CATALOG),
                root=tmp_path,
                records=tmp_path / "r.jsonl",
                **options,
            )
        )

    return run


def recorded(folder):
    return read_records(folder / "r.jsonl")[0]


def test_a_worker_that_hangs_holds_a_collection_no_longer_than_its_policies_say(gather, tmp_path):
    class Hangs:
        spec = CATALOG.worker("summarize_text_lead")

        async def run(self, task_type, arguments, context):
            await asyncio.Event().wait()

    policies = RunPolicies(default=WorkerPolicy(timeout_s=0.1), fallback_workers=0)
    workers = {**local_workers(CATALOG), "summarize_text_lead": Hangs()}
    summary = gather(["Shorten notes.txt", "Another"], workers=workers, policies=policies)
    assert summary.failed == 2
    assert "0.1 s" in str(recorded(tmp_path)[0].tasks[0].error)


def test_every_instruction_is_run_measured_and_recorded(gather, tmp_path):
    told = []
    summary = gather(
        ["Shorten notes.txt", "shorten  NOTES.txt", "Another"],
        preference=Preference.PRESETS["fast"],
        planner_info={"name": "paper"},
        on_run=told.append,
    )
    assert (summary.instructions, summary.runs, summary.succeeded, summary.refused) == (2, 2, 2, 0)
    assert json.loads(json.dumps(summary.as_dict()))["runs"] == 2
    first, second = recorded(tmp_path)
    assert [first.instruction, second.instruction] == ["Shorten notes.txt", "Another"]
    assert first.planner == {"name": "paper", "confidence": 0.5, "candidate": 0}
    assert first.preference == Preference.PRESETS["fast"].weights
    assert 0 < first.tasks[0].quality < 1  # the summary's, against the text
    assert first.tasks[1].quality is None  # nobody wrote down the keywords of a summary
    assert first.accepted is None
    assert [entry.record for entry in told] == [first, second]
    assert list((tmp_path / "outputs").iterdir()) == []
    # The circle's next station reads them.
    samples = learnable_runs(load_samples(tmp_path / "r.jsonl", "records"))
    assert [sample.task_types for sample in samples] == [("summarize_text", "extract_keywords")] * 2
    assert samples[0].rewards["quality"] == first.tasks[0].quality


def test_what_is_recorded_is_not_run_again(gather, tmp_path):
    gather(["one", "two"])
    planner = OnePlan()
    summary = gather(["ONE", "three", "two"], planner)
    assert planner.asked == ["three"]
    assert (summary.instructions, summary.already_recorded, summary.runs) == (3, 2, 1)
    assert [record.instruction for record in recorded(tmp_path)] == ["one", "two", "three"]
    more = gather(["one"], ManyPlans(), settings=CollectionSettings(candidates=2))
    assert (more.already_recorded, more.runs) == (1, 1)
    assert recorded(tmp_path)[-1].planner["candidate"] == 1


def test_several_different_plans_are_tried(gather, tmp_path):
    summary = gather(["one"], ManyPlans(), settings=CollectionSettings(candidates=3))
    assert summary.runs == 3
    kinds = [[task.task_type for task in record.workflow.tasks] for record in recorded(tmp_path)]
    assert kinds == [["summarize_text", "extract_keywords"], ["summarize_text", "text_statistics"], ["summarize_text"]]
    assert [record.planner["candidate"] for record in recorded(tmp_path)] == [0, 1, 2]
    with pytest.raises(ValueError, match="candidates is 2, but this planner gives one plan"):
        gather(["two"], OnePlan(), settings=CollectionSettings(candidates=2))


def test_other_workers_are_drawn_the_same_way_again(gather, tmp_path):
    texts = [f"number {i}" for i in range(8)]
    settings = CollectionSettings(explore_workers=0.5, seed=1)
    gather(texts, settings=settings)
    first = [[run.worker for run in record.tasks] for record in recorded(tmp_path)]
    summaries = {workers[0] for workers in first}
    assert summaries > {"summarize_text_lead"}
    assert summaries <= {w.id for w in CATALOG.workers_for("summarize_text")}
    (tmp_path / "r.jsonl").unlink()
    gather(texts, settings=settings)
    assert [[run.worker for run in record.tasks] for record in recorded(tmp_path)] == first
    (tmp_path / "r.jsonl").unlink()
    gather(texts, settings=CollectionSettings(explore_workers=0.5, seed=2))
    assert [[run.worker for run in record.tasks] for record in recorded(tmp_path)] != first


def test_what_cannot_run_is_refused_counted_and_not_recorded(gather, tmp_path):
    def make(text):
        return workflow(text, *tasks(file="none.txt")) if text != "fine" else workflow(text)

    told = []
    summary = gather(["bad", "fine", "worse"], OnePlan(make), on_run=told.append)
    assert (summary.refused, summary.succeeded) == (2, 1)
    [(reason, times)] = summary.refusals.items()
    assert times == 2
    assert "none.txt" in reason
    assert [entry.refused is None for entry in told] == [False, True, False]
    assert len(recorded(tmp_path)) == 1


def test_failed_runs_are_recorded_and_teach_nothing(gather, tmp_path):
    class Broken:
        spec = CATALOG.worker("text_statistics_counter")

        async def run(self, task_type, arguments, context):
            raise WorkerError("it broke")

    workers = {**local_workers(CATALOG), "text_statistics_counter": Broken()}
    planner = OnePlan(lambda text: workflow(text, *tasks(second="text_statistics")))
    summary = gather(["one"], planner, workers)
    assert (summary.succeeded, summary.partial, summary.failed) == (0, 1, 0)
    assert learnable_runs(load_samples(tmp_path / "r.jsonl", "records")) == []


def test_a_judge_sees_the_outputs_and_is_believed(gather, tmp_path):
    seen = []

    def judge(record):
        path = tmp_path / record.tasks[0].outputs["text"]
        seen.append(path.read_text())
        return {"good": 1.0, "bad": 0.0, "unclear": None}[record.instruction]

    summary = gather(["good", "bad", "unclear"], judge=judge)
    assert (summary.judged, summary.accepted) == (2, 1)
    assert all(text.startswith("Trains run at night.") for text in seen)
    assert [record.accepted for record in recorded(tmp_path)] == [1.0, 0.0, None]
    kept = learnable_runs(load_samples(tmp_path / "r.jsonl", "records"))
    assert [sample.instruction for sample in kept] == ["good", "unclear"]


def test_no_further_plan_is_run_once_one_is_accepted(gather, tmp_path):
    def judge(record):
        return float(record.planner["candidate"] == 1)

    settings = CollectionSettings(candidates=3, until_accepted=True)
    assert gather(["one"], ManyPlans(), settings=settings, judge=judge).runs == 2
    assert [record.accepted for record in recorded(tmp_path)] == [0.0, 1.0]
    again = gather(["one"], ManyPlans(), settings=settings, judge=judge)
    assert (again.runs, again.already_recorded) == (0, 2)
    assert gather(["one"], ManyPlans(), settings=CollectionSettings(candidates=3), judge=judge).runs == 1


def test_outputs_are_kept_when_asked_for(gather, tmp_path):
    gather(["one"], settings=CollectionSettings(keep_outputs=True))
    [record] = recorded(tmp_path)
    assert (tmp_path / "outputs" / record.run_id).is_dir()
    assert (tmp_path / record.tasks[0].outputs["text"]).is_file()


def test_a_doubtful_plan_is_noted_in_its_record(gather, tmp_path):
    gather(["one"], hybrid=HybridPolicy(threshold=0.9))
    [record] = recorded(tmp_path)
    assert record.planner["hybrid"]["reason"] == "the learned plan's confidence 0.50 is under 0.9"


def test_a_run_that_is_stopped_is_run_again(gather, tmp_path):
    class Stuck:
        spec = CATALOG.worker("extract_keywords_frequency")

        async def run(self, task_type, arguments, context):
            asyncio.get_running_loop().call_soon(lambda: collecting.cancel())
            await asyncio.Event().wait()
            return Output({})

    collecting: asyncio.Task

    async def stopped():
        nonlocal collecting
        workers = {**local_workers(CATALOG), "extract_keywords_frequency": Stuck()}
        running = collect(["one"], OnePlan(), CATALOG, workers, root=tmp_path, records=tmp_path / "r.jsonl")
        collecting = asyncio.create_task(running)
        await collecting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())
    assert not (tmp_path / "r.jsonl").exists()
    assert gather(["one"]).succeeded == 1


def test_plans_that_differ_in_an_argument_or_in_what_feeds_what_are_different(gather, tmp_path):
    def with_sentences(n):
        first, second = tasks()
        return (first.model_copy(update={"arguments": {**first.arguments, "sentences": Value(value=n)}}), second)

    def fed(source):
        whole = [tasks()[0].model_copy(update={"id": name}) for name in ("a", "b")]
        whole[1] = whole[1].model_copy(update={"arguments": {**whole[1].arguments, "sentences": Value(value=1)}})
        last = tasks()[1]
        return (*whole, last.model_copy(update={"arguments": {"text": Reference(task=source, output="text")},
                                                "depends_on": (source,)}))  # fmt: skip

    renamed = tuple(t.model_copy(update={"id": {"a": "x", "b": "y"}.get(t.id, t.id)}) for t in fed("a")[:2])

    class Planner(OnePlan):
        def candidates(self, text, n=4, catalog=None, preference=None):
            plans = [tasks(), with_sentences(1), fed("a"), fed("b"), (*reversed(renamed), fed("a")[2].model_copy(
                update={"arguments": {"text": Reference(task="x", output="text")}, "depends_on": ("x",)}))]  # fmt: skip
            return [workflow(text, *plan) for plan in plans][:n]

    summary = gather(["x"], Planner(), settings=CollectionSettings(candidates=9))
    assert summary.runs == 4  # the last is fed("a") under other names
    assert [r.planner["candidate"] for r in recorded(tmp_path)] == [0, 1, 2, 3]


def broken(*arguments):
    raise ZeroDivisionError("no words")


def test_a_measure_that_breaks_costs_no_record(gather, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("orchestai_jax.execution.collection.measure_quality", broken)
    summary = gather(["one", "two"], judge=lambda record: 1.0)
    assert (summary.runs, summary.judged) == (2, 2)
    assert [r.status for r in recorded(tmp_path)] == ["succeeded"] * 2
    assert "ZeroDivisionError: no words" in caplog.text


@pytest.mark.parametrize(
    ("judge", "cause"),
    [
        (broken, "ZeroDivisionError: no words"),
        (lambda record: 1.5, "the verdict is 1.5; a number from 0 to 1"),
        (lambda record: -0.1, "the verdict is -0.1"),
        (lambda record: float("nan"), "the verdict is nan"),
        (lambda record: "yes", "the verdict is 'yes'"),
    ],
)
def test_a_judge_that_gives_no_verdict_costs_that_records_lesson_and_nothing_else(
    gather, tmp_path, caplog, judge, cause
):
    summary = gather(["one", "two"], judge=lambda r: judge(r) if r.instruction == "one" else np.float32(1.0))
    assert (summary.runs, summary.judged, summary.accepted) == (2, 1, 1)
    assert [(c.startswith(cause), n) for c, n in summary.judge_errors.items()] == [(True, 1)]
    first, second = recorded(tmp_path)
    assert (first.status, first.accepted) == ("succeeded", None)
    assert first.judge_error is not None
    assert first.judge_error.startswith(cause)
    assert (second.accepted, second.judge_error) == (1.0, None)
    assert cause in caplog.text
    [lesson] = learnable_runs(load_samples(tmp_path / "r.jsonl", "records"))
    assert lesson.instruction == "two"
