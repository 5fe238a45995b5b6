"""Tokenizers of language models: characters, and byte-level BPE through the `tokenizers` library."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

_CHARACTERS = "orchestai-characters"


@runtime_checkable
class TextTokenizer(Protocol):
    """Text to token numbers and back; kept as JSON text."""

    @property
    def vocab_size(self) -> int:
        """Token numbers are below this."""
        ...

    @property
    def json(self) -> str:
        """What `read_tokenizer` reads."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Token numbers, int32. Raises ValueError for text that holds something unknown."""
        ...

    def encode_prompt(self, text: str) -> np.ndarray:
        """As `encode`, with the special tokens that the tokenizer's own rules put around a text."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text. Raises ValueError for numbers that stand for nothing."""
        ...


class CharacterTokenizer:
    """One token a character, numbered in the order of their code points.

    Raises ValueError for characters that are not one or more different ones in this order.
    """

    def __init__(self, characters: str):
        if not characters or list(characters) != sorted(set(characters)):
            raise ValueError("characters must be one or more different characters in the order of their code points")
        self.characters = characters
        self._codes = np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32)

    @property
    def vocab_size(self) -> int:
        """As many as there are characters."""
        return len(self.characters)

    @property
    def json(self) -> str:
        """`{"format": …, "characters": …}`."""
        return json.dumps({"format": _CHARACTERS, "characters": self.characters})

    def encode(self, text: str) -> np.ndarray:
        """Token numbers. Raises ValueError naming the first unknown character and its place."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        tokens = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        unknown = np.flatnonzero(self._codes[tokens] != codes)
        if unknown.size:
            place = int(unknown[0])
            raise ValueError(
                f"the tokenizer does not know {text[place]!r} at character {place}; "
                f"it knows {self.vocab_size} characters"
            )
        return tokens.astype(np.int32)

    def encode_prompt(self, text: str) -> np.ndarray:
        """As `encode`: there are no special tokens."""
        return self.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text. Raises ValueError for an unknown number."""
        _check_tokens(tokens, self.vocab_size)
        return "".join(self.characters[token] for token in tokens)


class BpeTokenizer:
    """A tokenizer of the `tokenizers` library, as `train_bpe` makes or Hugging Face folders hold (tokenizer.json)."""

    def __init__(self, backend: Any):
        self._backend = backend
        unknown = getattr(backend.model, "unk_token", None)
        self._unknown = backend.token_to_id(unknown) if unknown else None

    @property
    def vocab_size(self) -> int:
        """With added tokens."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    @property
    def json(self) -> str:
        """The library's JSON."""
        return self._backend.to_str()

    def encode(self, text: str) -> np.ndarray:
        """Token numbers, without special tokens around them. Raises ValueError for text with unknown tokens."""
        encoded = self._backend.encode(text, add_special_tokens=False)
        if self._unknown is not None and self._unknown in encoded.ids:
            start, end = encoded.offsets[encoded.ids.index(self._unknown)]
            raise ValueError(f"the tokenizer does not know {text[start:end]!r} at character {start}")
        return np.asarray(encoded.ids, np.int32)

    def encode_prompt(self, text: str) -> np.ndarray:
        """As `encode`, with the special tokens that the tokenizer's own rules (post_processor) put around a text.

        A text that begins with what would be put before it, as chats that are written out do, gets it once.
        """
        plain = self.encode(text)
        whole = np.asarray(self._backend.encode(text, add_special_tokens=True).ids, np.int32)
        doubled = plain.size and len(whole) > len(plain) and whole[0] == whole[1] == plain[0]
        return whole[1:] if doubled and self._is_special(int(plain[0])) else whole

    def _is_special(self, token: int) -> bool:
        added = self._backend.get_added_tokens_decoder().get(token)
        return added is not None and added.special

    def decode(self, tokens: Sequence[int]) -> str:
        """Text, special tokens left out. Raises ValueError for an unknown number."""
        _check_tokens(tokens, self.vocab_size)
        return self._backend.decode([int(token) for token in tokens])


def train_characters(text: str) -> CharacterTokenizer:
    """Knows the characters of a text. Raises ValueError for an empty one."""
    if not text:
        raise ValueError("a tokenizer cannot be trained on no text")
    return CharacterTokenizer("".join(sorted(set(text))))


def train_bpe(texts: Iterable[str], vocab_size: int) -> BpeTokenizer:
    """Byte-level BPE: every text can be encoded, and decodes to itself.

    Raises ValueError for a vocabulary below the 256 bytes, and for no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < 257:
        raise ValueError(f"vocab_size must be at least 257 (256 bytes and a merge), got {vocab_size}")
    texts = [text for text in texts if text]
    if not texts:
        raise ValueError("a tokenizer cannot be trained on no text")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    return BpeTokenizer(backend)


def read_tokenizer(text: str, name: str = "tokenizer") -> TextTokenizer:
    """A tokenizer from its JSON; `name` stands in errors. Raises ValueError where it is none."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name}: not JSON ({error})") from None
    if isinstance(raw, dict) and raw.get("format") == _CHARACTERS:
        if not isinstance(raw.get("characters"), str):
            raise ValueError(f"{name}: lacks its characters")
        return CharacterTokenizer(raw["characters"])
    from tokenizers import Tokenizer

    try:
        return BpeTokenizer(Tokenizer.from_str(text))
    except Exception as error:  # noqa: BLE001  the library raises bare Exception
        cause = " ".join(str(error).split())
        raise ValueError(f"{name}: neither a character tokenizer nor a tokenizer.json ({cause})") from None


def load_tokenizer(path: str | pathlib.Path) -> TextTokenizer:
    """A tokenizer file. Raises ValueError where it cannot be read."""
    path = pathlib.Path(path)
    try:
        return read_tokenizer(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _check_tokens(tokens: Sequence[int], vocab_size: int) -> None:
    for token in tokens:
        if not 0 <= token < vocab_size:
            raise ValueError(f"token {token} stands for nothing; the vocabulary's are 0 to {vocab_size - 1}")
