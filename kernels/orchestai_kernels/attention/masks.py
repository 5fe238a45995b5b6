"""What a query may see: lengths, causal order, segments and explicit masks, together and in the forms kernels take."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masks:
    """All that hides keys from queries; a pytree. A key is visible where every part that is given allows it."""

    mask: Bool[Array, "#batch #heads #queries #keys"] | None = None
    """True where visible."""
    query_segments: Int[Array, "batch queries"] | None = None
    """Segment of each query; given with that of the keys."""
    key_segments: Int[Array, "batch keys"] | None = None
    """Segment of each key: visible to queries of the same one."""
    lengths: Int[Array, "batch"] | None = None
    """How many keys, from the first, hold something."""
    query_start: Int[Array, "batch"] | None = None
    """With `causal`: the position of the first query among the keys; None for 0."""
    causal: bool = dataclasses.field(default=False, metadata={"static": True})
    """Whether query i sees only the keys up to position query_start + i."""

    @property
    def may_hide_all(self) -> bool:
        """Whether a query may be left with no key to see."""
        parts = (self.mask, self.query_segments, self.lengths, self.query_start)
        return any(part is not None for part in parts)

    def visible(self, queries: int, keys: int) -> Bool[Array, "#batch #heads #queries #keys"] | None:
        """All parts in one, [batch, heads, queries, keys] with axes of 1 where nothing differs; None for no mask."""
        position = jnp.arange(keys)
        parts = [] if self.mask is None else [self.mask]
        if self.query_segments is not None and self.key_segments is not None:
            parts.append(self.query_segments[:, None, :, None] == self.key_segments[:, None, None, :])
        if self.lengths is not None:
            parts.append((position < self.lengths[:, None])[:, None, None, :])
        if self.causal:
            start = jnp.zeros(1, jnp.int32) if self.query_start is None else self.query_start
            latest = start[:, None] + jnp.arange(queries)  # [batch, queries]
            parts.append(position <= latest[:, None, :, None])
        return functools.reduce(jnp.logical_and, parts) if parts else None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowMasks:
    """Masks with the query heads that share a key head folded into rows: row = query * group + head within the group.

    Integers are int32, the mask int8; `lengths` and `starts` are always there.
    """

    lengths: Int[Array, "batch"]
    """Visible keys of each batch element."""
    starts: Int[Array, "batch"]
    """Position of the first query."""
    mask: Int[Array, "#batch #kv_heads rows keys"] | None
    """1 where visible."""
    row_segments: Int[Array, "batch rows"] | None
    """Segment of each row."""
    key_segments: Int[Array, "batch keys"] | None
    """Segment of each key."""


def fold(masks: Masks, *, batch: int, queries: int, keys: int, group: int) -> RowMasks:
    """The masks by rows."""
    mask = masks.mask
    if mask is not None:
        b, heads = mask.shape[:2]
        kv_heads, within = (1, 1) if heads == 1 else (heads // group, group)
        mask = jnp.broadcast_to(mask, (b, heads, queries, keys)).reshape(b, kv_heads, within, queries, keys)
        mask = jnp.broadcast_to(jnp.swapaxes(mask, 2, 3), (b, kv_heads, queries, group, keys))
        mask = mask.reshape(b, kv_heads, queries * group, keys).astype(jnp.int8)
    row_segments = None
    if masks.query_segments is not None:
        row_segments = jnp.repeat(masks.query_segments.astype(jnp.int32), group, axis=1)
    lengths = jnp.full(batch, keys) if masks.lengths is None else jnp.clip(masks.lengths, 0, keys)
    starts = jnp.zeros(batch) if masks.query_start is None else masks.query_start
    key_segments = None if masks.key_segments is None else masks.key_segments.astype(jnp.int32)
    return RowMasks(lengths.astype(jnp.int32), starts.astype(jnp.int32), mask, row_segments, key_segments)


def visible_tile(
    rows: Array,
    columns: Array,
    *,
    length: Array,
    start: Array,
    group: int,
    causal: bool,
    row_segments: Array | None = None,
    key_segments: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Within a kernel: which scores of a tile count. Rows, columns and segments broadcast to the tile."""
    visible = columns < length
    if causal:
        # column <= start + row // group, without the division that vector units lack
        visible = visible & ((columns - start) * group <= rows)
    if row_segments is not None and key_segments is not None:
        visible = visible & (row_segments == key_segments)
    if mask is not None:
        visible = visible & (mask != 0)
    return visible
