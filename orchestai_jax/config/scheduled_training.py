"""Training for a number of steps: optimizer and intervals of language models and distilled encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestai_jax.config.training_options import TrainingOptions


class ScheduledTraining(TrainingOptions):
    """A number of steps with AdamW, a schedule in one or two phases, and validations in between."""

    num_steps: int = Field(default=2000, ge=1)
    """Steps in all."""
    evaluate_every_steps: int = Field(default=250, ge=1)
    """Steps between two validations (and checkpoints); divides num_steps."""
    evaluation_batches: int | None = Field(default=None, ge=1)
    """Batches of validation text that are scored (null = all of it, once)."""
    learning_rate: float = Field(default=1e-3, ge=0)
    """Highest learning rate, reached after the warm-up."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises."""
    schedule: Literal["cosine", "linear", "stable_decay", "constant", "two_phase"] = "cosine"
    """After the warm-up half a cosine or a line down to `final_learning_rate`, the same over the last fifth only
    (stable_decay), no fall; or two phases, each a falling line, the second from a lower rate."""
    final_learning_rate: float = Field(default=1e-4, ge=0)
    """Where the learning rate ends."""
    second_phase_start: float = Field(default=0.5, gt=0, lt=1)
    """Share of the steps after which the second phase begins (two_phase only)."""
    second_phase_learning_rate: float = Field(default=5e-4, ge=0)
    """Learning rate at the start of the second phase (two_phase only)."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decay of weight matrices (norms and embeddings are left alone)."""
    second_phase_weight_decay: float = Field(default=0.0, ge=0)
    """The same in the second phase (two_phase only)."""
    beta2: float = Field(default=0.99, gt=0, lt=1)
    """AdamW's decay of the second moment."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest global norm of a gradient."""
    quantization_warmup_steps: int = Field(default=0, ge=0)
    """Steps over which quantisation grows from none to full strength, for training on from a float checkpoint."""
    early_stop_patience: int | None = Field(default=None, ge=1)
    """Validations without a better loss before training stops (null = never)."""
    save_every_steps: int | None = Field(default=None, ge=1)
    """Save also every so many steps (null = at each validation only)."""
    keep_checkpoints: int = Field(default=1, ge=1)
    """Newest checkpoints kept, beside the best."""
    log_every_steps: int = Field(default=50, ge=1)
    """Steps between two lines of training metrics."""

    @model_validator(mode="after")
    def _steps_fit(self) -> ScheduledTraining:
        if self.num_steps % self.evaluate_every_steps:
            raise ValueError(
                f"num_steps {self.num_steps} is not a multiple of evaluate_every_steps {self.evaluate_every_steps}"
            )
        if self.warmup_steps >= self.num_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} leaves nothing of num_steps {self.num_steps}")
        if self.schedule == "two_phase" and self.warmup_steps >= self.second_phase_start * self.num_steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} must end before the second phase, "
                f"step {round(self.second_phase_start * self.num_steps)}"
            )
        return self

    @property
    def best_metric(self) -> str:
        """Validation metric by which the best checkpoint is chosen: minus the loss, so that higher is better."""
        return "score"

    @property
    def best_mode(self) -> Literal["max", "min"]:
        """Higher is better."""
        return "max"
