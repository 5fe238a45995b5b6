"""Activations times int8 weights: int8 by int8, summed in int32, scaled once. For vocabulary heads."""

from orchestai_kernels.int8_matmul.api import INT8_MATMUL, int8_matmul

__all__ = [
    "INT8_MATMUL",
    "int8_matmul",
]
