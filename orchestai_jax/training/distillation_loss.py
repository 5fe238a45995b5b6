"""How far a ternary encoder's states are from those of the float encoder that it is distilled from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.config import DistillationConfig
from orchestai_jax.nn.straight_through import Strength
from orchestai_jax.planner.ternary_encoder import TernaryEncoder
from orchestai_jax.planner.ternary_start import teacher_states
from orchestai_jax.planner.text_encoder import TextEncoder, mean_pool
from orchestai_jax.training.placement import Placement

Parameters = dict[str, Array]
"""Parameters by dotted path."""


class Losses:
    """What a student's states are compared by. Teacher and tables are given to the compiled programs, not saved."""

    def __init__(
        self,
        teacher: TextEncoder,
        student: TernaryEncoder,
        fixed: Parameters,
        config: DistillationConfig,
        placement: Placement,
    ):
        self.config, self.gather = config, placement.gather
        self.graphdef, _ = nnx.split(student, nnx.Param)
        self.teacher_graphdef, teacher_state = nnx.split(teacher, nnx.Param)
        self.constants: Any = placement.everywhere((teacher_state, fixed))

    def student(self, trainable: Parameters, fixed: Parameters) -> TernaryEncoder:
        """The student with these parameters; inside jit this is free."""
        flat = [
            (tuple(int(p) if p.isdigit() else p for p in name.split(".")), nnx.Param(value))
            for name, value in {**trainable, **fixed}.items()
        ]
        return nnx.merge(self.graphdef, nnx.from_flat_state(flat))

    def measure(
        self,
        trainable: Parameters,
        constants: Any,
        ids: Int[Array | np.ndarray, "batch n"],
        mask: Bool[Array | np.ndarray, "batch n"],
        strength: Strength = None,
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss, and what it is made of."""
        teacher_state, fixed = constants
        ids, mask = jnp.asarray(ids), jnp.asarray(mask)
        wanted = teacher_states(nnx.merge(self.teacher_graphdef, teacher_state), ids, mask)
        student = self.student(trainable, fixed)
        errors, x = [], student.embedding(ids)
        for layer, states in zip(student.layers, wanted, strict=True):
            x = layer(x, mask, strength=strength)
            errors.append(relative_error(x, states, mask))
        vectors = (mean_pool(x, mask), mean_pool(wanted[-1], mask))
        rows = jnp.any(mask, axis=1)
        cosine = jnp.sum(_cosine(*vectors) * rows) / jnp.maximum(jnp.sum(rows), 1)
        config, hidden = self.config, jnp.mean(jnp.stack(errors))
        loss = (
            config.hidden_loss_weight * hidden
            + config.final_loss_weight * errors[-1]
            + config.pooled_loss_weight * (1 - cosine)
        )
        layers = {f"error_layer_{i}": error for i, error in enumerate(errors, 1)}
        return loss, {"loss": loss, "hidden_error": hidden, "pooled_cosine": cosine, **layers}


def relative_error(
    x: Float[Array, "batch n hidden"], wanted: Float[Array, "batch n hidden"], mask: Bool[Array, "batch n"]
) -> Float[Array, ""]:
    """|x - wanted|² over |wanted|², both summed over the tokens that count."""
    weights = mask[..., None].astype(x.dtype)
    return jnp.sum(weights * jnp.square(x - wanted)) / jnp.maximum(jnp.sum(weights * jnp.square(wanted)), 1e-6)


def _cosine(x: Float[Array, "batch hidden"], y: Float[Array, "batch hidden"]) -> Float[Array, "batch"]:
    """0 where one is zero, with a gradient that is finite there."""
    product, sizes = jnp.sum(x * y, axis=-1), jnp.sum(x * x, axis=-1) * jnp.sum(y * y, axis=-1)
    return product * jax.lax.rsqrt(sizes + 1e-12)
