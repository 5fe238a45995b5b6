"""Several candidates of one planner or language model, and the selection among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

from orchestai_jax.config import Preference
from orchestai_jax.language_model.sampling import Sampling
from orchestai_jax.language_model.text_generation import Answer, TextGenerator
from orchestai_jax.optimization.inference_scaling import Selection, plan_verifier, select_path
from orchestai_jax.planner import Planner
from orchestai_jax.workflow import Catalog, Workflow


def select_plan(
    planner: Planner,
    text: str,
    *,
    candidates: int,
    threshold: float,
    catalog: Catalog | None = None,
    preference: Preference | None = None,
    answer: Collection[str] | None = None,
) -> Selection[Workflow]:
    """The planner's plan, or another of its `candidates` most probable ones that `plan_verifier` rewards higher by
    `threshold`. Raises ValueError for fewer than one candidate."""
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    first = planner.plan(text, catalog, preference)
    paths = [first]
    if candidates > 1:
        others = planner.candidates(text, candidates, catalog, preference)
        paths += [plan for plan in others if _shape(plan) != _shape(first)][: candidates - 1]
    verifier = plan_verifier(catalog if catalog is not None else planner.catalog, answer)
    return select_path(paths, verifier, threshold)


def _shape(plan: Workflow) -> tuple[object, ...]:
    """What makes two plans the same: tasks with their arguments and edges, not confidences."""
    return tuple((t.task_type, t.worker, tuple(sorted(t.arguments.items())), t.depends_on) for t in plan.tasks)


def select_answer(
    generator: TextGenerator,
    prompt: str,
    verifier: Callable[[str], float],
    *,
    candidates: int,
    threshold: float,
    sampling: Sampling,
    max_new_tokens: int | None = None,
    stop: Sequence[str] = (),
) -> Selection[Answer]:
    """The answer of `sampling`, or one of `candidates` - 1 others (the same with the seeds after it) that the verifier
    rewards higher by `threshold`.

    Raises ValueError for fewer than one candidate, for several without a temperature, which would all be the same, and
    as `TextGenerator.answer`.
    """
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    if candidates > 1 and sampling.greedy:
        raise ValueError("candidates above 1 want a temperature above 0: the likeliest continuation is but one")
    answers = [
        generator.answer(
            prompt,
            max_new_tokens=max_new_tokens,
            sampling=dataclasses.replace(sampling, seed=(sampling.seed + i) % 2**32),
            stop=stop,
        )
        for i in range(candidates)
    ]
    return select_path(answers, lambda answer: verifier(answer.text), threshold)
