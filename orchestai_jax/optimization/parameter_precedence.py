"""Sizes that must fit one another: the kernels' tile, the compression's block, the cache's block, in this order."""

from __future__ import annotations

import dataclasses

from orchestai_jax.config import OptimizationConfig

TILE = "kernel_optimizer.tile_size"
COMPRESSION = "semantic_compression.block_size"
CACHE = "inference_scaling.cache_block"


@dataclasses.dataclass(frozen=True)
class Move:
    """A parameter that was moved to fit a higher one."""

    parameter: str
    """Dotted, within the `optimization` block."""
    before: int
    after: int
    because: str
    """The higher parameter and its value."""

    def __str__(self) -> str:
        return f"{self.parameter} {self.before} is moved to {self.after}, to fit {self.because}"


class ParameterPrecedenceResolver:
    """Moves lower parameters so that each divides, or is divided by, those above it: tile_size, then the compression's
    block, then the serving side's (the RLVR section's) cache block."""

    order = (TILE, COMPRESSION, CACHE)
    """Highest first."""

    def resolve(self, config: OptimizationConfig) -> tuple[OptimizationConfig, tuple[Move, ...]]:
        """The configuration with sizes that fit, and what was moved: to the nearest size that fits, the smaller of two.

        A size of a section that is left out binds nobody. The moved configuration resolves to itself.
        """
        settled: list[tuple[str, int]] = []
        moves: list[Move] = []
        for parameter in self.order:
            section, field = parameter.split(".")
            part = getattr(config, section)
            if part is None:
                continue
            wanted = getattr(part, field)
            size = _nearest(wanted, [value for _, value in settled])
            if size != wanted:
                name, value = next((n, v) for n, v in settled if not fits(wanted, v))
                moves.append(Move(parameter, wanted, size, f"{name} {value}"))
                config = config.model_copy(update={section: part.model_copy(update={field: size})})
            settled.append((parameter, size))
        return config, tuple(moves)


def fits(size: int, other: int) -> bool:
    """Whether one of two sizes divides the other."""
    return size % other == 0 or other % size == 0


def _nearest(wanted: int, higher: list[int]) -> int:
    """The size nearest to `wanted` that fits all of `higher`. 1 always does."""
    distance = 0
    while True:
        for size in (wanted - distance, wanted + distance):
            if size >= 1 and all(fits(size, other) for other in higher):
                return size
        distance += 1
