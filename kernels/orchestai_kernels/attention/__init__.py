"""Scaled dot-product attention: grouped queries, masks, segments, caches of padded and int8 keys and values."""

from orchestai_kernels.attention.api import ATTENTION, attention
from orchestai_kernels.attention.config import GpuTiles, TpuTiles

__all__ = [
    "ATTENTION",
    "GpuTiles",
    "TpuTiles",
    "attention",
]
