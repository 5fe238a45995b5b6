"""Hybrid planning: the learned planner plans; a language model is asked where it is unsure or its plan is invalid."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from orchestai_jax.config import Preference
from orchestai_jax.execution.catalog_narrowing import bm25_scores, narrow
from orchestai_jax.execution.plan_dialogue import answer_format, first_messages, read_plan, repair_messages
from orchestai_jax.workers import WorkerError
from orchestai_jax.workflow import Catalog, Fault, Workflow, validate_workflow

_LOG = logging.getLogger(__name__)

PlanSource = Literal["learned", "language_model"]


class PlansInstructions(Protocol):
    """What plans: `planner.Planner`, which this room does not import."""

    def plan(self, text: str, catalog: Catalog | None = None, preference: Preference | None = None) -> Workflow:
        """Plan an instruction over a catalog."""
        ...


@runtime_checkable
class ScoresTaskTypes(Protocol):
    """A planner that says how probable it is that an instruction wants each task type."""

    def task_type_scores(self, text: str, catalog: Catalog | None = None) -> dict[str, float]:
        """Task type id to probability."""
        ...


class Answer(Protocol):
    """What a language model said; `workers.openai_compatible.Reply` is one."""

    @property
    def text(self) -> str:
        """The words."""
        ...

    @property
    def cost(self) -> float:
        """US dollars."""
        ...

    @property
    def usage(self) -> Any:
        """What it used; `tokens` of it is recorded."""
        ...


class AnswersMessages(Protocol):
    """A language model; `workers.openai_compatible.OpenAIWorker` is one."""

    async def complete(
        self, messages: Sequence[Mapping[str, Any]], *, response_format: Mapping[str, Any] | None = None
    ) -> Answer:
        """Answer a conversation. Raises WorkerError."""
        ...


class HybridPolicy(BaseModel):
    """When a language model is asked, and for what."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    threshold: float = Field(default=0.5, ge=0, le=1)
    """A learned plan under this confidence is made anew, by default one that is more likely wrong than right (0 = only
    one that does not validate)."""
    task_types: int = Field(default=24, ge=1)
    """Most task types that the language model gets to choose from."""
    max_tasks: int = Field(default=16, ge=1)
    """Most tasks of a plan of the language model."""
    repairs: int = Field(default=1, ge=0, le=5)
    """How often it is told the faults of its plan and asked again."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How its answer is kept to its form: by a schema, as any JSON, or by asking only."""


@dataclasses.dataclass(frozen=True)
class HybridPlan:
    """The plan to run, and how it came about."""

    workflow: Workflow
    source: PlanSource
    reason: str | None
    """Why the learned plan was not good enough; None where it was."""
    learned: Workflow
    proposed: Workflow | None = None
    """The plan of the language model, taken or not; None where it gave none."""
    outcome: str = ""
    """What became of asking; empty where nobody was asked."""
    faults: tuple[str, ...] = ()
    """What is wrong with the language model's last answer."""
    task_types: tuple[str, ...] = ()
    """What the language model was given to choose from."""
    answers: int = 0
    cost: float = 0.0
    """US dollars for the language model."""
    tokens: int = 0
    seconds: float = 0.0
    """Time that asking took."""

    def as_dict(self) -> dict[str, Any]:
        """What a run record holds under `planner.hybrid`. The plan that was taken stands in the record itself."""
        entry: dict[str, Any] = {"source": self.source, "reason": self.reason}
        if self.reason is None:
            return entry
        entry |= {"outcome": self.outcome, "answers": self.answers, "faults": list(self.faults)}
        entry |= {"task_types": list(self.task_types), "cost": self.cost, "tokens": self.tokens}
        entry |= {"seconds": self.seconds, "learned_plan": self.learned.model_dump(mode="json")}
        entry["proposed_plan"] = None if self.proposed is None else self.proposed.model_dump(mode="json")
        return entry


