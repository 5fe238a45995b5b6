"""The program that plans, for one planner: from the cache on disk where it is there, else traced and put there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from orchestai_jax.config import DecodingConfig
from orchestai_jax.planner import compiled
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.compiled import PlanningInputs
from orchestai_jax.planner.decoding import DecodedPlans
from orchestai_jax.planner.model import ModelSpec, Parameters
from orchestai_jax.planner.program_cache import ProgramCache, exported, network_key

_FIELDS = tuple(field.name for field in dataclasses.fields(DecodedPlans))


def parameters_key(spec: ModelSpec, parameters: Parameters) -> str:
    """`network_key` of a network with its parameters."""
    shapes = sorted((name, tuple(x.shape), str(x.dtype)) for name, x in parameters.items())
    return network_key(repr(spec), repr(shapes))


class PlanningPrograms:
    """Plans batches as `compiled.plan` does, one program for each shape of inputs and catalog."""

    def __init__(self, graphdef: Callable[[], nnx.GraphDef], parameters: Parameters, cache: ProgramCache | None):
        """`graphdef` is called where a program must be traced."""
        self._graphdef, self._cache = graphdef, cache
        self._parameters, self._structure = jax.tree.flatten(parameters)
        self._programs: dict[Any, Callable[..., tuple[Array, ...]]] = {}

    def __len__(self) -> int:
        """How many programs there are."""
        return len(self._programs)

    def plan(
        self,
        decoding: DecodingConfig,
        arrays: CatalogArrays,
        inputs: PlanningInputs,
        preference: Float[Array | np.ndarray, "batch 3"],
    ) -> DecodedPlans:
        """The plan that decoding gives out, of each instruction."""
        leaves, structure = jax.tree.flatten((arrays, inputs, preference))
        key = decoding, structure, tuple((x.shape, x.dtype) for x in leaves)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = self._open(decoding, structure, leaves)
        return DecodedPlans(**dict(zip(_FIELDS, program(self._parameters, leaves), strict=True)))

    def _open(self, decoding: DecodingConfig, structure: Any, leaves: list[Any]) -> Callable[..., tuple[Array, ...]]:
        of_parameters, graphdef = self._structure, self._graphdef

        @jax.jit
        def plan(parameters: list[Array], leaves: list[Array]) -> tuple[Array, ...]:
            arrays, inputs, preference = jax.tree.unflatten(structure, leaves)
            by_name = jax.tree.unflatten(of_parameters, parameters)
            plans = compiled.plan(graphdef(), decoding, by_name, arrays, inputs, preference)
            return tuple(getattr(plans, name) for name in _FIELDS)

        if self._cache is None:
            return plan
        signature = f"plan {decoding!r} {structure} {[(x.shape, str(x.dtype)) for x in leaves]}"
        program = self._cache.load(signature)
        if program is None:
            program = exported(plan, (self._parameters, leaves))
            self._cache.keep(signature, program)
        return jax.jit(program.call)
