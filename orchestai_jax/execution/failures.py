"""A call that failed: its kind, its one line, and whether the worker asked to be left alone for a while."""

from __future__ import annotations

import traceback

from orchestai_jax.config import redact
from orchestai_jax.execution.policies import FailureKind
from orchestai_jax.execution.values import BadValueError, declared_use
from orchestai_jax.workers import WorkerError


class CallFailed(Exception):  # noqa: N818 - it says what happened, and never leaves the engine
    """One call of a worker has failed."""

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        cost: float = 0.0,
        tokens: int = 0,
    ):
        super().__init__(message)
        self.kind: FailureKind = kind
        self.retry_after_s = retry_after_s
        self.cost, self.tokens = cost, tokens

    def let_go(self) -> None:
        """Drop where it was raised, once it is dealt with: the frames there hold it in turn, and the whole run with it,
        until the collector finds them."""
        self.__traceback__ = self.__cause__ = self.__context__ = None

    @classmethod
    def of(cls, error: Exception) -> CallFailed:
        """The failure that an error of a worker is. Secrets in its message are masked."""
        if isinstance(error, CallFailed):
            return error
        if isinstance(error, WorkerError):
            kind: FailureKind = "transient" if error.retryable else "worker"
            cost, tokens = declared_use(error)
            return cls(kind, one_line(str(error)), retry_after_s=error.retry_after_s, cost=cost, tokens=tokens)
        if isinstance(error, BadValueError):
            return cls("malformed", one_line(str(error)))
        kind = "transient" if isinstance(error, ConnectionError | TimeoutError) else "crash"
        return cls(kind, one_line(f"{type(error).__name__}: {error}"))


def masked_traceback(error: BaseException) -> str:
    """Where an error came from, with everything that led to it, for a log. Secrets in it are masked."""
    return redact("".join(traceback.format_exception(error)).rstrip())


def one_line(message: str, at_most: int = 500) -> str:
    """A message on one line without secrets, not too long for a terminal or a record."""
    line = redact(" ".join(message.split())) or "no reason was given"
    return line if len(line) <= at_most else line[: at_most - 3] + "..."
