"""Fills the arguments of planned tasks, by rules or by a learned scorer, from the instruction and earlier outputs."""

from orchestai_jax.planner.arguments.filling import ArgumentError as ArgumentError
from orchestai_jax.planner.arguments.filling import Filled as Filled
from orchestai_jax.planner.arguments.filling import FillsArguments as FillsArguments
from orchestai_jax.planner.arguments.filling import fill_arguments as fill_arguments

__all__ = [
    "ArgumentError",
    "Filled",
    "FillsArguments",
    "fill_arguments",
]
