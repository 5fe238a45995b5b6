"""Optimizer moments kept in 8 bits a number: an optax wrapper around any chain with Adam in it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32
from orchestai_kernels.arrays import BlockArray, decode_blocks, encode_blocks

_FIRST, _SECOND = "mu", "nu"
"""Attributes of optax's Adam states."""
_ROOT = 4
"""Steps fine enough near zero that a number 60 million times smaller than its block's largest is kept."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Held:
    """Stands in an optimizer state for a moment that is kept encoded, beside it. A pytree without leaves."""

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    """The moment's."""

    def padded(self, block: int) -> int:
        """Numbers in whole blocks."""
        return -(-math.prod(self.shape) // block) * block


class EncodedMomentsState(NamedTuple):
    """State of `encoded_moments`. All encoded moments of a kind are one array: one program encodes it, where a program
    for each would take minutes to compile. Each moment begins with a block of its own."""

    inner: Any
    """The wrapped state, with `Held` for each moment of at least `4 · block_size` numbers."""
    first: BlockArray
    """The `mu`s, in the order of the state's leaves, signed."""
    second: BlockArray
    """The `nu`s, unsigned."""
    compression_error: Float[Array, ""]
    """Relative Frobenius error of the last encoding, the larger of the two kinds'; 0 before the first."""
    updates: Int32[Array, ""]
    """Updates done: the seed of random rounding."""


def encoded_moments(inner: optax.GradientTransformation, block_size: int) -> optax.GradientTransformation:
    """`inner` with the first and second moments of its Adam states (`mu`, `nu`) encoded between updates.

    An update decodes, updates and encodes. Rounding is random, seeded by the number of the update: a second moment that
    moves by a thousandth a step moves by less than any 8-bit step, and would never move by rounding to the nearest. A
    second moment above zero never becomes zero, so that no update is divided by nothing. Small moments stay float32, as
    in Dettmers et al. 2022 (arXiv:2110.02861, section 2).
    """

    def init(params: Any) -> Any:
        held, moments = _taken(inner.init(params), block_size)
        count = {name: sum(-(-m.size // block_size) for m in of_kind) for name, of_kind in moments.items()}

        def zeros(name: str) -> BlockArray:  # encoding Adam's zeros would have XLA fold constants for minutes
            codes = jnp.zeros((count[name], block_size), jnp.int8 if name == _FIRST else jnp.uint8)
            return BlockArray(codes, jnp.zeros(count[name]), (count[name] * block_size,), _ROOT)

        return EncodedMomentsState(held, zeros(_FIRST), zeros(_SECOND), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, new = inner.update(updates, decoded_state(state), params)
        return updates, _encoded(new, block_size, state.updates, state.updates + 1)

    return optax.GradientTransformation(init, update)


def decoded_state(state: EncodedMomentsState) -> Any:
    """The state that the wrapped transformation would have: moments as float32."""
    # Without the barrier XLA would decode anew, elementwise, for each of the moments.
    flat = jax.lax.optimization_barrier({_FIRST: decode_blocks(state.first), _SECOND: decode_blocks(state.second)})
    begun = dict.fromkeys(flat, 0)

    def give(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, Held):
            return leaf
        moment = _moment(path)
        assert moment is not None
        begin, begun[moment] = begun[moment], begun[moment] + leaf.padded(state.first.block)
        return flat[moment][begin : begin + math.prod(leaf.shape)].reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(give, state.inner, is_leaf=lambda leaf: isinstance(leaf, Held))


def with_encoding(opt_state: Any, block_size: int | None) -> Any:
    """The same optimizer state with its moments in blocks of this size, or (None) as float32; itself where they are.

    Takes the state of `encoded_moments(inner, …)` or of `inner`, and gives the other's.
    """
    is_wrapped = isinstance(opt_state, EncodedMomentsState)
    if block_size is None:
        return jax.jit(decoded_state)(opt_state) if is_wrapped else opt_state
    if is_wrapped and opt_state.first.block == block_size:
        return opt_state
    updates = opt_state.updates if is_wrapped else jnp.zeros((), jnp.int32)
    plain = jax.jit(decoded_state)(opt_state) if is_wrapped else opt_state
    return jax.jit(_encoded, static_argnums=1)(plain, block_size, updates, updates)


def encoded_part(opt_state: Any) -> EncodedMomentsState | None:
    """The wrapper's state within an optimizer's; None where moments are not encoded."""
    found = [s for s in jax.tree.leaves(opt_state, is_leaf=_is_wrapper) if _is_wrapper(s)]
    return found[0] if found else None


def moment_bytes(opt_state: Any) -> tuple[int, int]:
    """(bytes that the moments take, bytes that they would take as float32)."""
    taken = plain = 0
    for path, leaf in jax.tree_util.tree_flatten_with_path(opt_state, is_leaf=lambda x: isinstance(x, Held))[0]:
        if _moment(path) is not None:
            plain += 4 * math.prod(leaf.shape)
            taken += 0 if isinstance(leaf, Held) else leaf.nbytes
    part = encoded_part(opt_state)
    return taken + (part.first.nbytes + part.second.nbytes if part is not None else 0), plain


def _is_wrapper(leaf: Any) -> bool:
    return isinstance(leaf, EncodedMomentsState)


def _moment(path: Any) -> str | None:
    """Which moment a leaf belongs to, by the attributes on its path."""
    names = [entry.name for entry in path if isinstance(entry, jax.tree_util.GetAttrKey)]
    return next((name for name in reversed(names) if name in (_FIRST, _SECOND)), None)


def _taken(state: Any, block_size: int) -> tuple[Any, dict[str, list[Array]]]:
    """The state with `Held` for its large moments, and these, by kind."""
    moments: dict[str, list[Array]] = {_FIRST: [], _SECOND: []}

    def take(path: Any, leaf: Any) -> Any:
        moment = _moment(path)
        if moment is None or leaf.size < 4 * block_size:
            return leaf
        moments[moment].append(leaf)
        return Held(tuple(leaf.shape))

    return jax.tree_util.tree_map_with_path(take, state), moments


def _encoded(state: Any, block_size: int, seed: Array, updates: Array) -> EncodedMomentsState:
    """The state with its large moments encoded, and the relative error made."""
    held, moments = _taken(state, block_size)
    encoded, errors = {}, []
    for name, of_kind in moments.items():
        parts = [jnp.pad(m.reshape(-1), (0, -m.size % block_size)) for m in of_kind]
        flat = jnp.concatenate(parts) if parts else jnp.zeros(0)
        flat = jax.lax.optimization_barrier(flat)  # joined once, not looked for anew by each of its readers
        noise = seed.astype(jnp.uint32)
        encoded[name] = encode_blocks(flat, block_size, root=_ROOT, signed=name == _FIRST, noise=noise)
        errors.append(_relative_error(flat, encoded[name]))
    return EncodedMomentsState(held, encoded[_FIRST], encoded[_SECOND], jnp.maximum(*errors), updates)


def _relative_error(x: Float[Array, "n"], array: BlockArray) -> Float[Array, ""]:
    """‖decoded − x‖ / ‖x‖, both divided by the largest number: squares of moments underflow."""
    largest = jnp.max(array.scale, initial=0.0)
    unit = jnp.where(largest == 0, 1.0, largest)  # NaN stays NaN
    off = jnp.sum(jnp.square((decode_blocks(array) - x) / unit))
    norm = jnp.sum(jnp.square(x / unit))
    return jnp.sqrt(off / jnp.where(norm == 0, 1.0, norm))
