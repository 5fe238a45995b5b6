"""One step of decoding: the newest token attends to a layered cache of keys and values, and enters it, in place."""

from orchestai_kernels.cached_attention.api import CACHED_ATTENTION, cached_attention

__all__ = [
    "CACHED_ATTENTION",
    "cached_attention",
]
