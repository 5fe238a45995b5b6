"""The task-type graph: a task type's vector refined by those of the types that it is linked with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from orchestai_jax.config import TaskTypeGraphConfig
from orchestai_jax.nn.graph import make_graph_layer
from orchestai_jax.planner.task_type_links import TaskTypeLinks

_CHUNK = 4096
"""Types without links that are refined at once where a catalog is bound."""


class TaskTypeGraph(nnx.Module):
    """e' = e + V (h - e), where h are the vectors e after graph layers, h <- h + gelu(layer(h)), over the links.

    V starts at zero: the refined vectors begin as those that are refined, and a planner as one without a graph. A type
    that training never saw has links of its own, and so a vector that knows where it belongs.
    """

    def __init__(self, config: TaskTypeGraphConfig, size: int, *, rngs: nnx.Rngs):
        """`config.layer` names a layer. Raises ValueError where its heads do not divide `size`."""
        heads, side_by_side = config.num_heads, config.concatenates
        self.layers = nnx.List(
            [
                make_graph_layer(config.layer, size, num_heads=heads, concatenate=side_by_side, rngs=rngs)
                for _ in range(config.num_layers)
            ]
        )
        self.out = nnx.Linear(size, size, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, rows: Float[Array, "T hidden"], links: TaskTypeLinks) -> Float[Array, "T hidden"]:
        """The refined vectors of all task types of a catalog."""
        refined = self.unlinked(rows)
        if not links.types.shape[0]:
            return refined
        return refined.at[links.types].set(self.linked(rows[links.types], links.weights))

    def linked(self, rows: Float[Array, "G hidden"], weights: Float[Array, "G G"]) -> Float[Array, "G hidden"]:
        """The refined vectors of types whose links are all among themselves."""
        return self._refined(rows[None], weights[None])[0]

    def unlinked(self, rows: Float[Array, "n hidden"]) -> Float[Array, "n hidden"]:
        """The refined vectors of types without a link: of so many graphs of one node."""
        return self._refined(rows[:, None], jnp.zeros((rows.shape[0], 1, 1), rows.dtype))[:, 0]

    def _refined(
        self, rows: Float[Array, "batch n hidden"], weights: Float[Array, "batch n n"]
    ) -> Float[Array, "batch n hidden"]:
        nodes, mask = rows, jnp.ones(rows.shape[:2], bool)
        for layer in self.layers:
            nodes = nodes + jax.nn.gelu(layer(nodes, weights, mask))
        return rows + self.out(nodes - rows)


def refined_rows(
    config: TaskTypeGraphConfig,
    parameters: Mapping[str, Any],
    name: str,
    rows_of: Callable[[Int[np.ndarray, "n"]], Float[np.ndarray, "n hidden"]],
    size: int,
    links: TaskTypeLinks,
) -> Float[np.ndarray, "T hidden"]:
    """What the TaskTypeGraph whose parameters' names begin with `name` makes of all T = `size` types of a catalog.

    `rows_of` gives the vectors of types at some positions; few are asked for at once, so that a large catalog's are
    never all there twice.
    """
    own = {key.removeprefix(f"{name}."): value for key, value in parameters.items() if key.startswith(f"{name}.")}
    hidden = own["out.kernel"].shape[0]
    refined = np.empty((size, hidden), np.float32)
    chunk = min(size, _CHUNK)
    for start in range(0, size, chunk):
        types = np.minimum(np.arange(start, start + chunk), size - 1)  # of one length, compiled once
        found = np.asarray(_unlinked(config, own, rows_of(types)))
        refined[start : start + chunk] = found[: size - start]
    if links.types.shape[0]:
        types = np.asarray(links.types)
        refined[types] = np.asarray(_linked(config, own, rows_of(types), links.weights))
    return refined


@functools.partial(jax.jit, static_argnums=0)
def _unlinked(config: TaskTypeGraphConfig, own: Mapping[str, Array], rows: Array) -> Array:
    return _merged(config, own).unlinked(rows)


@functools.partial(jax.jit, static_argnums=0)
def _linked(config: TaskTypeGraphConfig, own: Mapping[str, Array], rows: Array, weights: Array) -> Array:
    return _merged(config, own).linked(rows, weights)


def _merged(config: TaskTypeGraphConfig, own: Mapping[str, Array]) -> TaskTypeGraph:
    """The module with these parameters, by their dotted names."""
    hidden = own["out.kernel"].shape[0]
    graphdef, state = nnx.split(nnx.eval_shape(lambda: TaskTypeGraph(config, hidden, rngs=nnx.Rngs(0))))
    named = [(path, variable.replace(own[".".join(map(str, path))])) for path, variable in nnx.to_flat_state(state)]
    return nnx.merge(graphdef, nnx.from_flat_state(named))
