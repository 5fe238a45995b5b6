"""Batches of consecutive tokens for next-token training: random crops, the same for the same seed and step."""

from __future__ import annotations

import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int32

from orchestai_jax.config import TextDataConfig
from orchestai_jax.language_model.tokenizers import TextTokenizer, load_tokenizer, train_characters


class CropBatches:
    """An endless iterator of int32 [batch_size, length + 1]: tokens and, one further, what follows each.

    Crops are drawn anew at every step by (seed, step), as nanoGPT does; `get_state` is the step. Raises ValueError for
    a text shorter than a crop.
    """

    def __init__(self, tokens: np.ndarray, *, batch_size: int, length: int, seed: int, steps_per_epoch: int):
        if tokens.size <= length:
            raise ValueError(f"the training text must have over {length} tokens (sequence_length), got {tokens.size}")
        self.steps_per_epoch = steps_per_epoch
        self._tokens = tokens.astype(np.int32)
        self._batch_size, self._length, self._seed = batch_size, length, seed
        self._made_of = {
            "tokens": int(tokens.size),
            "tokens_crc32": zlib.crc32(self._tokens.tobytes()),
            "batch_size": batch_size,
            "length": length,
            "seed": seed,
        }
        self._step = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        rng = np.random.default_rng([self._seed, self._step])
        self._step += 1
        starts = rng.integers(0, self._tokens.size - self._length, self._batch_size)
        return self._tokens[starts[:, None] + np.arange(self._length + 1)]

    def get_state(self) -> dict[str, Any]:
        """The step, and what the batches are made of."""
        return {"step": self._step, "made_of": dict(self._made_of)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go to a step. Raises ValueError for a state that was taken with other data or settings."""
        if state.get("made_of") != self._made_of:
            raise ValueError(
                f"the data position was taken with other data or settings ({state.get('made_of')} against "
                f"{self._made_of}); resume with the same ones"
            )
        self._step = int(state["step"])


def validation_batches(
    tokens: np.ndarray, *, batch_size: int, length: int, most: int | None
) -> list[tuple[Int32[np.ndarray, "batch length_and_one"], int]]:
    """(batch, how many of its rows count): the text in sequences that follow each other, each token predicted once.

    `most` limits the batches; they are then spread over the text. A last piece shorter than `length` is left out.
    Raises ValueError for a text shorter than one sequence.
    """
    rows = (tokens.size - 1) // length
    if rows < 1:
        raise ValueError(f"the validation text must have over {length} tokens (sequence_length), got {tokens.size}")
    wanted = rows if most is None else min(rows, most * batch_size)
    starts = np.linspace(0, rows - 1, wanted).round().astype(np.int64) * length
    batches = []
    for at in range(0, wanted, batch_size):
        part = starts[at : at + batch_size]
        filled = np.resize(part, batch_size)  # the last batch is filled up with rows that do not count
        batches.append((tokens[filled[:, None] + np.arange(length + 1)].astype(np.int32), part.size))
    return batches


def load_text(config: TextDataConfig) -> tuple[str, str]:
    """(training text, validation text). Raises ValueError for a file that cannot be read or is empty."""
    text = _read(config.train)
    if config.validation is not None:
        return text, _read(config.validation)
    cut = len(text) - max(1, round(config.validation_fraction * len(text)))
    if cut < 1:
        raise ValueError(f"{config.train}: too short to hold a part of it out for validation")
    return text[:cut], text[cut:]


def choose_tokenizer(config: TextDataConfig, texts: tuple[str, str]) -> TextTokenizer:
    """The tokenizer that the configuration names; `char` knows the characters of both texts."""
    return train_characters("".join(texts)) if config.tokenizer == "char" else load_tokenizer(config.tokenizer)


def _read(path: str) -> str:
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start})") from None
    if not text:
        raise ValueError(f"{path}: empty")
    return text
