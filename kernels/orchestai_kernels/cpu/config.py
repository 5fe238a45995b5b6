"""What is chosen for a call of the C++ library, and what dispatch asks about it."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from orchestai_kernels.cpu import build, library
from orchestai_kernels.dispatch import ConfigSpace, KernelMissingError

INSTRUCTIONS = ("auto", "portable", "avx2", "avx512_vnni", "neon_dotprod")


@dataclasses.dataclass(frozen=True)
class CpuConfig:
    """How a call of the C++ library runs. Raises ValueError for an unknown name."""

    instructions: str = "auto"
    """The instruction set: the best that the processor has, or one by name."""

    def __post_init__(self) -> None:
        if self.instructions not in INSTRUCTIONS:
            raise ValueError(f"instructions must be one of {', '.join(INSTRUCTIONS)}, got {self.instructions!r}")


def first_guess(*args: Any, **kwargs: Any) -> CpuConfig:
    """The best that the processor has."""
    return CpuConfig()


def candidates(*args: Any, **kwargs: Any) -> list[CpuConfig]:
    """One for each instruction set that runs here."""
    return [CpuConfig(name) for name in library.instruction_sets()]


CONFIGS = ConfigSpace(CpuConfig, heuristic=first_guess, candidates=candidates)
SOURCES = (*sorted(build.SOURCES.glob("*.[ch]*")), pathlib.Path(build.__file__))
"""The C++ files and what compiles them, whose change makes a measurement worthless."""


def available() -> None:
    """Raise KernelMissingError with the reason where the library cannot be used."""
    reason = library.problem()
    if reason is not None:
        raise KernelMissingError(reason)


def checked(config: CpuConfig) -> CpuConfig:
    """The config; NotImplementedError where this processor lacks its instruction set."""
    library.load()
    if config.instructions not in ("auto", *library.instruction_sets()):
        raise NotImplementedError(
            f"this processor has {', '.join(library.instruction_sets())}, not {config.instructions}"
        )
    return config
