"""The closed circle's parts, and a small turn of the whole of it."""

import asyncio
import json
import pathlib

import closed_circle
import numpy as np
import pytest
from _goals import GoalCheck, intended_plan, provide_files, runnable

from orchestai_jax.config import Preference
from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation import PredictedPlan, score_plans
from orchestai_jax.execution import execute
from orchestai_jax.quickstart import load_embedded_catalog, write_sample_files
from orchestai_jax.workers import local_workers
from orchestai_jax.workflow import RunRecord, Task, TaskRun, Value, Workflow

CATALOG = load_embedded_catalog()
GRAY = PlanningSample("1", "make holiday.jpeg black and white", ("grayscale_image",))
TWO = PlanningSample(
    "2", "shrink photo.png to 64 pixels and make it black and white", ("resize_image", "grayscale_image"), ((0, 1),)
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_sample_files(folder)
    return folder


@pytest.fixture(scope="module")
def check(files):
    return GoalCheck({s.instruction: s for s in (GRAY, TWO)}, CATALOG, local_workers(CATALOG), files)


def carried_out(plan, root):
    folder = root / "outputs" / "candidate"
    return asyncio.run(execute(plan, CATALOG, local_workers(CATALOG), root=root, output_folder=folder))


def test_files_that_are_named_are_provided_in_their_format(files):
    assert provide_files(intended_plan(GRAY, CATALOG), CATALOG, files)
    assert (files / "holiday.jpeg").read_bytes().startswith(b"\xff\xd8\xff")
    for name, start in (("loud.flac", b"fLaC"), ("bills.parquet", b"PAR1")):
        task_type, port = ("audio_info", "audio") if name.endswith("flac") else ("describe_table", "table")
        task = Task(id="t1", task_type=task_type, arguments={port: Value(value=name)})
        assert provide_files(Workflow(tasks=(task,)), CATALOG, files)
        assert (files / name).read_bytes().startswith(start)
    for name in ("../out.png", "noending", "x.docx"):
        task = Task(id="t1", task_type="grayscale_image", arguments={"image": Value(value=name)})
        assert not provide_files(Workflow(tasks=(task,)), CATALOG, files)
    # Of several tables the one whose columns the instruction names.
    task = Task(id="t1", task_type="sort_table", arguments={"table": Value(value="stuff.csv")})
    provide_files(Workflow(instruction="sort stuff.csv by wind, then temperature", tasks=(task,)), CATALOG, files)
    assert (files / "stuff.csv").read_text().startswith("date,temperature,")
    assert len(runnable([GRAY, TWO], GoalCheck({}, CATALOG, local_workers(CATALOG), files))) == 2


def test_a_run_is_accepted_for_its_results_alone(check, files):
    right = intended_plan(TWO, CATALOG)
    assert check(carried_out(right, files)) == 1.0
    # The same with another worker: the goal is what that worker makes of it.
    others = [w.id for w in CATALOG.workers_for("resize_image") if w.id != right.tasks[0].worker]
    swapped = right.model_copy(
        update={"tasks": (right.tasks[0].model_copy(update={"worker": others[0]}), right.tasks[1])}
    )
    assert check(carried_out(swapped, files)) == 1.0
    # Half of it, and something else, are not what was asked for.
    assert check(carried_out(right.model_copy(update={"tasks": right.tasks[:1]}), files)) == 0.0
    blurred = intended_plan(PlanningSample("3", TWO.instruction, ("blur_image",)), CATALOG)
    assert check(carried_out(blurred, files)) == 0.0
    # Where the intended plan itself does not run, nothing is said.
    lost = PlanningSample("4", "make nowhere.png gray", ("grayscale_image",))
    other = GoalCheck({TWO.instruction: lost}, CATALOG, local_workers(CATALOG), files)
    assert other(carried_out(right, files)) is None


def record(number, *runs, accepted=None, instruction="go"):
    tasks = tuple(Task(id=f"t{i}", task_type=run.task_type, worker=run.worker) for i, run in enumerate(runs))
    named = tuple(run.model_copy(update={"task": f"t{i}"}) for i, run in enumerate(runs))
    status = "succeeded" if all(run.status == "succeeded" for run in runs) else "partial"
    workflow = Workflow(instruction=instruction, tasks=tasks)
    return RunRecord(
        run_id=f"r{number}",
        instruction=instruction,
        workflow=workflow,
        tasks=named,
        status=status,
        accepted=accepted,
        duration_s=1,
    )


def did(worker, seconds=1.0, quality=None, status="succeeded", cost=0.0):
    task_type = worker.rpartition("_")[0]
    return TaskRun(
        task="t", task_type=task_type, worker=worker, status=status, duration_s=seconds, quality=quality, cost=cost
    )


def test_workers_are_labelled_by_what_runs_measured():
    records = [
        record(0, did("resize_image_nearest", 0.1, 0.9), did("resize_image_lanczos", 5.0, 0.2)),
        record(1, did("resize_image_nearest", 0.3, 0.7), did("resize_image_lanczos", status="failed", seconds=7.0)),
    ]
    figures = closed_circle.figures_of(records, CATALOG)
    nearest, bilinear, lanczos = figures.of("resize_image")
    assert (nearest.quality, nearest.seconds, nearest.tasks) == (pytest.approx(0.8), pytest.approx(0.2), 2)
    assert (lanczos.quality, lanczos.success_rate) == (pytest.approx(0.2), 0.5)
    spec = CATALOG.worker("resize_image_bilinear")
    assert (bilinear.quality, bilinear.seconds, bilinear.tasks) == (spec.quality, spec.latency, 0)
    sample = PlanningSample("1", "x", ("resize_image",), preference=Preference.PRESETS["quality"].weights)
    [before] = closed_circle.label([sample], closed_circle.declared(CATALOG))
    assert before.workers == ("resize_image_lanczos",)
    [after] = closed_circle.label([sample], figures)
    assert after.workers == (max(figures.of("resize_image"), key=lambda f: f.quality).worker,)
    assert after.workers != before.workers


def test_lessons_are_the_accepted_runs_or_with_verdicts_hidden_the_first_that_went_through(tmp_path):
    records = [
        record(0, did("resize_image_nearest"), accepted=0.0),
        record(1, did("blur_image_box"), accepted=1.0),
        record(2, did("blur_image_box", status="failed"), accepted=0.0, instruction="other"),
    ]
    judged = closed_circle.lessons(records, tmp_path / "a.jsonl", judged=True)
    assert [sample.task_types for sample in judged] == [("blur_image",)]
    hidden = closed_circle.lessons(records, tmp_path / "b.jsonl", judged=False)
    assert [sample.task_types for sample in hidden] == [("resize_image",)]


def test_what_was_got_right_is_not_run_again():
    pool = [PlanningSample(str(i), f"go {i}", ("blur_image",)) for i in range(3)]
    records = [
        record(0, did("blur_image_box"), accepted=0.0, instruction="go 0"),
        record(1, did("blur_image_box"), accepted=1.0, instruction="go 1"),
    ]
    assert [sample.id for sample in closed_circle.open_goals(pool, records)] == ["0", "2"]


def test_differences_are_paired():
    samples = [PlanningSample(str(i), "x", ("a", "b")) for i in range(40)]
    wrong, right = PredictedPlan(("a", "c")), PredictedPlan(("a", "b"))
    before = score_plans(samples, [right] * 20 + [wrong] * 20)
    after = score_plans(samples, [right] * 30 + [wrong] * 10)
    found = closed_circle.differences(before, after)
    assert found["accuracy"]["mean"] == 0.25
    assert found["node_f1"]["mean"] == pytest.approx(0.125)
    low, high = found["accuracy"]["interval"]
    draws = np.random.default_rng(7).binomial(40, 0.25, 20_000) / 40  # what resampling 10 ones among 40 comes to
    np.testing.assert_allclose([low, high], np.quantile(draws, [0.025, 0.975]), atol=0.026)
    assert found["accuracy"]["beyond"]
    assert not closed_circle.differences(before, before)["node_f1"]["beyond"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_small_circle_closes(tmp_path):
    """Everything for real, with an encoder that is too small to learn much: it runs, resumes and tells what it did."""
    encoder = {"weights": "none", "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 32}
    overrides = [f"planner.encoder.{name}={value}" for name, value in encoder.items()]
    overrides += ["planner.encoder.trainable_layers=null", "planner.decomposer.num_heads=2", "system.progress=none"]
    out = tmp_path / "result.json"
    arguments = ["--quick", "--workdir", str(tmp_path / "w"), "--out", str(out), *overrides]
    result = closed_circle.main(arguments)
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    first, second = result["rounds"]
    for turn in (first, second):
        assert turn["runs"] == turn["succeeded"] + turn["partial"] + turn["failed"] == turn["judged"]
    assert result["runs"] == first["runs"] + second["runs"] > 20
    assert first["instructions"] == result["instructions"]["pool"]
    assert second["instructions"] <= first["instructions"]
    assert set(result["scores"]) == {"before", "round-1", "after", "unjudged"}
    assert result["arms"]["unjudged"]["lessons"] > result["arms"]["after"]["lessons"]
    again = closed_circle.main(arguments)
    assert again["runs"] == result["runs"]
    assert [turn["runs"] for turn in again["rounds"]] == [0, 0]
    assert again["scores"] == result["scores"]
    assert str(pathlib.Path(tmp_path)) not in json.dumps(result["settings"])
