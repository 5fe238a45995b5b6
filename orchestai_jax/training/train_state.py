"""Everything that a train step changes."""

from __future__ import annotations

from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """The state of a training run, a pytree that train steps take donated.

    `step` counts the steps that are done. `params` is {"trainable": …, "frozen": …}; only the first part has
    optimizer moments. `skipped` counts the steps whose update was refused (it was not finite, or a gate said no).
    `ema` is the moving average of `params["trainable"]`, or None where none is kept.
    """

    step: jax.Array  # int32[]
    params: Any
    opt_state: Any
    key: jax.Array
    skipped: jax.Array = flax.struct.field(default_factory=lambda: jnp.zeros((), jnp.int32))  # int32[]
    ema: Any = None

    @classmethod
    def at_start(cls, params: Any, optimizer: optax.GradientTransformation, key: jax.Array, *, averaged: bool) -> Self:
        """Before the first step; `averaged`: an average is kept, and begins as a copy of what is trained."""
        trainable = params["trainable"]
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=jax.jit(optimizer.init)(trainable),
            key=key,
            ema=jax.tree.map(jnp.copy, trainable) if averaged else None,
        )

    def averaged(self) -> Self:
        """The state with the average in the parameters' place, as it is validated; itself where there is none."""
        if self.ema is None:
            return self
        return self.replace(params={**self.params, "trainable": self.ema})  # type: ignore[attr-defined]
