"""Optimizations of training and serving under safety gates: kernels, compression, inference; each useful alone."""

from orchestai_jax.optimization.encoded_moments import encoded_moments, encoded_part, with_encoding
from orchestai_jax.optimization.inference_scaling import (
    Selection,
    answer_verifier,
    json_verifier,
    optimize_kv_cache,
    pattern_verifier,
    plan_verifier,
    select_path,
)
from orchestai_jax.optimization.kernel_optimizer import calls_of, detect_and_tune
from orchestai_jax.optimization.optimization_state import OptimizationState
from orchestai_jax.optimization.orchestrator import OPTIMIZATIONS, OptimizationOrchestrator, Verdict, in_force
from orchestai_jax.optimization.parameter_precedence import Move, ParameterPrecedenceResolver
from orchestai_jax.optimization.safety_gates import Gate, all_kept, gates_of
from orchestai_jax.optimization.semantic_compression import Encoded, decode, encode

__all__ = [
    "OPTIMIZATIONS",
    "Encoded",
    "Gate",
    "Move",
    "OptimizationOrchestrator",
    "OptimizationState",
    "ParameterPrecedenceResolver",
    "Selection",
    "Verdict",
    "all_kept",
    "answer_verifier",
    "calls_of",
    "decode",
    "detect_and_tune",
    "encode",
    "encoded_moments",
    "encoded_part",
    "gates_of",
    "in_force",
    "json_verifier",
    "optimize_kv_cache",
    "pattern_verifier",
    "plan_verifier",
    "select_path",
    "with_encoding",
]
