"""Collection of training data: instructions are planned and run, and what became of them is recorded."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import numbers
import pathlib
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from orchestai_jax.config import Preference
from orchestai_jax.execution.engine import execute, new_run_id
from orchestai_jax.execution.failures import one_line
from orchestai_jax.execution.hybrid_planning import AnswersMessages, HybridPolicy, PlansInstructions, plan_hybrid
from orchestai_jax.execution.policies import RunPolicies
from orchestai_jax.execution.preflight import RunRefusedError
from orchestai_jax.workers import Output, Worker, WorkerError, measure_quality
from orchestai_jax.workflow import (
    Catalog,
    Reference,
    RunRecord,
    TaskRun,
    Value,
    Workflow,
    WorkflowError,
    append_record,
    read_records,
    record_files,
)

_LOG = logging.getLogger(__name__)

Judge = Callable[[RunRecord], float | None]
"""How far a run did what was asked, 0 to 1; None where it cannot say. The outputs are still there."""


@runtime_checkable
class ExploresPlans(Protocol):
    """A planner that has more than one idea."""

    def candidates(
        self, text: str, n: int = 4, catalog: Catalog | None = None, preference: Preference | None = None
    ) -> list[Workflow]:
        """Plans of an instruction, the most probable first."""
        ...


class CollectionSettings(BaseModel):
    """How much is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    candidates: int = Field(default=1, ge=1)
    """Plans that are run for each instruction: the planner's own, then its most probable others."""
    until_accepted: bool = False
    """Whether no further plan of an instruction is run once the judge accepted one wholly."""
    explore_workers: float = Field(default=0.0, ge=0, le=1)
    """Probability that a task is given to another worker that can do it than the planned one."""
    seed: int = Field(default=0, ge=0)
    """Of the workers that are drawn; the same seed draws the same ones."""
    max_concurrency: int = Field(default=4, ge=1)
    """Tasks of a run that may run at once."""
    keep_outputs: bool = False
    """Whether the files that runs write are kept, in `outputs/RUN_ID`; else they are removed when they are judged."""


@dataclasses.dataclass(frozen=True)
class Collected:
    """One plan of one instruction, run, refused or passed over: what `collect` tells as it goes."""

    instruction: str
    candidate: int
    """Its place among the plans tried for the instruction."""
    record: RunRecord | None = None
    refused: str | None = None
    """Why it could not be run; nothing is recorded then."""


@dataclasses.dataclass(frozen=True)
class CollectionSummary:
    """What a collection came to."""

    instructions: int
    already_recorded: int
    """Runs that were passed over, because the file of records has them."""
    succeeded: int
    partial: int
    failed: int
    refused: int
    """Plans that could not be run: invalid, arguments open, files that are not there."""
    judged: int
    accepted: int
    """Runs that were judged to do all that was asked."""
    judge_errors: Mapping[str, int]
    """Why the judge gave no verdict, cut to a line, and how often."""
    seconds: float
    refusals: Mapping[str, int]
    """The most frequent reasons of refusals, cut to a line, and how often each came."""

    @property
    def runs(self) -> int:
        """Runs that were recorded."""
        return self.succeeded + self.partial + self.failed

    def as_dict(self) -> dict[str, Any]:
        """Plain figures for JSON."""
        return {
            "runs": self.runs,
            **dataclasses.asdict(self),
            "refusals": dict(self.refusals),
            "judge_errors": dict(self.judge_errors),
        }


