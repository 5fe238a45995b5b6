"""One way to compute an op, where it runs, and what of it can be tuned."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from orchestai_kernels import records
from orchestai_kernels.settings import EVERYWHERE, Platform


class KernelMissingError(NotImplementedError):
    """An implementation that belongs to this platform is missing from this installation; the message says why."""


def bucket(n: int) -> int:
    """The power of two that is n or next above it (0 and 1 stay): calls in one bucket share a tuned record."""
    return n if n <= 1 else 1 << (n - 1).bit_length()


@dataclasses.dataclass(frozen=True)
class ConfigSpace:
    """The configurations of an implementation: a frozen dataclass of plain values, a first guess, and what to try."""

    config_class: type[Any]
    """Built from the fields that a record holds."""
    heuristic: Callable[..., Any]
    """The call's arguments → the configuration to use without a record."""
    candidates: Callable[..., Sequence[Any]]
    """The call's arguments → configurations that tuning tries."""


def _is_available() -> None:
    return None


def _accepts_all(*args: Any, **kwargs: Any) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One way to compute an op."""

    name: str
    """Unique within the op."""
    run: Callable[..., Any]
    """Computes; raises NotImplementedError for what it cannot do."""
    platforms: tuple[Platform, ...] = EVERYWHERE
    """Where it can run."""
    available: Callable[[], None] = _is_available
    """Raises KernelMissingError (or NotImplementedError), with the reason, where this installation lacks it."""
    accepts: Callable[..., None] = _accepts_all
    """Raises NotImplementedError, with the reason, for arguments that it does not take (shapes and types only)."""
    configs: ConfigSpace | None = None
    """What can be tuned; None for nothing."""
    interpretable: bool = False
    """Whether it is made of Pallas calls that run interpreted on any platform; then `run` takes `interpret`."""
    sources: tuple[str | pathlib.Path, ...] = ()
    """The files whose change makes a measurement worthless."""

    def here(self, target: Platform, interpret: bool) -> None:
        """Raises NotImplementedError, with the reason, where it cannot run on a platform."""
        if interpret and self.interpretable:
            return
        if target not in self.platforms:
            raise NotImplementedError(f"runs on {', '.join(self.platforms)}, not on {target}")
        self.available()

    def source_hash(self) -> str:
        """Of all its sources."""
        return records.source_hash([pathlib.Path(source) for source in self.sources])
