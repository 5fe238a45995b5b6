"""Graph layers. Contract: `layer(nodes [b, n, in], adjacency [b, n, n], mask [b, n]) -> [b, n, out]`."""

from orchestai_jax.nn.graph.gcn import GCNLayer

__all__ = ["GCNLayer"]