async def collect(
    instructions: Sequence[str],
    planner: PlansInstructions,
    catalog: Catalog,
    workers: Mapping[str, Worker],
    *,
    root: str | pathlib.Path,
    records: str | pathlib.Path,
    settings: CollectionSettings | None = None,
    preference: Preference | None = None,
    planner_info: Mapping[str, Any] | None = None,
    model: AnswersMessages | None = None,
    hybrid: HybridPolicy | None = None,
    judge: Judge | None = None,
    policies: RunPolicies | None = None,
    on_run: Callable[[Collected], None] | None = None,
) -> CollectionSummary:
    """Plan and run instructions one after the other, and append a record of every run.

    A record holds the measured quality of each task whose task type has a measure, the verdict of `judge`, and in
    `planner` the place of the plan among those tried (`candidate`). What the file has records of is not run again, so
    that a collection that was stopped goes on where it was; a run that is cancelled is not recorded.

    Args:
        instructions: what to run; one that comes again (case and blanks aside) is run once.
        planner: makes the plans; it must be an `ExploresPlans` where `settings.candidates` is above 1.
        catalog: what is planned over.
        workers: worker id to worker.
        root: the folder that files are read inside; outputs go to `outputs/RUN_ID` in it.
        records: the file that records are appended to.
        settings: how much is tried; the defaults where not given.
        preference: the balance that workers are chosen by; kept in the records.
        planner_info: which planner made the plans; kept in the records.
        model: a language model for hybrid planning of the first plan of each instruction.
        hybrid: when it is asked; hybrid planning is off where neither is given.
        judge: says how far a run did what was asked, 0 to 1; None where it cannot say. Where it raises, or gives
            something else, the record says why it is not judged, and the run teaches nothing.
        policies: what each of the runs is governed by; the defaults where not given.
        on_run: is told of every plan as it ends.

    Raises:
        ValueError: more than one candidate is wanted of a planner that gives one.
        RecordError: the file of records cannot be read or written.
    """
    settings = settings or CollectionSettings()
    if settings.candidates > 1 and not isinstance(planner, ExploresPlans):
        raise ValueError(f"candidates is {settings.candidates}, but this planner gives one plan an instruction")
    began = time.perf_counter()
    unique = distinct_instructions(instructions)
    done, accepted = _recorded(records)
    told: list[Collected] = []
    passed_over = 0
    for text in unique:
        known = done.get(_key(text), set())
        if len(known & set(range(settings.candidates))) == settings.candidates:
            passed_over += settings.candidates
            continue
        if settings.until_accepted and _key(text) in accepted:
            passed_over += len(known)
            continue
        plans = await _plans(text, planner, catalog, settings, preference, model, hybrid)
        for candidate, (plan, story) in enumerate(plans):
            if candidate in known:
                passed_over += 1
                continue
            plan = _with_other_workers(plan, catalog, workers, settings, f"{settings.seed}/{_key(text)}/{candidate}")
            info = {**(planner_info or {}), "confidence": plan.confidence, "candidate": candidate, **story}
            ended = await _run(plan, catalog, workers, pathlib.Path(root), settings, preference, info, judge, policies)
            if isinstance(ended, RunRecord):
                append_record(records, ended)
                told.append(Collected(text, candidate, ended))
            else:
                told.append(Collected(text, candidate, refused=ended))
            if on_run is not None:
                on_run(told[-1])
            if settings.until_accepted and isinstance(ended, RunRecord) and ended.accepted == 1:
                break
    return _summary(len(unique), passed_over, told, time.perf_counter() - began)


