import pytest

from orchestai_jax.config import Preference
from orchestai_jax.quickstart import (
    OutcomesError,
    WorkerFigures,
    WorkerOutcomes,
    best_worker,
    cheapest_worker,
    highest_quality_worker,
    measure_workers,
    utilities,
    with_measured_figures,
)
from orchestai_jax.quickstart.measured_tasks import CHOICES, MEASURED_TASKS, SINGLES
from orchestai_jax.quickstart.sample_files import SAMPLE_TYPES
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import Catalog, Port, TaskType, WorkerSpec, read_records, training_example

CATALOG = Catalog(
    task_types=(
        TaskType(
            id="detect_language",
            inputs=(Port(name="text", type="text"),),
            outputs=(Port(name="language", type="text"),),
        ),
    ),
    workers=(
        WorkerSpec(id="right", task_types=("detect_language",), cost=9.0),
        WorkerSpec(id="wrong", task_types=("detect_language",)),
        WorkerSpec(id="broken", task_types=("detect_language",)),
    ),
)
TASKS = {"detect_language": ({"text": "a.de.txt"}, {"text": "b.fr.txt"})}


class FakeWorker:
    def __init__(self, spec, answers, cost):
        self.spec, self._answers, self._cost, self.calls = spec, answers, cost, 0

    async def run(self, task_type, arguments, context):
        self.calls += 1
        if self._answers is None:
            raise WorkerError("it is out of order")
        return Output({"language": self._answers[arguments["text"]]}, cost=self._cost)


@pytest.fixture
def workers(tmp_path):
    for name in ("a.de.txt", "b.fr.txt"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    answers = {
        "right": {"a.de.txt": "German", "b.fr.txt": "French"},
        "wrong": {"a.de.txt": "German", "b.fr.txt": "German"},
        "broken": None,
    }
    costs = {"right": 2e-6, "wrong": 1e-6, "broken": 0.0}
    return {spec.id: FakeWorker(spec, answers[spec.id], costs[spec.id]) for spec in CATALOG.workers}


def figures(worker, quality, seconds, cost, task_type="t"):
    return WorkerFigures(task_type, worker, quality, seconds, cost, 1.0, 1, True)


def test_measured_are_quality_cost_and_failures(tmp_path, workers):
    outcomes = measure_workers(CATALOG, workers, tmp_path, tasks=TASKS)
    by_worker = {f.worker: f for f in outcomes.of("detect_language")}
    assert list(by_worker) == ["right", "wrong", "broken"]
    assert by_worker["right"].quality == 1.0
    assert by_worker["wrong"].quality == 0.5
    assert by_worker["broken"].quality == 0.0
    assert by_worker["broken"].success_rate == 0.0
    assert by_worker["right"].cost == pytest.approx(2e-6)
    assert by_worker["right"].tasks == 2
    assert outcomes.choices == ("detect_language",)
    assert workers["right"].calls == 1 + 2 * 3  # a warm-up, then three runs of each task


def test_each_run_is_a_record_that_can_be_learnt_from(tmp_path, workers):
    records = tmp_path / "records.jsonl"
    measure_workers(CATALOG, workers, tmp_path, tasks=TASKS, records=records, repetitions=1)
    read, problems = read_records(records)
    assert not problems
    assert [r.tasks[0].worker for r in read] == ["right"] * 2 + ["wrong"] * 2 + ["broken"] * 2
    assert [r.tasks[0].quality for r in read] == [1.0, 1.0, 1.0, 0.0, None, None]
    assert read[-1].tasks[0].error == "it is out of order"
    example = training_example(read[0])
    assert example["targets"]["model_selections"] == ["right"]
    assert example["rewards"]["success"] == 1.0


def test_kept_figures_are_used_until_tasks_or_workers_change(tmp_path, workers):
    cache = tmp_path / "deep" / "outcomes.json"
    first = measure_workers(CATALOG, workers, tmp_path, tasks=TASKS, cache=cache)
    calls = workers["right"].calls
    assert measure_workers(CATALOG, workers, tmp_path, tasks=TASKS, cache=cache) == first
    assert workers["right"].calls == calls
    fewer = {"detect_language": TASKS["detect_language"][:1]}
    assert measure_workers(CATALOG, workers, tmp_path, tasks=fewer, cache=cache) != first
    assert workers["right"].calls > calls


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}'])
def test_a_damaged_file_says_so(tmp_path, workers, content):
    cache = tmp_path / "outcomes.json"
    cache.write_text(content, encoding="utf-8")
    if content == '{"key": 1}':  # whole, but of something else: measured again
        assert measure_workers(CATALOG, workers, tmp_path, tasks=TASKS, cache=cache).figures
        return
    with pytest.raises(OutcomesError, match="delete it to measure again"):
        measure_workers(CATALOG, workers, tmp_path, tasks=TASKS, cache=cache)


