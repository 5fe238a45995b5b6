"""A pytree's leaves by path: how they are stored, described, compared and put together again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_jax.checkpoint.errors import CheckpointError
from orchestai_jax.checkpoint.host_copies import HostCopies

Key = tuple[str, str | int]
"""One step of a path: ("key" | "index" | "attribute", its name)."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of a saved pytree.

    `dtype` is a NumPy name, `bfloat16`, or `key<impl>` for random keys (their shape is the keys', not the words').
    """

    path: tuple[Key, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def name(self) -> str:
        """The path with slashes: `params/trainable/kernel`."""
        return "/".join(str(name) for _, name in self.path)

    @property
    def key_implementation(self) -> str:
        """Of random keys: the generator's name (`threefry2x32`)."""
        return self.dtype.removeprefix("key<").removesuffix(">")

    def to_json(self) -> list[Any]:
        """As the checkpoint's JSON holds it."""
        return [[list(key) for key in self.path], list(self.shape), self.dtype]

    @classmethod
    def from_json(cls, entry: Sequence[Any]) -> Leaf:
        """Read `to_json`'s list."""
        path, shape, dtype = entry
        return cls(tuple((str(kind), name) for kind, name in path), tuple(shape), dtype)

    def abstract(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype without the data."""
        if self.dtype.startswith("key<"):
            keys = jax.eval_shape(lambda: jax.random.key(0, impl=self.key_implementation))
            return jax.ShapeDtypeStruct(self.shape, keys.dtype)
        return jax.ShapeDtypeStruct(self.shape, jnp.dtype(self.dtype))


def _key(entry: Any) -> Key:
    match entry:
        case jax.tree_util.DictKey(key=key) | jax.tree_util.FlattenedIndexKey(key=key):
            return ("key", key if isinstance(key, int) else str(key))
        case jax.tree_util.SequenceKey(idx=index):
            return ("index", index)
        case jax.tree_util.GetAttrKey(name=name):
            return ("attribute", name)
    return ("key", str(entry))


def is_random_key(leaf: Any) -> bool:
    """Whether an array (or its abstract form) holds typed random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _dtype_name(array: Any) -> str:
    if not is_random_key(array):
        return str(array.dtype)
    names: list[str] = []
    # Under eval_shape abstract keys answer as real ones do.
    jax.eval_shape(lambda keys: names.append(str(jax.random.key_impl(keys))), array)
    return f"key<{names[0]}>"


def described_leaves(tree: Any) -> list[tuple[Leaf, Any]]:
    """(description, leaf) of every array in a pytree, in its order. Python numbers count as arrays of no dimension.

    Raises CheckpointError where two paths read the same, or a leaf is no array.
    """
    described: list[tuple[Leaf, Any]] = []
    for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = value if hasattr(value, "dtype") else np.asarray(value)
        leaf = Leaf(tuple(_key(entry) for entry in path), tuple(array.shape), _dtype_name(array))
        if not is_random_key(array) and array.dtype.kind in "OSUMm":
            raise CheckpointError(f"the state's {leaf.name or 'root'} is a {type(value).__name__}, not an array")
        described.append((leaf, array))
    names = [leaf.name for leaf, _ in described]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"the state holds two leaves named {twice}; rename one")
    return described


def storable(tree: Any, copies: HostCopies | None = None) -> tuple[list[Leaf], dict[str, Any]]:
    """The descriptions, and the arrays as nested dicts of text keys, that training may go on without changing.

    Random keys become their words, and empty arrays are left out (orbax takes none; their shape says all). Arrays that
    this process holds whole are handed over as NumPy arrays, in `copies` where they are written after this returns: JAX
    arrays on a CPU share their buffers. Those of several processes are copied too; each process writes its parts.
    """
    described = described_leaves(tree)
    arrays: list[tuple[Leaf, Any]] = []
    for leaf, array in described:
        if 0 not in leaf.shape:
            words = jax.random.key_data(array) if is_random_key(array) else array
            is_whole = not isinstance(words, jax.Array) or words.is_fully_addressable
            arrays.append((leaf, np.asarray(words) if is_whole else jnp.copy(words)))
    if copies is not None:
        copied = iter(copies.of([array for _, array in arrays if isinstance(array, np.ndarray)]))
        arrays = [(leaf, next(copied) if isinstance(array, np.ndarray) else array) for leaf, array in arrays]
    nested: dict[str, Any] = {}
    for leaf, array in arrays:
        put(nested, leaf, array)
    return [leaf for leaf, _ in described], nested


def put(nested: dict[str, Any], leaf: Leaf, value: Any) -> None:
    """Place a value at a leaf's path in nested dicts of text keys."""
    *folders, last = (str(name) for _, name in leaf.path) if leaf.path else ("value",)
    for folder in folders:
        nested = nested.setdefault(folder, {})
    nested[last] = value


def get(nested: Mapping[str, Any], leaf: Leaf) -> Any:
    """The value at a leaf's path."""
    value: Any = nested
    for _, name in leaf.path or (("key", "value"),):
        value = value[str(name)]
    return value


def check_same(wanted: Iterable[Leaf], saved: Iterable[Leaf], where: str) -> None:
    """Raise CheckpointError naming the first leaf whose shape or dtype differs, or that only one side has."""
    wanted_by_name = {leaf.name: leaf for leaf in wanted}
    saved_by_name = {leaf.name: leaf for leaf in saved}
    remedy = "it belongs to another model or configuration"
    for name, leaf in wanted_by_name.items():
        other = saved_by_name.get(name)
        if other is None:
            raise CheckpointError(f"{where}: has no {name}, which the model wants as {_shown(leaf)}; {remedy}")
        if (other.shape, other.dtype) != (leaf.shape, leaf.dtype):
            raise CheckpointError(
                f"{where}: {name} is saved as {_shown(other)}, the model wants {_shown(leaf)}; {remedy}"
            )
    for name, leaf in saved_by_name.items():
        if name not in wanted_by_name:
            raise CheckpointError(
                f"{where}: {name} ({_shown(leaf)}) is saved, but the model has no such leaf; {remedy}"
            )


def _shown(leaf: Leaf) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def rebuilt(leaves: Sequence[Leaf]) -> Any:
    """The abstract pytree of these leaves: dicts for keys and attributes, lists for sequences."""
    if len(leaves) == 1 and not leaves[0].path:
        return leaves[0].abstract()
    branches: dict[Key, list[Leaf]] = {}
    for leaf in leaves:
        branches.setdefault(leaf.path[0], []).append(dataclasses.replace(leaf, path=leaf.path[1:]))
    inner = {key: rebuilt(below) for key, below in branches.items()}
    if all(kind == "index" and index == i for i, (kind, index) in enumerate(inner)):
        return list(inner.values())
    return {name: value for (_, name), value in inner.items()}
