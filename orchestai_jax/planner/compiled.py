"""The planner's compiled programs: parameters, catalog and instructions in, plans or scores out."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int
from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.int8_matmul import int8_matmul

from orchestai_jax.config import DecodingConfig
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.decoding import DecodedPlans, decode, decode_given, decode_ranked, score_given
from orchestai_jax.planner.description_matcher import DescriptionMatcher, Evidence
from orchestai_jax.planner.evidence_reader import SegmentArrays
from orchestai_jax.planner.large_catalog import SHARED
from orchestai_jax.planner.model import Parameters, PlannerModel, merge_parameters


@struct.dataclass
class EncodedTexts:
    """What the frozen layers make of instructions."""

    lower: Float[Array, "batch n hidden"]
    """As the trained layers take it."""
    segments: Float[Array, "batch S hidden"]
    """Unit vectors of the segments."""


@struct.dataclass
class PlanningInputs:
    """A batch of instructions as the network takes them."""

    ids: Int[Array | np.ndarray, "batch n"]
    mask: Bool[Array | np.ndarray, "batch n"]
    segments: SegmentArrays | None
    encoded: EncodedTexts | None = None
    """Where they went through the frozen layers already."""

    def of(self, model: PlannerModel) -> tuple[Array, Array, Evidence | None]:
        """The frozen layers' output, the mask, and the evidence of the segments."""
        ids, mask = jnp.asarray(self.ids), jnp.asarray(self.mask)
        if self.encoded is None:
            return model.lower(ids, mask), mask, model.evidence(ids, mask, self.segments)
        evidence = None if self.segments is None else self.segments.evidence(self.encoded.segments)
        return self.encoded.lower, mask, evidence


def plan(
    graphdef: nnx.GraphDef,
    decoding: DecodingConfig,
    parameters: Parameters,
    arrays: CatalogArrays,
    inputs: PlanningInputs,
    preference: Float[Array, "batch 3"],
) -> DecodedPlans:
    """The plan that decoding gives out, of each instruction. Not compiled here: PlanningPrograms does that."""
    model = merge_parameters(graphdef, parameters)
    lower, mask, evidence = inputs.of(model)
    return decode(model, arrays, lower, mask, preference, decoding, evidence)


@functools.partial(jax.jit, static_argnums=(0, 1))
def plan_each(
    graphdef: nnx.GraphDef,
    decoding: DecodingConfig,
    parameters: Parameters,
    catalogs: dict[str, Array],
    inputs: PlanningInputs,
    preference: Float[Array, "batch 3"],
) -> DecodedPlans:
    """`plan`, each instruction over a catalog of its own: `catalogs` are `stacked`."""
    model = merge_parameters(graphdef, parameters)

    lower, mask, evidence = inputs.of(model)
    leaves, structure = jax.tree.flatten((lower, mask, preference, evidence))

    def one(fields: dict[str, Any], row: list[Array]) -> dict[str, Array]:
        lower, mask, preference, evidence = jax.tree.unflatten(structure, [x[None] for x in row])
        plan = decode(model, CatalogArrays(**fields), lower, mask, preference, decoding, evidence)
        return {name: value[0] for name, value in vars(plan).items()}

    axes = {name: None if name in SHARED else 0 for name in catalogs}
    return DecodedPlans(**jax.vmap(one, in_axes=(axes, 0))(catalogs, leaves))


@functools.partial(jax.jit, static_argnums=(0, 1))
def retrieve(
    graphdef: nnx.GraphDef,
    count: int,
    parameters: Parameters,
    descriptions: Int8Array,
    inputs: PlanningInputs,
    inside: Bool[Array, "batch S n"],
    kinds: Int[Array, "batch S"],
    shared: Float[Array, "batch S T"],
) -> tuple[EncodedTexts, Int[Array, "batch count"]]:
    """The instructions encoded, and for each the `count` task types that the description matcher puts first.

    The best type of each segment is always among them, so that rivalry among them is rivalry among all. Cosines are of
    vectors in 8 bits a number. `shared` are the weighted sums of shares of words in common. A planner without a
    matcher retrieves with the weights that one starts from.
    """
    model = merge_parameters(graphdef, parameters)
    matcher = model.matcher if model.matcher is not None else DescriptionMatcher()
    ids, mask = jnp.asarray(inputs.ids), jnp.asarray(inputs.mask)
    vectors = model.segment_vectors(ids, mask, inside)
    match, short = matcher.match(int8_matmul(vectors, descriptions), shared, kinds)
    leads = jnp.any((short <= 0) & (kinds >= 0)[..., None], axis=1)
    order = jnp.where(leads, jnp.inf, matcher.log_odds(match, kinds))
    return EncodedTexts(model.lower(ids, mask), vectors), jax.lax.top_k(order, count)[1]


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


@functools.partial(jax.jit, static_argnums=(0, 1))
def score_of_given(
    graphdef: nnx.GraphDef,
    by_labels: bool,
    parameters: Parameters,
    arrays: CatalogArrays,
    inputs: PlanningInputs,
    chosen: Int[Array, "batch J"],
) -> tuple[Float[Array, "batch J"], Float[Array, "batch J J"]]:
    """Log-probabilities of given tasks and log-odds of their edges, see `score_given`."""
    model = merge_parameters(graphdef, parameters)
    lower, mask, evidence = inputs.of(model)
    return score_given(model, arrays, lower, mask, chosen, evidence, by_labels)
