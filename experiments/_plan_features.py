"""The plans of a pool against the gold plan, and what speaks for each of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from _log_linear import softmax
from _one_vs_rest import count_pairs
from _plan_pools import Plan, Pool
from numpy.typing import NDArray

from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation.planning import set_f1

FIGURES = ("node_f1", "link_f1", "accuracy")
NEIGHBOURS = 16
"""Training instructions that are asked."""
CERTAIN = 12.0
"""Log-odds beyond it count as this much."""
UNSEEN = 0.02
"""What is added to shares of votes before their logarithm is taken."""
VOTE_TEMPERATURE = 0.05
"""What cosines are divided by before they weigh the neighbours' votes."""

NAMES = (
    "logp",
    "tasks",
    "labels",
    "order",
    "mentions",
    "chain_seen",
    "set_seen",
    "tuned_tasks",
    "tuned_plan",
    "frozen_tasks",
    "frozen_plan",
)
"""Features of a plan, see `features`."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the training plans were."""

    plans: tuple[Plan, ...]
    before: Counter[tuple[str, str]]
    """How often the first task type came before the second."""
    chains: Counter[Plan]
    sets: Counter[frozenset[str]]

    @classmethod
    def of(cls, samples: Sequence[PlanningSample]) -> Seen:
        """Count them."""
        plans = tuple(s.task_types for s in samples)
        return cls(plans, count_pairs(samples), Counter(plans), Counter(map(frozenset, plans)))


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The plans of the training instructions nearest to one."""

    cosines: NDArray[np.float64]
    """[k], the highest first."""
    plans: tuple[Plan, ...]
    agreement: NDArray[np.float64]
    """[plans of the pool, k]."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """One instruction: its pool, what each of its plans is worth, and the training plans of instructions like it."""

    pool: Pool
    figures: NDArray[np.float64]
    """[plans, 3], see FIGURES."""
    agreement: NDArray[np.float64]
    """[plans, plans]."""
    neighbours: Mapping[str, Neighbours]
    """By kind of vector."""

    @property
    def gains(self) -> NDArray[np.float64]:
        """[plans]: mean of node F1 and link F1."""
        return self.figures[:, :2].mean(axis=1)


def judge(sample: PlanningSample, pool: Pool, cosines: Mapping[str, NDArray[np.floating]], seen: Seen) -> Judged:
    """A pool against the gold plan, and its neighbours by each kind of cosines [training instructions].

    UltraTool's plans are chains: a plan's links are its pairs of tasks that follow one another.
    """
    nodes, gold = sample.nodes, sample.links
    figures = [
        (set_f1(set(p), nodes), set_f1(links(p), gold), float(frozenset(p) == frozenset(nodes))) for p in pool.plans
    ]
    neighbours = {}
    for kind, row in cosines.items():
        nearest = np.argsort(-row, kind="stable")[:NEIGHBOURS]
        plans = tuple(seen.plans[i] for i in nearest)
        neighbours[kind] = Neighbours(row[nearest].astype(np.float64), plans, agreement(pool.plans, plans))
    return Judged(pool, np.array(figures), agreement(pool.plans, pool.plans), neighbours)


def links(plan: Plan) -> set[tuple[str, str]]:
    """The pairs that follow one another."""
    return set(itertools.pairwise(plan))


def agreement(plans: Sequence[Plan], others: Sequence[Plan]) -> NDArray[np.float64]:
    """[plans, others]: mean of the F1 of their sets of task types and of their sets of links."""
    return np.array([[(set_f1(set(p), set(o)) + set_f1(links(p), links(o))) / 2 for o in others] for p in plans])


def features(judged: Judged, seen: Seen) -> NDArray[np.float64]:
    """What speaks for each plan, [plans, NAMES].

    `logp`: its log-probability. `tasks`: how many. `labels`: log-odds of its types by the label head, summed. `order`:
    log-odds of its pairs' order in training plans, summed. `mentions`: steps forward less steps back in the
    instruction. `chain_seen`, `set_seen`: log(1 + training plans that are the same, or have the same set). `…_tasks`:
    log-odds of its types' shares of the neighbours' votes, summed; `…_plan`: log of the plan's own share; by tuned
    vectors and by frozen ones.
    """
    pool = judged.pool
    columns: dict[str, list[float]] = {name: [] for name in NAMES}
    asked = {kind: judged.neighbours[kind] for kind in ("tuned", "frozen")}
    weights = {kind: softmax(n.cosines / VOTE_TEMPERATURE) for kind, n in asked.items()}
    for plan, logp in zip(pool.plans, pool.logp, strict=True):
        types = list(dict.fromkeys(plan))
        columns["logp"].append(float(logp))
        columns["tasks"].append(len(plan))
        columns["labels"].append(sum(float(np.clip(pool.labels[t], -CERTAIN, CERTAIN)) for t in types))
        pairs = [(seen.before[a, b], seen.before[b, a]) for a, b in itertools.combinations(types, 2)]
        columns["order"].append(sum(float(np.log((there + 0.5) / (back + 0.5))) for there, back in pairs))
        columns["mentions"].append(float(np.sum(np.tanh(np.diff([pool.mentions[t] for t in plan]) / 5))))
        columns["chain_seen"].append(float(np.log1p(seen.chains[plan])))
        columns["set_seen"].append(float(np.log1p(seen.sets[frozenset(plan)])))
        for kind, near in asked.items():
            voted = [set(other) for other in near.plans]
            shares = [sum(w for w, other in zip(weights[kind], voted, strict=True) if t in other) for t in types]
            columns[f"{kind}_tasks"].append(sum(float(np.log((s + UNSEEN) / (1 - s + UNSEEN))) for s in shares))
            same = sum(w for w, other in zip(weights[kind], near.plans, strict=True) if other == plan)
            columns[f"{kind}_plan"].append(float(np.log(same + UNSEEN)))
    return np.array([columns[name] for name in NAMES], np.float64).T
