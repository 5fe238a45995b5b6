"""The gated feed-forward layer of transformers, with float and ternary weights."""

from orchestai_kernels.feed_forward.api import FEED_FORWARD, feed_forward
from orchestai_kernels.feed_forward.config import GpuTiles, TpuTiles

__all__ = [
    "FEED_FORWARD",
    "GpuTiles",
    "TpuTiles",
    "feed_forward",
]
