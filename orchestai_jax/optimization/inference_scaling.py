"""Serving: a smaller cache, and the best of several candidates by a verifier (RLVR: a reward that can be verified).

A verifier is handed in: a candidate to a reward in [0, 1] that can be checked, not judged.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float32
from orchestai_kernels.arrays import Int8Array, quantize_int8

from orchestai_jax.config import InferenceScalingConfig
from orchestai_jax.language_model.block_dropping import drop_blocks
from orchestai_jax.language_model.cache import KeyValueCache
from orchestai_jax.workflow import Catalog, Workflow, validate_workflow

Candidate = TypeVar("Candidate")

_CAPACITY_STEP = 64


@dataclasses.dataclass(frozen=True)
class CacheReport:
    """What became of a cache."""

    bytes_before: int
    bytes_after: int
    slots_dropped: int
    """Slots that each layer lost."""

    @property
    def reduction(self) -> float:
        """1 − after / before."""
        return 1 - self.bytes_after / self.bytes_before


def optimize_kv_cache(
    cache: KeyValueCache,
    mass: Float32[np.ndarray, "layers batch time"],
    config: InferenceScalingConfig,
    *,
    capacity_step: int = _CAPACITY_STEP,
) -> tuple[KeyValueCache, CacheReport]:
    """The cache of a prompt that was just read, as int8 where the configuration says so, without blocks whose attention
    mass is under `sparsity_threshold`.

    `mass` is what `observed_prefill` gives; see `drop_blocks` for the rule and the errors.
    """
    before = cache.nbytes
    if config.kv_cache == "int8":
        keys, values = (x if isinstance(x, Int8Array) else quantize_int8(x) for x in (cache.keys, cache.values))
        cache = dataclasses.replace(cache, keys=keys, values=values)
    if config.sparsity_threshold > 0:
        cache = drop_blocks(
            cache, mass, threshold=config.sparsity_threshold, block=config.cache_block, capacity_step=capacity_step
        )
    gone = int(cache.dropped.count) if cache.dropped is not None else 0
    return cache, CacheReport(before, cache.nbytes, gone)


@dataclasses.dataclass(frozen=True)
class Selection(Generic[Candidate]):
    """Which candidate was taken, and why."""

    chosen: Candidate
    index: int
    """Its place; 0 is the first choice."""
    rewards: tuple[float, ...]
    """The verifier's, in the candidates' order."""
    margin: float
    """Reward of the best over that of the first choice; 0 where that is the best."""

    @property
    def replaced(self) -> bool:
        """Whether another than the first choice was taken."""
        return self.index > 0


def select_path(
    candidates: Sequence[Candidate], verifier: Callable[[Candidate], float], threshold: float
) -> Selection[Candidate]:
    """The first candidate, or the one of the highest reward (the earliest of equals) where its reward is above the
    first one's by at least `threshold`.

    Candidates come in order of preference: what would be given out without a verifier is first. Raises ValueError for
    no candidates, a threshold outside [0, 1] and a reward outside [0, 1].
    """
    if not candidates:
        raise ValueError("candidates must hold at least one, got none")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be from 0 to 1, got {threshold}")
    rewards = tuple(float(verifier(candidate)) for candidate in candidates)
    for reward in rewards:
        if not 0 <= reward <= 1:
            raise ValueError(f"a verifier's reward must be from 0 to 1, got {reward}")
    best = max(range(len(rewards)), key=lambda i: (rewards[i], -i))
    margin = rewards[best] - rewards[0]
    index = best if margin > 0 and margin >= threshold else 0
    return Selection(candidates[index], index, rewards, margin)


def plan_verifier(catalog: Catalog, answer: Collection[str] | None = None) -> Callable[[Workflow], float]:
    """Rewards a plan: 0 where it is empty or no valid DAG over the catalog with fitting types; else the share of tasks
    whose required inputs and parameters are all filled.

    With a known `answer` (task types), times the F1 score between it and the plan's task types.
    """
    wanted = frozenset(answer) if answer is not None else None

    def reward(workflow: Workflow) -> float:
        if not workflow.tasks or validate_workflow(workflow, catalog, require_arguments=False):
            return 0.0
        lacking = {fault.task for fault in validate_workflow(workflow, catalog)}
        filled = sum(task.id not in lacking for task in workflow.tasks) / len(workflow.tasks)
        if wanted is None:
            return filled
        found = {task.task_type for task in workflow.tasks}
        return filled * 2 * len(found & wanted) / max(len(found) + len(wanted), 1)

    return reward


def pattern_verifier(pattern: str) -> Callable[[str], float]:
    """1 for a text that a regular expression is found in, else 0. Raises ValueError for what is none."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r}: not a regular expression ({error})") from None
    return lambda text: float(compiled.search(text) is not None)


def answer_verifier(answer: str) -> Callable[[str], float]:
    """1 for a text that is the known answer, apart from white space at its ends, else 0."""
    return lambda text: float(text.strip() == answer.strip())


def json_verifier() -> Callable[[str], float]:
    """1 for a text that is JSON, else 0."""

    def reward(text: str) -> float:
        try:
            json.loads(text)
        except ValueError:
            return 0.0
        return 1.0

    return reward
