"""What a model service charges, and what a call used: cost = prices x usage."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_PRICE: Any = Field(default=0.0, ge=0, allow_inf_nan=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What one or several calls of a model used.

    Attributes:
        input_tokens: tokens of the prompts, the cached ones among them.
        cached_tokens: tokens of the prompts that the service had in its cache.
        output_tokens: tokens of the answers, hidden reasoning among them.
        audio_seconds: length of the recordings that were sent.
        characters: characters of the texts that were spoken.
        calls: requests that were answered.
        estimated: whether tokens were counted here, at four characters each, because the service named none.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    audio_seconds: float = 0.0
    characters: int = 0
    calls: int = 0
    estimated: bool = False

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in _FIELDS)
        return Usage(**{name: a or b if name == "estimated" else a + b for name, a, b in pairs})


_FIELDS = dataclasses.fields(Usage)


class Prices(BaseModel):
    """A row of a price table, in US dollars. What is not given costs nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    input_per_million: float = _PRICE
    """For a million tokens of prompts."""
    cached_input_per_million: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """For a million tokens of prompts that the service had cached; as other tokens of prompts where not given."""
    output_per_million: float = _PRICE
    """For a million tokens of answers."""
    per_call: float = _PRICE
    """For each request, whatever it is."""
    per_audio_minute: float = _PRICE
    """For a minute of a recording that is transcribed."""
    per_million_characters: float = _PRICE
    """For a million characters that are spoken."""

    def cost(self, usage: Usage) -> float:
        """US dollars for what was used."""
        cached_price = self.cached_input_per_million
        if cached_price is None:
            cached_price = self.input_per_million
        return (
            (usage.input_tokens - usage.cached_tokens) * self.input_per_million / 1e6
            + usage.cached_tokens * cached_price / 1e6
            + usage.output_tokens * self.output_per_million / 1e6
            + usage.calls * self.per_call
            + usage.audio_seconds * self.per_audio_minute / 60
            + usage.characters * self.per_million_characters / 1e6
        )
