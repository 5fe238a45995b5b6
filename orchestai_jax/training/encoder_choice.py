"""Which text encoder a planner is trained with: imported weights, or sizes of one from scratch."""

from __future__ import annotations

import dataclasses
import logging

from orchestai_jax.config import EncoderConfig, RunConfig
from orchestai_jax.data import Tokenizer, bucket_length, train_tokenizer
from orchestai_jax.planner.encoders import EncoderSizes
from orchestai_jax.planner.pretrained import (
    KNOWN_ENCODERS,
    EncoderNotFoundError,
    PretrainedEncoder,
    load_pretrained,
)
from orchestai_jax.planner.text_encoder import TextEncoderConfig
from orchestai_jax.training.planning_data import TRAINING_BUCKET
from orchestai_jax.training.training_samples import TrainingSamples

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ChosenEncoder:
    """The pretrained encoder, or the sizes of one to train or to take from a planner, its tokenizer, and a word on
    where it is from."""

    encoder: PretrainedEncoder | EncoderSizes
    tokenizer: Tokenizer
    source: str
    pretrained: bool
    """Whether its weights were imported, now or for the planner that training starts from."""

    @property
    def sizes(self) -> EncoderSizes:
        """The encoder's sizes."""
        return self.encoder.config if isinstance(self.encoder, PretrainedEncoder) else self.encoder


def choose_encoder(config: RunConfig, samples: TrainingSamples) -> ChosenEncoder:
    """What the configuration names, where it is found; else an encoder to train from scratch, with a warning."""
    settings = config.planner.encoder
    why = "trained from scratch"
    if settings.weights != "none":
        try:
            pretrained = load_pretrained(settings.weights)
        except EncoderNotFoundError as error:
            if settings.weights not in KNOWN_ENCODERS:  # somebody's own folder or repository: a slip, most likely
                raise
            logger.warning("%s; an encoder is trained from scratch in its place", error)
            why = f"trained from scratch, as {settings.weights} was not found"
        else:
            return ChosenEncoder(pretrained, pretrained.tokenizer, f"{settings.weights} ({pretrained.source})", True)
    texts = [s.instruction for s in samples.train] + [t.text for t in samples.catalog.task_types]
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    return ChosenEncoder(sizes_from_scratch(settings, tokenizer.vocab_size), tokenizer, why, False)


def sizes_from_scratch(settings: EncoderConfig, vocab_size: int) -> TextEncoderConfig:
    """The sizes of an encoder without imported weights."""
    return TextEncoderConfig(
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        num_layers=settings.num_layers,
        num_heads=settings.num_heads,
        intermediate_size=settings.intermediate_size,
        max_positions=bucket_length(settings.max_tokens, TRAINING_BUCKET),  # padding has positions too
    )
