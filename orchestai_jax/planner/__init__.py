"""The planner: text encoder, decomposer, graph generator, worker selector, arguments; `Planner` ties them together."""

from orchestai_jax.planner.planner import Planner

__all__ = ["Planner"]
