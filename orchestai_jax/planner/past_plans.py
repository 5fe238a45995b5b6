"""Plans of the training instructions nearest to one: they vote, beside the decoder, on which plan is given out.

What was asked for in like cases before is heard beside the network, as nearest-neighbour language models do with next
words (Khandelwal et al. 2020, arXiv:1911.00172); here whole plans vote in the minimum Bayes risk decision.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.checkpoint import CheckpointError
from orchestai_jax.config import DecodingConfig
from orchestai_jax.data import PlanningSample
from orchestai_jax.planner.plan_agreement import agreement
from orchestai_jax.planner.scaled_cosine import unit
from orchestai_jax.planner.text_encoder import mean_pool

ASSET = "past_plans.json"
_NOWHERE = -2.0
"""A cosine that no two vectors have."""


@struct.dataclass
class PastPlans:
    """N training instructions and their plans, over a catalog of T task types; J is the most tasks of a plan."""

    vectors: Float[Array | np.ndarray, "N V"]
    """`instruction_vectors`; zero where there is none yet."""
    plans: Int[Array | np.ndarray, "N J"]
    """T stands for no task."""
    usable: Bool[Array | np.ndarray, "N"]
    """Whether the catalog has every task type of the plan."""


@dataclasses.dataclass(frozen=True)
class PlanMemory:
    """What a planner keeps of its training samples: ids, and task types in order."""

    ids: tuple[str, ...]
    plans: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, samples: Sequence[PlanningSample]) -> PlanMemory:
        """Of samples whose tasks are in topological order."""
        return cls(tuple(s.id for s in samples), tuple(s.task_types for s in samples))

    @classmethod
    def from_assets(cls, assets: Mapping[str, str]) -> PlanMemory | None:
        """What `to_assets` made; None where there is none. Raises ValueError for a text that is something else."""
        if ASSET not in assets:
            return None
        raw = json.loads(assets[ASSET])
        try:
            ids, plans = (tuple(map(str, raw["ids"])), tuple(tuple(map(str, plan)) for plan in raw["plans"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{ASSET} is not a list of ids and one of plans") from error
        if len(ids) != len(plans):
            raise ValueError(f"{ASSET} holds {len(ids)} ids and {len(plans)} plans")
        return cls(ids, plans)

    def to_assets(self) -> dict[str, str]:
        """The text file of a checkpoint."""
        return {ASSET: json.dumps({"ids": self.ids, "plans": self.plans})}

    def over(self, positions: Mapping[str, int], vectors: Float[np.ndarray, "N V"], max_tasks: int) -> PastPlans:
        """As arrays over a catalog whose task types have these positions. Raises ValueError unless there are as many
        vectors as plans."""
        if len(vectors) != len(self.plans):
            raise ValueError(f"{len(self.plans)} past plans, but vectors of {len(vectors)}")
        plans = np.full((len(self.plans), max_tasks), len(positions), np.int32)
        usable = np.zeros(len(self.plans), bool)
        for row, plan in enumerate(self.plans):
            if len(plan) <= max_tasks and all(t in positions for t in plan):
                plans[row, : len(plan)], usable[row] = [positions[t] for t in plan], True
        return PastPlans(np.asarray(vectors, np.float32), plans, usable & np.any(vectors, axis=1))


def instruction_vectors(
    lower: Float[Array, "batch n hidden"], hidden: Float[Array, "batch n hidden"], mask: Bool[Array, "batch n"]
) -> Float[Array, "batch V"]:
    """Unit vectors [2 x hidden] whose cosine is the mean of two: of the tokens' mean after the layers that no training
    changes, and after the last one."""
    return jnp.concatenate([unit(mean_pool(lower, mask)), unit(mean_pool(hidden, mask))], axis=-1) / jnp.sqrt(2.0)


def votes(
    past: PastPlans,
    vectors: Float[Array, "batch V"],
    chosen: Int[Array, "batch beams J"],
    num_task_types: int,
    decoding: DecodingConfig,
) -> Float[Array, "batch beams"]:
    """Expected agreement of each plan with those of the nearest instructions, weighed by
    softmax(cosine / `neighbour_temperature`); 0 where there is no instruction whose plan the catalog allows."""
    cosines = jnp.where(past.usable, vectors @ jnp.asarray(past.vectors).T, _NOWHERE)
    nearest, rows = jax.lax.top_k(cosines, min(decoding.neighbours, past.usable.shape[0]))
    weights = jax.nn.softmax(nearest / decoding.neighbour_temperature, axis=-1) * (nearest > _NOWHERE)
    agreed = agreement(chosen, jnp.asarray(past.plans)[rows], num_task_types)
    return jnp.einsum("bpk,bk->bp", agreed, weights)


def saved_past(
    params: Mapping[str, Any], assets: Mapping[str, str], width: int, where: str
) -> tuple[PlanMemory, Float[np.ndarray, "N V"]] | None:
    """Plans and vectors [N, width] of a checkpoint; None where it has none.

    Raises CheckpointError where they do not go together.
    """
    if "past" not in params:
        return None
    try:
        memory = PlanMemory.from_assets(assets)
        vectors = np.asarray(params["past"]["vectors"], np.float32)
        if memory is None or len(vectors) != len(memory.ids):
            raise ValueError(f"{ASSET} does not hold a plan for each of {len(vectors)} vectors")
        if vectors.shape[1:] != (width,):
            raise ValueError(f"vectors are {list(vectors.shape)}, the encoder makes [{len(vectors)}, {width}]")
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{where}: cannot read the past plans ({error})") from error
    return memory, vectors
