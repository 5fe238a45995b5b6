"""Activations times packed ternary weights: int8 by 2 bits, summed in int32, scaled once."""

from orchestai_kernels.ternary_matmul.api import TERNARY_MATMUL, ternary_matmul
from orchestai_kernels.ternary_matmul.config import GpuTiles, TpuTiles

__all__ = [
    "TERNARY_MATMUL",
    "GpuTiles",
    "TpuTiles",
    "ternary_matmul",
]
