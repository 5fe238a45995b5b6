"""Message passing on batched dense graphs: attention over in-neighbours, or their weighted sum or mean."""

from orchestai_kernels.graph_attention.api import GRAPH_ATTENTION, graph_attention
from orchestai_kernels.graph_attention.config import GraphTiles

__all__ = [
    "GRAPH_ATTENTION",
    "GraphTiles",
    "graph_attention",
]
