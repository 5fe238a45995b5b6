"""Other workers take over: who, in which order, how many."""

import pytest
from scripted_worker import Scripted, busy, retry

from orchestai_jax.config import Preference
from orchestai_jax.workers import Output, WorkerError


def workers(make, **behaviours):
    figures = {
        "planned": {"quality": 0.1},
        "good": {"quality": 0.9, "latency": 10.0, "cost": 1.0},
        "quick": {"quality": 0.5, "latency": 1.0, "cost": 0.1},
    }
    return [make.worker(behaviours.get(name, Scripted()), name, **figures[name]) for name in figures]


def test_the_next_best_worker_takes_over_and_the_record_says_so(make, perform):
    events = []
    planned = Scripted(*(busy() for _ in range(3)))
    record = perform(
        make.plan(make.step("t", worker="planned"), make.step("u", "t", worker="planned")),
        *workers(make, planned=planned),
        policies=retry(),
        jump=True,
        on_event=events.append,
        preference=Preference.PRESETS["quality"],
    )
    run = record.tasks[0]
    assert (run.status, run.worker) == ("succeeded", "good")
    assert [(a.worker, a.error) for a in run.attempts] == [("planned", "busy")] * 3 + [("good", None)]
    assert record.tasks[1].worker == "planned"  # each task begins with its own
    (rerouted,) = [e for e in events if e.kind == "rerouted"]
    assert (rerouted.worker, rerouted.attempt) == ("good", run.attempts[2])


@pytest.mark.parametrize(
    ("preference", "alternatives", "wanted"),
    [("quality", (), "good"), ("fast", (), "quick"), ("quality", ("quick",), "quick")],
)
def test_the_plans_ranking_comes_first_then_the_preference(make, perform, preference, alternatives, wanted):
    task = make.step("t", worker="planned").model_copy(update={"alternatives": alternatives})
    record = perform(
        make.plan(task),
        *workers(make, planned=Scripted(WorkerError("no"))),
        preference=Preference.PRESETS[preference],
    )
    assert record.tasks[0].worker == wanted


def test_no_more_than_the_policys_number_take_over(make, perform):
    for most, asked in ((0, 0), (1, 1), (2, 2)):
        failing = {name: Scripted(WorkerError(f"{name} cannot")) for name in ("planned", "good", "quick")}
        record = perform(
            make.plan(make.step("t", worker="planned")),
            *workers(make, **failing),
            policies={"fallback_workers": most},
        )
        run = record.tasks[0]
        assert run.status == "failed"
        assert run.worker == "planned"
        assert run.error.startswith("planned cannot")
        assert len(run.attempts) == 1 + asked
        if most == 2:
            assert run.error == "planned cannot (then quick: quick cannot; then good: good cannot)"


def test_what_all_of_them_say_is_said_once(make, perform):
    says = {"planned": "no picture", "good": "no money", "quick": "no picture"}
    failing = {name: Scripted(WorkerError(text)) for name, text in says.items()}
    record = perform(
        make.plan(make.step("t", worker="planned")), *workers(make, **failing), policies={"fallback_workers": 2}
    )
    assert record.tasks[0].error == "no picture (the same of quick; then good: no money)"


def test_only_workers_that_are_here_and_able_take_over(make, perform):
    able, absent, other = (
        make.worker(Scripted(WorkerError("no")), "able"),
        make.worker(name="absent"),
        make.worker(name="other", task_types=("read",)),
    )
    record = perform(make.plan(make.step("t", worker="able")), able, other, catalog=make.catalog(able, absent, other))
    assert (record.status, record.tasks[0].error) == ("failed", "no")


def test_bad_arguments_are_nobodys_fault(make, perform):
    from orchestai_jax.workflow import Reference

    reader = make.worker(Scripted(Output(values={"count": 1})), "reader")
    second = make.worker(name="second")
    workflow = make.plan(
        make.step("r", task_type="read", text="x", worker="reader"),
        make.step("s", "r", a=Reference(task="r", output="note"), worker="second"),
    )
    record = perform(workflow, reader, second)
    assert record.tasks[1].status == "failed"
    assert len(reader.calls) == 1
    assert second.calls == []
