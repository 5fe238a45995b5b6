"""The `graph_attention` op: its arguments checked, and its implementations in the heuristic's order."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orchestai_kernels import precision
from orchestai_kernels.deferred import deferred
from orchestai_kernels.dispatch import ConfigSpace, Implementation, Op, bucket
from orchestai_kernels.floating import expect_floating
from orchestai_kernels.graph_attention import config as tiles
from orchestai_kernels.graph_attention import reference, vjp
from orchestai_kernels.graph_attention.config import Aggregation


def graph_attention(
    nodes: Float[Array, "batch n heads dim"],
    adjacency: Float[Array, "batch n n"],
    *,
    source_scores: Float[Array, "batch n heads"] | None = None,
    target_scores: Float[Array, "batch n heads"] | None = None,
    mask: Bool[Array, "batch n"] | None = None,
    aggregation: Aggregation = "softmax",
    self_loops: bool = False,
    negative_slope: float = 0.2,
    implementation: str = "auto",
    config: Any = None,
) -> Float[Array, "batch n heads dim"]:
    """Mix each node with its in-neighbours: out_t = sum over s of alpha(s, t) nodes_s.

    A[s, t] is the weight of the edge s -> t; masked nodes send nothing, whatever they and their edges hold, and come
    out as zero, as do nodes that nothing points to; `self_loops` puts 1 on the diagonal where it is 0. `aggregation`:
    - "softmax": alpha(s, t) is proportional to A[s, t] exp(LeakyReLU(source_scores_s + target_scores_t)) over the edges
      A[s, t] > 0, head by head: graph attention, its scores the products of each node with a head's two vectors;
    - "mean": A[s, t] over the sum of A[s, t] of a target; "sum": A[s, t]. Both take no scores.

    Gradients flow to nodes, scores and edge weights. Sums are float32 (float64 in the reference for float64); the
    result has the nodes' dtype. Raises ValueError for shapes that do not fit, naming both, and for scores that are
    missing or surplus; NotImplementedError where the named implementation cannot run the call.
    """
    _check(nodes, adjacency, source_scores, target_scores, mask, aggregation)
    return GRAPH_ATTENTION(
        nodes,
        adjacency,
        source_scores,
        target_scores,
        mask,
        aggregation=aggregation,
        self_loops=self_loops,
        negative_slope=float(negative_slope),
        implementation=implementation,
        config=config,
    )


def _check(
    nodes: Array, adjacency: Array, source: Array | None, target: Array | None, mask: Array | None, aggregation: str
) -> None:
    if nodes.ndim != 4:
        raise ValueError(f"nodes must be [batch, n, heads, dim], got shape {tuple(nodes.shape)}")
    expect_floating(nodes=nodes, source_scores=source, target_scores=target)
    batch, n, heads, _ = nodes.shape
    wanted = {
        "adjacency": (adjacency, (batch, n, n)),
        "source_scores": (source, (batch, n, heads)),
        "target_scores": (target, (batch, n, heads)),
        "mask": (mask, (batch, n)),
    }
    for name, (array, shape) in wanted.items():
        if array is not None and tuple(array.shape) != shape:
            raise ValueError(f"{name} must be {shape} for nodes {tuple(nodes.shape)}, got {tuple(array.shape)}")
    if mask is not None and mask.dtype != jnp.bool_:
        raise ValueError(f"mask must be boolean, True where a node is, got {mask.dtype}")
    if aggregation not in typing.get_args(Aggregation):
        raise ValueError(f"aggregation is one of {', '.join(typing.get_args(Aggregation))}, not {aggregation!r}")
    given = [name for name, scores in (("source_scores", source), ("target_scores", target)) if scores is not None]
    if len(given) != (2 if aggregation == "softmax" else 0):
        needs = "source_scores and target_scores" if aggregation == "softmax" else "no scores"
        raise ValueError(f"aggregation {aggregation!r} takes {needs}, got {' and '.join(given) or 'none'}")


def _key(nodes: Any, adjacency: Any, source: Any, target: Any, mask: Any, *, aggregation: str, **options: Any) -> str:
    batch, n, heads, dim = nodes.shape
    return f"batch{bucket(batch)} n{bucket(n)} heads{heads} dim{dim} {jnp.dtype(nodes.dtype).name} {aggregation}"


def _prefer(target: str, nodes: Any, *args: Any, aggregation: str, **options: Any) -> Sequence[str]:
    """For a sum or a mean, or a graph of a few nodes, XLA's batched product leaves little to gain."""
    if aggregation == "softmax" and nodes.shape[1] >= 32:
        return ("pallas_gpu", "pallas_tpu", "reference")
    return ("reference", "pallas_gpu", "pallas_tpu")


_SHARED = precision.__file__.removesuffix("precision.py")
_FOLDER = reference.__file__.removesuffix("reference.py")
_REFERENCE = (reference.__file__, precision.__file__)

GRAPH_ATTENTION = Op(
    "graph_attention",
    key=_key,
    prefer=_prefer,
    implementations=[
        Implementation(
            "pallas_gpu",
            run=deferred("orchestai_kernels.graph_attention.pallas_gpu", "graph_attention_pallas_gpu"),
            platforms=("gpu",),
            accepts=vjp.graph_accepts,
            configs=ConfigSpace(tiles.GraphTiles, tiles.gpu_heuristic, tiles.gpu_candidates),
            interpretable=True,
            sources=(
                _FOLDER + "pallas_gpu.py",
                *(_SHARED + name for name in ("head_blocks.py", "online_softmax.py", "tile_products.py")),
                vjp.__file__,
                *_REFERENCE,
            ),
        ),
        Implementation(
            "pallas_tpu",
            run=deferred("orchestai_kernels.graph_attention.pallas_tpu", "graph_attention_pallas_tpu"),
            platforms=("tpu",),
            accepts=deferred("orchestai_kernels.graph_attention.pallas_tpu", "tpu_accepts"),
            interpretable=True,
            sources=(_FOLDER + "pallas_tpu.py", _SHARED + "tile_products.py", vjp.__file__, *_REFERENCE),
        ),
        Implementation("reference", run=reference.graph_attention_reference, sources=_REFERENCE),
    ],
)
"""The op behind `graph_attention`; its arguments are those of the reference."""
