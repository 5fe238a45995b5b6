"""What every kind of training can be told about its optimizer and its checkpoints."""

from __future__ import annotations

from pydantic import Field

from orchestai_jax.config.section import Section


class TrainingOptions(Section):
    """Options that phase 1 and the language model share."""

    initialize_from: str | None = None
    """Work folder, checkpoint or (language model) Hugging Face folder whose weights training starts from."""
    accumulate_steps: int = Field(default=1, ge=1)
    """Steps whose mean gradient makes one update; schedules count updates."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay a step of the parameters' moving average, which is validated and released in their place (null = none)."""
    skip_nonfinite_updates: int = Field(default=0, ge=0)
    """Updates in a row that are skipped for not being finite before the run fails (0 = it fails at the first)."""
    keep_best: int = Field(default=1, ge=1)
    """Best checkpoints kept."""
    keep_every_steps: int | None = Field(default=None, ge=1)
    """Checkpoints of multiples of so many steps are kept for good (null = none)."""
