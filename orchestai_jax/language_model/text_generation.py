"""Text in, text out: a generator with its tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from orchestai_jax.language_model.cache import CacheKind
from orchestai_jax.language_model.generation import DEFAULT_BLOCK, FinishReason, Generator
from orchestai_jax.language_model.sampling import Sampling
from orchestai_jax.language_model.saved import LoadedModel
from orchestai_jax.language_model.serving_model import HeadKind, serving_model
from orchestai_jax.language_model.tokenizers import TextTokenizer


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a prompt was answered with."""

    text: str
    """The new text, without the stop text."""
    num_tokens: int
    """Tokens that were made."""
    finish_reason: FinishReason
    """`stop`: a stop token or text came; `length`: the most tokens were made."""


class TextGenerator:
    """Answers prompts with a model. Raises ValueError for a model without a tokenizer."""

    def __init__(self, generator: Generator, tokenizer: TextTokenizer | None, stop_tokens: Sequence[int] = ()):
        if tokenizer is None:
            raise ValueError("tokenizer must be given: the model's folder holds no tokenizer.json")
        self.generator, self.tokenizer, self.stop_tokens = generator, tokenizer, frozenset(stop_tokens)

    @classmethod
    def of(
        cls,
        loaded: LoadedModel,
        *,
        head: HeadKind = "float",
        cache: CacheKind | None = None,
        sparsity_threshold: float | None = None,
        release: bool = False,
    ) -> TextGenerator:
        """Pack a loaded model and serve it.

        Args:
          loaded: the model.
          head: of embedding and head.
          cache: of keys and values; None = as its run says, else float.
          sparsity_threshold: see `drop_blocks`; None = as its run says, else 0, which drops nothing.
          release: empty `loaded.parameters` on the way, to save memory.
        """
        model = serving_model(loaded.config, loaded.parameters, head=head, release=release)
        serving = loaded.serving
        if cache is None:
            cache = serving.kv_cache if serving is not None else "float"
        if sparsity_threshold is None:
            sparsity_threshold = serving.sparsity_threshold if serving is not None else 0.0
        generator = Generator(
            model,
            cache=cache,
            sparsity_threshold=sparsity_threshold,
            cache_block=serving.cache_block if serving is not None else DEFAULT_BLOCK,
        )
        return cls(generator, loaded.tokenizer, loaded.stop_tokens)

    def stream(
        self,
        prompt: str,
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Pieces of new text as they come; text that may yet become a stop text is held back.

        Raises ValueError, before anything runs, for an empty prompt, unknown characters, and one that is too long.
        """
        return (piece for piece, _, _ in self._pieces(prompt, max_new_tokens, sampling, stop))

    def answer(
        self,
        prompt: str,
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Answer:
        """The whole new text; the arguments and errors are `stream`'s."""
        text, count, reason = "", 0, "length"
        for piece, count, reason in self._pieces(prompt, max_new_tokens, sampling, stop):  # noqa: B007
            text += piece
        return Answer(text, count, reason)

    def _pieces(
        self, prompt: str, max_new_tokens: int | None, sampling: Sampling | None, stop: Sequence[str]
    ) -> Iterator[tuple[str, int, FinishReason]]:
        if not prompt:
            raise ValueError("the prompt is empty; give at least one character")
        if any(not text for text in stop):
            raise ValueError("stop texts must not be empty")
        steps = self.generator.stream(
            [self.tokenizer.encode_prompt(prompt).tolist()],
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop_tokens=self.stop_tokens,
        )
        return self._decoded(steps, stop)

    def _decoded(
        self, steps: Iterator[list[int | None]], stop: Sequence[str]
    ) -> Iterator[tuple[str, int, FinishReason]]:
        tokens: list[int] = []
        shown = 0
        for (token,) in steps:
            assert token is not None
            if token in self.stop_tokens:
                yield self.tokenizer.decode(tokens)[shown:], len(tokens), "stop"
                return
            tokens.append(token)
            text = self.tokenizer.decode(tokens)
            ends = [place for place in (text.find(end) for end in stop) if place >= 0]
            if ends:
                yield text[shown : min(ends)], len(tokens), "stop"
                return
            safe = len(text) - _held_back(text, stop)
            if safe > shown:
                yield text[shown:safe], len(tokens), "length"
                shown = safe
        yield self.tokenizer.decode(tokens)[shown:], len(tokens), "length"


def _held_back(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end may change or become a stop text: unfinished UTF-8, beginnings of stop texts."""
    unfinished = len(text) - len(text.rstrip("\N{REPLACEMENT CHARACTER}"))
    begun = [n for end in stop for n in range(1, len(end)) if text.endswith(end[:n])]
    return max([unfinished, *begun])
