"""Which runs a planner learns from: those that did what was asked, and of several for one instruction the best."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from orchestai_jax.config import Preference
from orchestai_jax.data.sample import PlanningSample


def learnable_runs(
    samples: Sequence[PlanningSample],
    *,
    min_success: float = 1.0,
    min_quality: float = 0.0,
    every_run: bool = False,
) -> list[PlanningSample]:
    """The samples of runs that are worth learning from, in their order.

    Left out are runs without tasks, with less success than `min_success` (`rewards.success`: the share of tasks done,
    times how far the results were accepted where they were judged) and with less measured quality than `min_quality`.
    Of several runs of one instruction (case and blanks aside) under one preference one is kept, so that no instruction
    has two answers: where runs were judged, the best of the judged ones; where none was, the best of those whose plan
    is that of the first run that is left, for a plan that does less is always quicker. The best has the highest
    `Preference.utility`, cost and time divided by the highest among them; what has no measured quality counts with the
    mean of those that have.

    Args:
        samples: as the reader of run records makes them; a sample without rewards counts as a success.
        min_success: least `rewards.success`, 0 to 1.
        min_quality: least `rewards.quality`, where something measured it, 0 to 1.
        every_run: keep all runs of an instruction.

    Raises:
        ValueError: a limit is outside [0, 1].
    """
    for name, limit in (("min_success", min_success), ("min_quality", min_quality)):
        if not 0 <= limit <= 1:
            raise ValueError(f"{name} is {limit}; give a share from 0 to 1")
    kept = [
        sample
        for sample in samples
        if sample.task_types
        and (sample.rewards or {}).get("success", 1.0) >= min_success
        and (sample.rewards or {}).get("quality", 1.0) >= min_quality
    ]
    if every_run:
        return kept
    groups: dict[object, list[int]] = {}
    for i, sample in enumerate(kept):
        groups.setdefault((" ".join(sample.instruction.casefold().split()), sample.preference), []).append(i)
    return [kept[i] for i in sorted(_best(kept, group) for group in groups.values())]


def _best(samples: Sequence[PlanningSample], group: Sequence[int]) -> int:
    judged = [i for i in group if "accepted" in (samples[i].rewards or {})]
    comparable = judged or [i for i in group if _plan(samples[i]) == _plan(samples[group[0]])]
    if len(comparable) == 1:
        return comparable[0]
    rewards = [samples[i].rewards or {} for i in comparable]
    costs = [-reward.get("cost", 0.0) for reward in rewards]
    times = [-reward.get("latency", 0.0) for reward in rewards]
    dearest, slowest = max(costs) or 1.0, max(times) or 1.0
    known = [reward["quality"] for reward in rewards if "quality" in reward]
    usual = statistics.fmean(known) if known else 1.0
    weights = samples[comparable[0]].preference
    preference = Preference() if weights is None else Preference(**dict(zip(_WEIGHTS, weights, strict=True)))

    def worth(place: int) -> tuple[float, float]:
        quality = rewards[place].get("quality", usual)
        utility = preference.utility(quality, costs[place] / dearest, times[place] / slowest)
        return rewards[place].get("success", 1.0), utility

    return comparable[max(range(len(comparable)), key=worth)]


_WEIGHTS = ("success", "cost", "latency")


def _plan(sample: PlanningSample) -> tuple[frozenset[str], int, frozenset[tuple[str, str]]]:
    return sample.nodes, len(sample.task_types), sample.links
