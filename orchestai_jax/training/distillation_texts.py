"""The texts that an encoder is distilled on: instructions, steps, descriptions, lines of files."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from orchestai_jax.config import DistillationDataConfig, TextSource
from orchestai_jax.data import Tokenizer, bucket_length, load_samples, split_by_hash
from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.planner.catalog_arrays import description_texts
from orchestai_jax.workflow import load_catalog

BUCKET = 16
"""Texts are padded to multiples of so many tokens, as in planning."""

TextBatch = tuple[Int32[np.ndarray, "batch n"], Bool[np.ndarray, "batch n"]]
"""Token ids, and where there are any; a row that only fills a batch up has none."""


def load_texts(config: DistillationDataConfig) -> tuple[list[str], list[str]]:
    """(texts to train on, held-out texts), each once, in the order of the sources.

    Held out are instructions of samples, by a hash of their ids, and a share of the lines by a hash of the text; their
    steps are left out. Descriptions are all trained on. Raises DataError, CatalogError or ValueError naming the file.
    """
    train: dict[str, None] = {}
    held_out: dict[str, None] = {}
    for source in config.sources:
        for_training, for_validation = _read(source, config.validation_fraction)
        train |= dict.fromkeys(filter(None, map(_clean, for_training)))
        held_out |= dict.fromkeys(filter(None, map(_clean, for_validation)))
    kept = [text for text in train if text not in held_out]
    for name, part in (("training", kept), ("validation", held_out)):
        if not part:
            raise ValueError(f"data.sources: no {name} texts in {len(config.sources)} files")
    return kept, list(held_out)


def _clean(text: str) -> str:
    return clean_text(text).strip()


def _read(source: TextSource, fraction: float) -> tuple[list[str], list[str]]:
    if source.format == "catalog":
        return description_texts(load_catalog(source.path)), []
    if source.key is not None:
        lines = list(_lines(source.path, source.key))
        held = [_below(line, fraction) for line in lines]
        return [x for x, out in zip(lines, held, strict=True) if not out], [
            x for x, out in zip(lines, held, strict=True) if out
        ]
    samples = load_samples(source.path, source.format)
    if source.leave_out:
        samples, _ = split_by_hash(samples, source.leave_out, salt=source.salt)
    rest, held_out = split_by_hash(samples, fraction)
    texts = [text for sample in rest for text in (sample.instruction, *(sample.step_texts or ()))]
    return texts, [sample.instruction for sample in held_out]


def _below(text: str, fraction: float) -> bool:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64 < fraction


def _lines(path: str, key: str) -> Iterable[str]:
    try:
        content = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start})") from None
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: not JSON ({error.msg})") from None
        text = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(text, str):
            raise ValueError(f"{path}:{number}: no text under the key {key!r}")
        yield text


class TokenizedTexts:
    """Texts as token ids, laid out in batches."""

    def __init__(self, texts: list[str], tokenizer: Tokenizer, max_tokens: int):
        self._tokens = [np.array(ids, np.int32) for ids in tokenizer.encode_batch(texts, max_tokens)]
        self.lengths = [len(ids) for ids in self._tokens]

    def collate(self, indices: np.ndarray, weights: np.ndarray, padded_length: int) -> TextBatch:
        """The texts at `indices`; those of weight 0 have no token that counts."""
        ids = np.zeros((len(indices), padded_length), np.int32)
        mask = np.zeros((len(indices), padded_length), bool)
        for row, (i, weight) in enumerate(zip(indices, weights, strict=True)):
            tokens = self._tokens[i][:padded_length]
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = weight > 0
        return ids, mask

    def in_order(self, batch_size: int, most: int | None) -> list[TextBatch]:
        """All texts, or so many batches of them spread over the lengths, each once, by length."""
        order = np.argsort(self.lengths, kind="stable")
        if most is not None and most * batch_size < len(order):
            order = order[np.linspace(0, len(order) - 1, most * batch_size).round().astype(int)]
        batches = []
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            padded = bucket_length(max(self.lengths[i] for i in part), BUCKET)
            weights = (np.arange(batch_size) < len(part)).astype(np.float32)
            batches.append(self.collate(np.resize(part, batch_size), weights, padded))
        return batches
