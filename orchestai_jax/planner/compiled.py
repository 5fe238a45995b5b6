"""The planner's compiled programs: parameters, catalog and instructions in, plans or scores out."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.config import DecodingConfig
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.decoding import DecodedPlans, decode, decode_given, decode_ranked, score_given
from orchestai_jax.planner.description_matcher import Evidence
from orchestai_jax.planner.evidence_reader import SegmentArrays
from orchestai_jax.planner.model import Parameters, PlannerModel, merge_parameters


@struct.dataclass
class PlanningInputs:
    """A batch of instructions as the network takes them."""

    ids: Int[Array | np.ndarray, "batch n"]
    mask: Bool[Array | np.ndarray, "batch n"]
    segments: SegmentArrays | None

    def of(self, model: PlannerModel) -> tuple[Array, Array, Evidence | None]:
        """The frozen layers' output, the mask, and the evidence of the segments."""
        ids, mask = jnp.asarray(self.ids), jnp.asarray(self.mask)
        return model.lower(ids, mask), mask, model.evidence(ids, mask, self.segments)


@functools.partial(jax.jit, static_argnums=(0, 1))
def plan(
    graphdef: nnx.GraphDef,
    decoding: DecodingConfig,
    parameters: Parameters,
    arrays: CatalogArrays,
    inputs: PlanningInputs,
    preference: Float[Array, "batch 3"],
) -> DecodedPlans:
    """The plan that decoding gives out, of each instruction."""
    model = merge_parameters(graphdef, parameters)
    lower, mask, evidence = inputs.of(model)
    return decode(model, arrays, lower, mask, preference, decoding, evidence)


@functools.partial(jax.jit, static_argnums=(0, 1))
def plan_ranked(
    graphdef: nnx.GraphDef,
    beams: int,
    parameters: Parameters,
    arrays: CatalogArrays,
    inputs: PlanningInputs,
    preference: Float[Array, "batch 3"],
) -> DecodedPlans:
    """All plans of each instruction that a search with so many beams ends with."""
    model = merge_parameters(graphdef, parameters)
    lower, mask, evidence = inputs.of(model)
    return decode_ranked(model, arrays, lower, mask, preference, beams, evidence)


@functools.partial(jax.jit, static_argnums=0)
def label_probabilities(
    graphdef: nnx.GraphDef, parameters: Parameters, arrays: CatalogArrays, inputs: PlanningInputs
) -> Float[Array, "batch T"]:
    """How probable each task type is by the label head (and the description matcher)."""
    model = merge_parameters(graphdef, parameters)
    lower, mask, evidence = inputs.of(model)
    return jax.nn.sigmoid(model.encode(arrays, lower, mask, evidence=evidence).labels)


@functools.partial(jax.jit, static_argnums=0)
def plan_given(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    arrays: CatalogArrays,
    inputs: PlanningInputs,
    preference: Float[Array, "batch 3"],
    chosen: Int[Array, "batch J"],
) -> DecodedPlans:
    """Edges, workers and complexities for given tasks."""
    model = merge_parameters(graphdef, parameters)
    lower, mask, evidence = inputs.of(model)
    return decode_given(model, arrays, lower, mask, preference, chosen, evidence)


@functools.partial(jax.jit, static_argnums=0)
def score_of_given(
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    arrays: CatalogArrays,
    inputs: PlanningInputs,
    chosen: Int[Array, "batch J"],
) -> tuple[Array, Array]:
    """Log-probabilities of given tasks and log-odds of their edges, see `score_given`."""
    model = merge_parameters(graphdef, parameters)
    lower, mask, evidence = inputs.of(model)
    return score_given(model, arrays, lower, mask, chosen, evidence)
