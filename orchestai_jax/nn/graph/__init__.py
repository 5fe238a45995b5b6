"""Graph layers. Contract: `layer(nodes [b, n, in], adjacency [b, n, n], mask [b, n]) -> [b, n, out]`."""

from collections.abc import Callable

from flax import nnx

from orchestai_jax.nn.graph.gat import GATLayer
from orchestai_jax.nn.graph.gcn import GCNLayer
from orchestai_jax.nn.graph.sage import SAGELayer

GRAPH_LAYERS: dict[str, Callable[..., nnx.Module]] = {"gcn": GCNLayer, "gat": GATLayer, "sage": SAGELayer}
"""By the name that configurations use; each is built `(in_size, out_size, *, rngs)`."""


def make_graph_layer(kind: str, size: int, *, num_heads: int, concatenate: bool, rngs: nnx.Rngs) -> nnx.Module:
    """A layer of GRAPH_LAYERS with as many outputs as inputs; heads are for graph attention."""
    if kind == "gat":
        return GATLayer(size, size, num_heads=num_heads, concatenate=concatenate, rngs=rngs)
    return GRAPH_LAYERS[kind](size, size, rngs=rngs)


__all__ = [
    "GRAPH_LAYERS",
    "GATLayer",
    "GCNLayer",
    "SAGELayer",
    "make_graph_layer",
]