def test_a_worker_that_is_not_there_is_named(tmp_path, workers):
    del workers["wrong"]
    with pytest.raises(OutcomesError, match="worker 'wrong'"):
        measure_workers(CATALOG, workers, tmp_path, tasks=TASKS)


def test_progress_is_told(tmp_path, workers):
    told = []
    measure_workers(CATALOG, workers, tmp_path, tasks=TASKS, progress=lambda *what: told.append(what))
    assert told[0] == (0, 3, "right")
    assert told[-1][:2] == (3, 3)


def test_the_preference_decides():
    outcomes = WorkerOutcomes(
        (figures("quick", 0.5, 0.1, 2e-6), figures("cheap", 0.45, 0.9, 1e-7), figures("good", 0.99, 1.0, 4e-6))
    )
    best = {name: best_worker(outcomes, "t", preference) for name, preference in Preference.PRESETS.items()}
    assert best["fast"] == "quick"
    assert best["cheap"] == "cheap"
    assert best["quality"] == "good"
    assert cheapest_worker(outcomes, "t") == "cheap"
    assert highest_quality_worker(outcomes, "t") == "good"
    gains = utilities(outcomes, "t", Preference())
    assert gains["good"] == pytest.approx(0.99 - 0.25 - 0.25)
    assert gains["quick"] == pytest.approx(0.5 - 0.25 * 0.5 - 0.25 * 0.1)


def test_of_equals_the_first_in_catalog_order_is_best():
    outcomes = WorkerOutcomes((figures("b", 0.7, 0.1, 1e-6), figures("a", 0.7, 0.1, 1e-6)))
    assert best_worker(outcomes, "t", Preference()) == "b"


def test_free_and_instant_workers_divide_by_nothing():
    outcomes = WorkerOutcomes((figures("a", 0.4, 0.0, 0.0), figures("b", 0.5, 0.0, 0.0)))
    assert best_worker(outcomes, "t", Preference()) == "b"


def test_an_unmeasured_task_type_is_named():
    with pytest.raises(OutcomesError, match="'bake_cake'"):
        WorkerOutcomes(()).of("bake_cake")


def test_complexity_is_the_share_of_the_longest_time():
    outcomes = WorkerOutcomes(
        (figures("a", 1, 0.1, 0, "x"), figures("b", 1, 0.3, 0, "x"), figures("c", 1, 0.8, 0, "y"))
    )
    assert outcomes.complexities == pytest.approx({"x": 0.25, "y": 1.0})
    assert WorkerOutcomes(()).complexities == {}


def test_the_catalog_takes_the_measured_figures():
    outcomes = WorkerOutcomes((figures("right", 0.75, 0.5, 3e-6, "detect_language"),))
    assert CATALOG.worker("right").quality == 1.0  # looked up before: the old table must not survive
    catalog = with_measured_figures(CATALOG, outcomes)
    right = catalog.worker("right")
    assert (right.quality, right.latency, right.cost) == (0.75, 0.5, 3e-6)
    assert catalog.worker("wrong") == CATALOG.worker("wrong")
    assert catalog.workers_for("detect_language")[0] == right


def test_every_task_type_of_the_embedded_catalog_is_measured_on_sample_files(catalog):
    assert set(MEASURED_TASKS) == set(catalog.index)
    for task_type in CHOICES:
        assert len(catalog.workers_for(task_type)) > 1
    for task_type in SINGLES:
        assert len(catalog.workers_for(task_type)) == 1
    for task_type, tasks in MEASURED_TASKS.items():
        spec = catalog.task_type(task_type)
        known = {port.name for port in spec.inputs} | {parameter.name for parameter in spec.parameters}
        for arguments in tasks:
            assert set(arguments) <= known, task_type
            for port in spec.inputs:
                if port.required:
                    assert arguments[port.name] in SAMPLE_TYPES
