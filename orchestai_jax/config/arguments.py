"""How the arguments of planned tasks are filled, and how the learned filler is fitted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestai_jax.config.section import Section


class ArgumentsConfig(Section):
    """The arguments of planned tasks."""

    method: Literal["rules", "learned"] = "rules"
    """Who fills parameters: rules alone, or a scorer of spans and earlier outputs that is fitted before training."""
    hidden_size: int = Field(default=64, ge=2)
    """Width of the scorer's hidden layer."""
    value_threshold: float = Field(default=0.35, ge=0, le=1)
    """Least probability of a value that is taken; below it the parameter stays open."""
    reference_threshold: float = Field(default=0.4, ge=0, le=1)
    """Least probability of an earlier task's output that is taken."""


class ArgumentFittingConfig(Section):
    """How the scorer of arguments is fitted; it says nothing where arguments are filled by rules."""

    num_steps: int = Field(default=300, ge=1)
    """Steps of the optimizer."""
    batch_size: int = Field(default=96, ge=1)
    """Parameters a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest learning rate; it rises over a twentieth of the steps and falls along a cosine."""
    weight_decay: float = Field(default=0.02, ge=0)
    """AdamW's decay."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of the hidden layer dropped in a step."""
    unmatched_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of a parameter whose gold value the instruction does not hold: it counts as not said."""