async def plan_hybrid(
    text: str,
    planner: PlansInstructions,
    catalog: Catalog,
    *,
    model: AnswersMessages | None = None,
    policy: HybridPolicy | None = None,
    preference: Preference | None = None,
) -> HybridPlan:
    """Plan an instruction with the learned planner, and with a language model where that is not good enough.

    The model chooses among the task types that fit the instruction best (by the planner's own scores where it has
    them, else by words). Its plan is validated against these alone, so that nothing that the instruction or a
    description says can bring in anything else; it is told its faults and asked again `policy.repairs` times. A plan
    that still has faults is not used, except that arguments may stay open. Workers are the learned plan's where it has
    the task type, else those of the highest utility by their declared figures.

    The learned plan is given out, with a note that says why it is doubtful, where there is no model, where it fails,
    and where its plan is of no use.

    Args:
        text: the instruction.
        planner: the learned planner.
        catalog: what is planned over.
        model: the language model; None where there is none.
        policy: when it is asked; the defaults where not given.
        preference: the balance that workers are chosen by; where not given, the planner's own for its plan, and the
            balanced one for tasks that only the language model plans.
    """
    policy = policy or HybridPolicy()
    learned = planner.plan(text, catalog, preference)
    reason = _doubt(learned, catalog, policy.threshold)
    if reason is None:
        return HybridPlan(learned, "learned", None, learned)
    if model is None:
        outcome = "no language model was asked"
        return HybridPlan(_noted(learned, f"{reason}; {outcome}"), "learned", reason, learned, outcome=outcome)
    scores = planner.task_type_scores(text, catalog) if isinstance(planner, ScoresTaskTypes) else {}
    offered = narrow(
        catalog, (task.task_type for task in learned.tasks), scores or bm25_scores(text, catalog), policy.task_types
    )
    began = time.perf_counter()
    talk = await _ask(text, offered, model, policy)
    used = {
        "task_types": tuple(offered.index),
        "answers": talk.answers,
        "cost": talk.cost,
        "tokens": talk.tokens,
        "seconds": time.perf_counter() - began,
        "faults": talk.faults,
    }
    refusal = _refusal(talk, learned, catalog, policy.threshold)
    proposed = None if talk.plan is None else _with_workers(talk.plan, learned, catalog, preference or Preference())
    if refusal is not None:
        _LOG.warning("the learned plan is used although %s: %s", reason, refusal)
        return HybridPlan(
            _noted(learned, f"{reason}; {refusal}"), "learned", reason, learned, proposed, refusal, **used
        )
    assert proposed is not None
    notes = [f"planned by a language model, because {reason}"]
    notes += [str(fault) for fault in talk.open_arguments]
    outcome = "its plan was taken"
    if talk.failure is not None:
        notes.append(f"its repair failed: {talk.failure}; the plan before it was taken")
        outcome = f"{outcome}, though its repair failed: {talk.failure}"
        _LOG.warning("the language model's plan is used as it was before its repair, which failed: %s", talk.failure)
    workflow = proposed.model_copy(update={"notes": tuple(notes)})
    return HybridPlan(workflow, "language_model", reason, learned, proposed, outcome, **used)


@dataclasses.dataclass
class _Talk:
    """What came of a conversation."""

    plan: Workflow | None = None
    """The last plan that only leaves arguments open, if at all."""
    open_arguments: tuple[Fault, ...] = ()
    faults: tuple[str, ...] = ()
    failure: str | None = None
    """What kept the model from its last answer; there may be a plan from before all the same."""
    answers: int = 0
    cost: float = 0.0
    tokens: int = 0


async def _ask(text: str, offered: Catalog, model: AnswersMessages, policy: HybridPolicy) -> _Talk:
    talk = _Talk()
    messages = first_messages(text, offered)
    form = {"json_schema": answer_format(offered), "json_object": {"type": "json_object"}, "none": None}
    for _ in range(1 + policy.repairs):
        try:
            answer = await model.complete(messages, response_format=form[policy.structured])
        except WorkerError as error:
            talk.cost += error.cost
            talk.tokens += error.tokens
            talk.failure = f"the language model failed: {error}"
            return talk
        talk.answers += 1
        talk.cost += answer.cost
        talk.tokens += answer.usage.tokens
        read = read_plan(answer.text, text, offered, policy.max_tasks)
        found = [] if read.workflow is None else validate_workflow(read.workflow, offered)
        talk.faults = read.faults or tuple(map(str, found))
        missing = tuple(fault for fault in found if fault.code == "missing_argument")
        usable = read.workflow is not None and len(missing) == len(found)
        if usable and (talk.plan is None or len(missing) <= len(talk.open_arguments)):
            talk.plan, talk.open_arguments = read.workflow, missing
        if not talk.faults:
            return talk
        messages = [*messages, *repair_messages(answer.text, talk.faults)]
    return talk


def _doubt(plan: Workflow, catalog: Catalog, threshold: float) -> str | None:
    """Why a learned plan is not good enough; None where it is."""
    if not plan.tasks:
        return f"the learned plan has no tasks ({'; '.join(plan.notes) or 'it does not say why'})"
    if plan.confidence is not None and plan.confidence < threshold:
        return f"the learned plan's confidence {plan.confidence:.2f} is under {threshold:g}"
    faults = validate_workflow(plan, catalog)
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        return f"the learned plan does not validate: {faults[0]}{more}"
    return None


def _refusal(talk: _Talk, learned: Workflow, catalog: Catalog, threshold: float) -> str | None:
    """Why the plan of a language model is not taken; None where it is."""
    if talk.plan is None and talk.failure is not None:
        return talk.failure
    if talk.plan is None:
        return f"the language model's plan does not validate: {talk.faults[0]}"
    if not talk.plan.tasks:
        return "the language model finds no task type that fits"
    unsure = not learned.tasks or (learned.confidence is not None and learned.confidence < threshold)
    if not unsure and len(talk.open_arguments) >= len(validate_workflow(learned, catalog)):
        return f"the language model's plan leaves as much open: {talk.open_arguments[0]}"
    return None


def _with_workers(plan: Workflow, learned: Workflow, catalog: Catalog, preference: Preference) -> Workflow:
    known = {t.task_type: t.worker for t in learned.tasks if t.worker and catalog.can_do(t.worker, t.task_type)}

    def choose(task_type: str) -> str | None:
        able = catalog.workers_for(task_type)
        if task_type in known or not able:
            return known.get(task_type)
        dearest, slowest = max(w.cost for w in able) or 1.0, max(w.latency for w in able) or 1.0
        return max(able, key=lambda w: preference.utility(w.quality, w.cost / dearest, w.latency / slowest)).id

    tasks = [task.model_copy(update={"worker": choose(task.task_type)}) for task in plan.tasks]
    return plan.model_copy(update={"tasks": tuple(tasks)})


def _noted(plan: Workflow, note: str) -> Workflow:
    return plan.model_copy(update={"notes": (*plan.notes, note)})
