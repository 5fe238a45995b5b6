"""What dispatch goes by: settings of the process and of a `with`, and the platform that is compiled for."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import jax

Platform = Literal["cpu", "gpu", "tpu"]
EVERYWHERE: tuple[Platform, ...] = ("cpu", "gpu", "tpu")


@dataclasses.dataclass(frozen=True)
class KernelSettings:
    """What dispatch goes by. Frozen; see `configure` and `overridden`."""

    on_miss: Literal["heuristic", "tune", "error"] = "heuristic"
    """Where `auto` finds no usable record: take the heuristic's choice, measure now (kept for this process), or raise
    MissingRecordError."""
    interpret: bool = False
    """Run Pallas kernels that are called by name interpreted, on any platform. Slow; for tests. `auto` never does."""
    platform: Platform | None = None
    """What is compiled for; None for JAX's default backend. For lowering to a platform that is not here."""
    records: pathlib.Path | None = None
    """Folder of the tuned records; None for those that come with the package."""

    def __post_init__(self) -> None:
        if self.on_miss not in ("heuristic", "tune", "error"):
            raise ValueError(f"on_miss is heuristic, tune or error, not {self.on_miss!r}")
        if self.platform not in (None, *EVERYWHERE):
            raise ValueError(f"platform is one of {', '.join(EVERYWHERE)} or None, not {self.platform!r}")


_process_settings = KernelSettings()
_override: contextvars.ContextVar[KernelSettings | None] = contextvars.ContextVar("kernel_settings", default=None)


def current_settings() -> KernelSettings:
    """Those of the innermost `overridden` of this thread or task, else those of the process."""
    return _override.get() or _process_settings


def configure(**changes: Any) -> KernelSettings:
    """Change fields of the process's settings, for every thread. Returns the new ones."""
    global _process_settings
    _process_settings = dataclasses.replace(_process_settings, **changes)
    return _process_settings


@contextlib.contextmanager
def overridden(**changes: Any) -> Iterator[KernelSettings]:
    """Other settings within a `with`, for this thread or task."""
    token = _override.set(dataclasses.replace(current_settings(), **changes))
    try:
        yield current_settings()
    finally:
        _override.reset(token)


def platform() -> Platform:
    """The platform that is compiled for. Raises ValueError for a backend that no implementation knows."""
    name = current_settings().platform or jax.default_backend()
    name = {"cuda": "gpu", "rocm": "gpu"}.get(name, name)
    for known in EVERYWHERE:
        if name == known:
            return known
    raise ValueError(f"JAX's default backend is {name!r}; the kernels know {', '.join(EVERYWHERE)}")