def distinct_instructions(texts: Sequence[str]) -> list[str]:
    """Each instruction once, where it came first; case and blanks do not make another of it."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(_key(text), text)
    return list(first.values())


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


def _recorded(path: str | pathlib.Path) -> tuple[dict[str, set[int]], set[str]]:
    """Instruction to the places of its plans that there are records of (a record of another command has the first), and
    the instructions of which a run was accepted."""
    if not record_files(path):
        return {}, set()
    found, problems = read_records(path)
    for problem in problems:
        _LOG.warning("%s", problem)
    done: dict[str, set[int]] = {}
    for record in found:
        if record.status != "cancelled":
            place = record.planner.get("candidate", 0)
            done.setdefault(_key(record.instruction), set()).add(place if isinstance(place, int) else 0)
    return done, {_key(record.instruction) for record in found if record.accepted == 1}


async def _plans(
    text: str,
    planner: PlansInstructions,
    catalog: Catalog,
    settings: CollectionSettings,
    preference: Preference | None,
    model: AnswersMessages | None,
    hybrid: HybridPolicy | None,
) -> list[tuple[Workflow, dict[str, Any]]]:
    """The plans to try, no two alike, each with what the record says of how it was made."""
    if model is None and hybrid is None:
        plans = [(planner.plan(text, catalog, preference), {})]
    else:
        found = await plan_hybrid(text, planner, catalog, model=model, policy=hybrid, preference=preference)
        plans = [(found.workflow, {"hybrid": found.as_dict()})]
    if settings.candidates > 1 and isinstance(planner, ExploresPlans):
        # One more is asked for: the plan that is there already is most often among them.
        plans += [(plan, {}) for plan in planner.candidates(text, settings.candidates + 1, catalog, preference)]
    different = {_shape(plan): (plan, story) for plan, story in reversed(plans)}
    return [entry for entry in plans if different[_shape(entry[0])][0] is entry[0]][: settings.candidates]


def _shape(plan: Workflow) -> tuple[str, ...]:
    """What is done to what, whoever does it and whatever its name: plans of the same shape do the same."""
    tasks = {task.id: task for task in plan.tasks}
    forms: dict[str, str] = {}

    def form(task_id: str) -> str:
        """A task with all that comes before it. A plan may be invalid: who is missing, or is waited for in a circle,
        counts by its name."""
        if task_id not in forms and task_id in tasks:
            task, forms[task_id] = tasks[task_id], task_id
            arguments = [
                (name, form(a.task), a.output) if isinstance(a, Reference) else (name, repr(a))
                for name, a in sorted(task.arguments.items())
            ]
            whole = repr((task.task_type, arguments, sorted(map(form, task.depends_on))))
            forms[task_id] = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
        return forms.get(task_id, task_id)

    return tuple(sorted(map(form, tasks)))


def _with_other_workers(
    plan: Workflow, catalog: Catalog, workers: Mapping[str, Worker], settings: CollectionSettings, seed: str
) -> Workflow:
    if not settings.explore_workers:
        return plan
    drawn = random.Random(seed)  # text seeds are hashed by SHA-512: the same in every process

    def choose(task_type: str, planned: str | None) -> str | None:
        others = [w.id for w in catalog.workers_for(task_type) if w.id != planned and w.id in workers]
        return drawn.choice(others) if others and drawn.random() < settings.explore_workers else planned

    tasks = [task.model_copy(update={"worker": choose(task.task_type, task.worker)}) for task in plan.tasks]
    return plan.model_copy(update={"tasks": tuple(tasks)})


async def _run(
    plan: Workflow,
    catalog: Catalog,
    workers: Mapping[str, Worker],
    root: pathlib.Path,
    settings: CollectionSettings,
    preference: Preference | None,
    info: Mapping[str, Any],
    judge: Judge | None,
    policies: RunPolicies | None,
) -> RunRecord | str:
    """The record of a run, measured and judged, or why there is none."""
    run_id = new_run_id()
    folder = root / "outputs" / run_id
    try:
        record = await execute(
            plan,
            catalog,
            workers,
            root=root,
            output_folder=folder.absolute(),
            max_concurrency=settings.max_concurrency,
            policies=policies,
            planner_info=info,
            preference=preference,
            run_id=run_id,
        )
        tasks = await asyncio.to_thread(_measured, record, catalog, root)
        record = record.model_copy(update={"tasks": tasks})
        return record if judge is None else _judged(record, judge)
    except (WorkflowError, RunRefusedError) as error:
        return " ".join(str(error).split())
    finally:
        if not settings.keep_outputs:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _judged(record: RunRecord, judge: Judge) -> RunRecord:
    """The record with the verdict, or with the reason why there is none: the run was paid for all the same."""
    try:
        verdict = judge(record)
    except Exception as error:  # noqa: BLE001 - anybody's judge
        fault = one_line(f"{type(error).__name__}: {error}")
    else:
        if verdict is None:
            return record
        if isinstance(verdict, numbers.Real) and 0 <= verdict <= 1:
            return record.model_copy(update={"accepted": float(verdict)})
        fault = one_line(f"the verdict is {verdict!r}; a number from 0 to 1, or None, is wanted")
    _LOG.warning("run %s could not be judged: %s", record.run_id, fault)
    return record.model_copy(update={"judge_error": fault})


def _measured(record: RunRecord, catalog: Catalog, root: pathlib.Path) -> tuple[TaskRun, ...]:
    """The task runs with the quality of those that succeeded, where it can be measured."""
    outputs = {run.task: run.outputs for run in record.tasks if run.status == "succeeded"}
    measured = []
    for run in record.tasks:
        quality = run.quality
        if quality is None and run.task in outputs:
            arguments = {
                name: argument.value if isinstance(argument, Value) else outputs[argument.task].get(argument.output)
                for name, argument in record.workflow.task(run.task).arguments.items()
            }
            try:
                quality = measure_quality(catalog.task_type(run.task_type), arguments, Output(run.outputs), root)
            except Exception as error:  # noqa: BLE001 - a measure that breaks costs no record
                reason = error if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
                where = f"run {record.run_id}, task {run.task}"
                _LOG.warning("%s: its quality cannot be measured: %s", where, one_line(str(reason)))
        measured.append(run.model_copy(update={"quality": quality}))
    return tuple(measured)


def _summary(instructions: int, passed_over: int, told: Sequence[Collected], seconds: float) -> CollectionSummary:
    statuses = Counter(entry.record.status for entry in told if entry.record is not None)
    verdicts = [entry.record.accepted for entry in told if entry.record is not None]
    faults = Counter(entry.record.judge_error[:160] for entry in told if entry.record and entry.record.judge_error)
    reasons = Counter(entry.refused[:160] for entry in told if entry.refused is not None)
    return CollectionSummary(
        instructions=instructions,
        already_recorded=passed_over,
        succeeded=statuses["succeeded"],
        partial=statuses["partial"],
        failed=statuses["failed"],
        refused=sum(reasons.values()),
        judged=sum(verdict is not None for verdict in verdicts),
        accepted=sum(verdict == 1 for verdict in verdicts),
        judge_errors=dict(faults.most_common(5)),
        seconds=seconds,
        refusals=dict(reasons.most_common(5)),
    )
