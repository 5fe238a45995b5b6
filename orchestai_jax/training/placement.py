"""A training state and its batches on a mesh of devices, of one process or of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from orchestai_jax.checkpoint.leaves import is_random_key
from orchestai_jax.config import MeshConfig
from orchestai_jax.nn.sharding import batch_sharding, make_mesh, parameter_sharding, replicated, uncut_parameters
from orchestai_jax.optimization import encoded_part
from orchestai_jax.training.loop_types import TrainStep
from orchestai_jax.training.train_state import TrainState

Tree = TypeVar("Tree")
Keep = Callable[[tuple[TrainState, Any]], tuple[TrainState, Any]]
"""A step's result to the same arrays, in the places that they are to lie in; runs inside jit."""


class Placement:
    """Where the arrays of a run lie. On one device it changes nothing: neither the programs nor where they run."""

    def __init__(self, config: MeshConfig):
        self.mesh: Mesh | None = make_mesh(config) if config.num_devices > 1 else None
        self._batch_parts = config.batch_parts

    @property
    def description(self) -> str:
        """`replica 2 × data 2 × tensor 2`, or the one device's name."""
        if self.mesh is None:
            return str(jax.devices()[0])
        return " × ".join(f"{axis} {size}" for axis, size in self.mesh.shape.items())

    def place_state(self, state: TrainState, optimizer: optax.GradientTransformation) -> TrainState:
        """The state, whole in this process or on the mesh already, put where it belongs: parameters, moments and
        average alike by the table."""
        if self.mesh is None:
            return jax.device_put(state, jax.devices()[0])
        return jax.tree.map(_put, state, self.shardings(state, optimizer))

    def shardings(self, state: TrainState, optimizer: optax.GradientTransformation) -> TrainState:
        """A sharding for each array of a state."""
        assert self.mesh is not None
        everywhere, mesh = replicated(self.mesh), self.mesh
        trainable = jax.tree_util.tree_map_with_path(
            lambda path, leaf: parameter_sharding(
                mesh, jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape
            ),
            state.params["trainable"],
        )
        if encoded_part(state.opt_state) is not None:  # all moments lie in one array: there is nothing to cut along
            moments = jax.tree.map(lambda leaf: everywhere, state.opt_state)
        else:
            moments = optax.tree.map_params(
                optimizer,
                lambda leaf, sharding: sharding,
                state.opt_state,
                trainable,
                transform_non_params=lambda leaf: everywhere,
            )
        others = {name: jax.tree.map(lambda leaf: everywhere, part) for name, part in state.params.items()}
        placed: dict[str, Any] = {
            "step": everywhere,
            "params": {**others, "trainable": trainable},
            "opt_state": moments,
            "key": everywhere,
            "skipped": everywhere,
            "ema": None if state.ema is None else trainable,
        }
        return TrainState(**placed)

    def told(self, parameters: dict[str, Any]) -> str:
        """A line for the monitor: the mesh, and the parameters that every device holds whole because the mesh does not
        divide their sizes."""
        if self.mesh is None:
            return self.description
        uncut = uncut_parameters(self.mesh, {name: value.shape for name, value in parameters.items()})
        return f"mesh: {self.description}" + (f"; not cut: {', '.join(uncut)}" if uncut else "")

    def keep(self, state: TrainState, optimizer: optax.GradientTransformation) -> Keep | None:
        """For the end of a step, inside jit: the next state lies as this one does, the measurements everywhere. None on
        one device."""
        if self.mesh is None:
            return None
        shardings = self.shardings(state, optimizer)

        def constrain(result: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
            state, measurements = result
            return jax.lax.with_sharding_constraint(state, shardings), self.gather(measurements)

        return constrain

    def gather(self, tree: Tree) -> Tree:
        """Inside jit: arrays that every device holds whole, so that each process can read them."""
        if self.mesh is None:
            return tree
        everywhere = replicated(self.mesh)
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, everywhere), tree)

    def fed(self, train_step: TrainStep, batch_size: int) -> TrainStep:
        """The step, its batches put on the mesh first: cut along the batch; whole what has another first axis."""
        if self.mesh is None:
            return train_step
        return lambda state, batch: train_step(state, self.batch(batch, batch_size))

    def batch(self, batch: Tree, batch_size: int) -> Tree:
        """A batch of this process put on the mesh: cut along the batch; whole what has another first axis."""
        if self.mesh is None:
            return batch
        cut, everywhere = batch_sharding(self.mesh), replicated(self.mesh)

        def place(leaf: Any) -> jax.Array:
            array = np.asarray(leaf)
            return _put(array, cut if array.ndim and array.shape[0] == batch_size else everywhere)

        return jax.tree.map(place, batch)

    def everywhere(self, tree: Tree) -> Tree:
        """Arrays of this process, whole on every device of the mesh."""
        if self.mesh is None:
            return tree
        everywhere = replicated(self.mesh)
        return jax.tree.map(lambda leaf: _put(leaf, everywhere), tree)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """An array that each process holds whole, or that lies on the mesh already, on the devices of all of them."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf if leaf.sharding == sharding else jax.jit(lambda x: x, out_shardings=sharding)(leaf)
    if is_random_key(leaf):
        words = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
