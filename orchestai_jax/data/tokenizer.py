"""Text to token ids through the `tokenizers` library: loading, training from scratch, cutting long text."""

from __future__ import annotations

import collections
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.located_json import read_text

if TYPE_CHECKING:
    import tokenizers

_T = TypeVar("_T")

MAX_CHARACTERS = 20_000
"""Text is cut to this many characters before it is tokenised, so that a huge instruction costs little. It is far more
than any `max_tokens` that a planner uses."""

PAD, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"

_LEAST_VOCABULARY = 20
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PAD_NAMES = (PAD, "<pad>", "<|padding|>", "<|endoftext|>")


def clean_text(text: str) -> str:
    """`text` cut to `MAX_CHARACTERS`, with control characters as blanks and lone surrogates as U+FFFD.

    Newlines and tabs become blanks too; format characters that scripts and emoji need (joiners) stay.
    """
    return _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", text[:MAX_CHARACTERS]))


class Tokenizer:
    """Turns texts into token ids with the special tokens of its template, cut to a length. Pads nothing."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        """Takes over a tokenizer of the `tokenizers` library; padding and truncation set in it are switched off."""
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._specials = backend.num_special_tokens_to_add(is_pair=False)
        # How many of them stand before the text: [CLS] text [SEP] has one, text </s> none.
        mask = backend.encode("a").special_tokens_mask
        self._before = mask.index(0) if 0 in mask else 0
        ids = (backend.token_to_id(name) for name in _PAD_NAMES)
        self.pad_id: int = next((i for i in ids if i is not None), 0)
        """The id that stands for padding: of the pad token where the vocabulary has one, else 0."""

    @property
    def unknown_ids(self) -> frozenset[int]:
        """The id of the unknown token, where there is one."""
        ids = (self._backend.token_to_id(name) for name in (UNKNOWN, "<unk>"))
        return frozenset(i for i in ids if i is not None)

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens among them: one more than the largest id."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def json(self) -> str:
        """The whole tokenizer as JSON text, which `load_tokenizer` reads."""
        return self._backend.to_str()

    def encode_batch(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text with its special tokens, at most `max_tokens` of them; the special tokens stay when cut.

        Raises:
          DataError: `max_tokens` has no room for one token beside the special ones.
        """
        if max_tokens <= self._specials:
            raise DataError(f"max_tokens must be at least {self._specials + 1}, got {max_tokens}")
        encodings = self._backend.encode_batch_fast([clean_text(text) for text in texts])
        return [self._cut(encoding.ids, max_tokens) for encoding in encodings]

    def offsets(self, text: str, max_tokens: int) -> list[tuple[int, int]]:
        """Of each id that `encode_batch` gives for the text, where it stands in `clean_text(text)`: (start, end), equal
        for special tokens."""
        return self._cut(self._backend.encode(clean_text(text)).offsets, max_tokens)

    def truncated(self, text: str, max_tokens: int) -> bool:
        """Whether `encode_batch` would leave out some of `text`."""
        return len(text) > MAX_CHARACTERS or len(self._backend.encode(clean_text(text)).ids) > max_tokens

    def _cut(self, ids: list[_T], max_tokens: int) -> list[_T]:
        if len(ids) <= max_tokens:
            return ids
        after = self._specials - self._before
        return ids[: max_tokens - after] + ids[len(ids) - after :]


def load_tokenizer(source: str | os.PathLike[str]) -> Tokenizer:
    """Loads a tokenizer from a `tokenizer.json` (its path, or that of its folder) or from its JSON text.

    Raises:
      DataError: the file cannot be read, or is not a tokenizer of the `tokenizers` library.
    """
    import tokenizers  # a compiled library, only needed once text is tokenised

    if isinstance(source, str) and source.lstrip().startswith("{"):
        text, name = source, "the tokenizer JSON"
    else:
        path = pathlib.Path(source)
        path = path / "tokenizer.json" if path.is_dir() else path
        text, name = read_text(path), str(path)
    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001  the library raises bare Exception
        cause = " ".join(str(error).split())
        raise DataError(f"{name}: not a tokenizer.json of the `tokenizers` library ({cause})") from None
    return Tokenizer(backend)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains a WordPiece tokenizer with BERT's normaliser and [PAD] [UNK] [CLS] [SEP] [MASK] as the ids 0 to 4.

    The same texts give the same tokenizer, in any process. The vocabulary is smaller than `vocab_size` where the texts
    hold no more; characters beyond the most frequent third of `vocab_size` are unknown.

    Raises:
      DataError: `vocab_size` is too small, or there is no text.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    specials = [PAD, UNKNOWN, BEGIN, END, MASK]
    if vocab_size < _LEAST_VOCABULARY:
        raise DataError(f"vocab_size must be at least {_LEAST_VOCABULARY}, got {vocab_size}")
    cleaned = [text for text in map(clean_text, texts) if text.strip()]
    if not cleaned:
        raise DataError("a tokenizer cannot be trained on no text")
    backend = Backend(models.WordPiece(unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts = collections.Counter("".join(backend.normalizer.normalize_str(text) for text in cleaned))
    del counts[" "]
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    alphabet = sorted(ranked[: (vocab_size - len(specials)) // 3])
    # The library numbers continuation characters (##a) in the order of a randomly seeded hash map, and breaks ties
    # between merges by number. Handed over as special tokens they have fixed numbers; the model is then made anew.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*specials, *(f"##{character}" for character in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(cleaned, trainer)
    trained = Backend(models.WordPiece(backend.get_vocab(), unk_token=UNKNOWN))
    trained.normalizer, trained.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    trained.decoder = decoders.WordPiece()
    trained.add_special_tokens(specials)
    trained.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}",
        pair=f"{BEGIN} $A {END} $B:1 {END}:1",
        special_tokens=[(name, specials.index(name)) for name in (BEGIN, END)],
    )
    return Tokenizer(trained)
