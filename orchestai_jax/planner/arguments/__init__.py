"""Fills the arguments of planned tasks by rule: mentions of the instruction, and outputs of earlier tasks."""

from orchestai_jax.planner.arguments.filling import ArgumentError as ArgumentError
from orchestai_jax.planner.arguments.filling import Filled as Filled
from orchestai_jax.planner.arguments.filling import fill_arguments as fill_arguments

__all__ = [
    "ArgumentError",
    "Filled",
    "fill_arguments",
]
