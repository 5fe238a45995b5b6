"""Everything that a train step changes."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class TrainState:
    """The state of a training run, a pytree that train steps take donated.

    `step` counts the steps that are done. `params` is {"trainable": …, "frozen": …}; only the first part has
    optimizer moments.
    """

    step: jax.Array  # int32[]
    params: Any
    opt_state: Any
    key: jax.Array
