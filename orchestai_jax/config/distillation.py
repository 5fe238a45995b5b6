"""The configuration of a run that distils a ternary text encoder from a float one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestai_jax.config.mesh import MeshConfig
from orchestai_jax.config.monitoring import MonitoringConfig
from orchestai_jax.config.run_config import SystemConfig
from orchestai_jax.config.scheduled_training import ScheduledTraining
from orchestai_jax.config.section import Section


class TextSource(Section):
    """A file whose texts the encoder is distilled on."""

    path: str = Field(min_length=1)
    """Path of the file (relative to the working folder)."""
    format: Literal["taskbench", "sealtools", "nestful", "records", "planning", "catalog", "lines"] = "planning"
    """Samples (their instructions and steps), a catalog of any format (its descriptions), or JSON objects by line."""
    key: str | None = Field(default=None, min_length=1)
    """With `lines`: the key of the text."""
    leave_out: float = Field(default=0.0, ge=0, lt=1)
    """Share of the samples, by a hash of salt and id, that belongs to a test set and is not read."""
    salt: str = ""
    """What the ids are hashed with for `leave_out`."""

    @model_validator(mode="after")
    def _key_goes_with_lines(self) -> TextSource:
        if (self.key is not None) != (self.format == "lines"):
            raise ValueError("key is for the format lines, which needs one")
        if self.leave_out and self.format in ("catalog", "lines"):
            raise ValueError(f"leave_out is for samples, which have ids; {self.format} has none")
        return self


class DistillationDataConfig(Section):
    """The texts."""

    sources: tuple[TextSource, ...] = Field(min_length=1)
    """Files; a text that occurs twice is taken once."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the samples held out, by the same hash of their ids as a planner's training holds samples out by."""


class DistilledEncoderConfig(Section):
    """Teacher and student."""

    teacher: str = Field(default="minilm", min_length=1)
    """Name or path of BERT-family weights: the float encoder that is imitated."""
    sub_norms: bool = True
    """Norms before attention's output matrix and the second feed-forward matrix, as BitNet has them."""
    max_tokens: int = Field(default=128, ge=8, le=512)
    """Longest text in tokens; what is over is cut."""


class DistillationConfig(ScheduledTraining):
    """How the student learns the teacher's states."""

    batch_size: int = Field(default=32, ge=1)
    """Texts a step."""
    num_steps: int = Field(default=2000, ge=1)
    """Steps in all."""
    evaluate_every_steps: int = Field(default=250, ge=1)
    """Steps between two validations (and checkpoints); divides num_steps."""
    evaluation_batches: int | None = Field(default=16, ge=1)
    """Batches of held-out texts that are scored (null = all)."""
    learning_rate: float = Field(default=5e-4, ge=0)
    """Highest learning rate, reached after the warm-up."""
    final_learning_rate: float = Field(default=1e-5, ge=0)
    """Where the learning rate ends."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay of weight matrices."""
    quantization_warmup_steps: int = Field(default=200, ge=0)
    """Steps over which rounding grows from none to full strength."""
    hidden_loss_weight: float = Field(default=1.0, ge=0)
    """Weight of the mean over the layers of the relative squared error of hidden states."""
    final_loss_weight: float = Field(default=1.0, ge=0)
    """Weight of the same of the last layer."""
    pooled_loss_weight: float = Field(default=1.0, ge=0)
    """Weight of 1 - cosine of the texts' vectors (the means of their tokens')."""

    @model_validator(mode="after")
    def _something_is_imitated(self) -> DistillationConfig:
        if not self.hidden_loss_weight + self.final_loss_weight + self.pooled_loss_weight:
            raise ValueError("give hidden_loss_weight, final_loss_weight or pooled_loss_weight a value above 0")
        return self


class DistillationRunConfig(Section):
    """One run that distils a ternary text encoder."""

    kind: Literal["encoder_distillation"]
    """What is trained."""
    name: str = Field(min_length=1)
    """Name of the run, shown in reports."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of every random choice."""
    data: DistillationDataConfig
    """The texts."""
    encoder: DistilledEncoderConfig = DistilledEncoderConfig()
    """Teacher and student."""
    training: DistillationConfig = DistillationConfig()
    """How it is trained."""
    mesh: MeshConfig = MeshConfig()
    """How it is spread over devices."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """What is measured, and who is told."""
    system: SystemConfig = SystemConfig()
    """What the machine does around the run."""

    @model_validator(mode="after")
    def _batch_fits(self) -> DistillationRunConfig:
        self.mesh.check_batch(self.training.batch_size)
        return self
