"""Reading checkpoints: of a run's work folder, or one by itself."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_jax.checkpoint.errors import CheckpointError
from orchestai_jax.checkpoint.leaves import Leaf, check_same, described_leaves, get, is_random_key, put, rebuilt
from orchestai_jax.checkpoint.manifest import MANIFEST, read_manifest, verify
from orchestai_jax.checkpoint.migrations import added_leaves, migrated_record
from orchestai_jax.checkpoint.stored_arrays import is_readable, read_arrays

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints inside a work folder."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint holds."""

    step: int
    state: Any
    """The pytree, structured as the abstract state that was asked for."""
    data_state: dict[str, Any]
    """Where the data pipeline stood."""
    metadata: dict[str, Any]
    metrics: dict[str, float]
    assets: dict[str, str]
    """File name to text."""


class CheckpointReader:
    """One complete checkpoint. Checksums are compared once, before anything of it is used."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder.absolute()  # orbax refuses relative paths
        self.manifest: Mapping[str, Any] = read_manifest(folder)
        self.step: int = self.manifest["step"]
        self.version: int = self.manifest["format_version"]
        verify(folder, self.manifest)

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """What the run wrote about itself (its configuration, the planner's sizes, …)."""
        return self._record("metadata")

    @functools.cached_property
    def data_state(self) -> dict[str, Any]:
        """Where the data pipeline and the loop stood."""
        return self._record("data_state")

    @functools.cached_property
    def metrics(self) -> dict[str, float]:
        """Validation metrics at this step; empty for a checkpoint in the middle of an epoch."""
        return self._record("metrics")

    @functools.cached_property
    def assets(self) -> dict[str, str]:
        """Text files by name."""
        return {
            name.removeprefix("assets/"): (self.folder / name).read_text(encoding="utf-8")
            for name in self.manifest["files"]
            if name.startswith("assets/")
        }

    @functools.cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every array of the saved state: path, shape, dtype."""
        return (*self._stored_leaves, *(leaf for leaf, _ in added_leaves(self.version, self._stored_leaves)))

    @functools.cached_property
    def _stored_leaves(self) -> tuple[Leaf, ...]:
        return tuple(Leaf.from_json(entry) for entry in self._record("leaves"))

    @functools.cached_property
    def _added(self) -> dict[str, np.ndarray]:
        """By name: the arrays that an older format lacks."""
        return {leaf.name: value for leaf, value in added_leaves(self.version, self._stored_leaves)}

    def released_parameters(self) -> dict[str, Any]:
        """`params` as they are meant to be used: the moving average of the trained ones, where one was kept."""
        params = self.restore()
        if any(leaf.name.startswith("ema/") for leaf in self.leaves):
            params["trainable"] = self.restore(subtree="ema")
        return params

    def abstract_state(self, subtree: str | None = "params") -> Any:
        """Shapes and dtypes of the saved state below `subtree` (null = all of it).

        Dicts stand for dicts and dataclasses, lists for sequences. Raises CheckpointError where there is no such part.
        """
        leaves = self._below(subtree)
        depth = len(subtree.split("/")) if subtree else 0
        return rebuilt([dataclasses.replace(leaf, path=leaf.path[depth:]) for leaf in leaves])

    def restore(self, abstract_state: Any | None = None, *, subtree: str | None = "params") -> Any:
        """Read the part of the state below `subtree` (null = all of it), and nothing else from the disk.

        Args:
          abstract_state: pytree of arrays or ShapeDtypeStructs; where they name a sharding it is used,
            and NumPy arrays stay NumPy. Without one the result has the structure of `abstract_state(subtree)`.
          subtree: `params` leaves the optimizer's moments unread.

        Raises CheckpointError naming the first leaf whose shape or dtype differs.
        """
        wanted = self.abstract_state(subtree) if abstract_state is None else abstract_state
        prefix = tuple(("key", name) for name in subtree.split("/")) if subtree else ()
        described = described_leaves(wanted)
        below = [dataclasses.replace(leaf, path=(*prefix, *leaf.path)) for leaf, _ in described]
        check_same(below, self._below(subtree), str(self.folder))
        kept = [
            (leaf, array)
            for leaf, (_, array) in zip(below, described, strict=True)
            if 0 not in leaf.shape and leaf.name not in self._added
        ]
        restored = self._read(kept) if kept else {}
        values = []
        for leaf, (description, array) in zip(below, described, strict=True):
            if leaf.name in self._added:
                value = jax.device_put(self._added[leaf.name], getattr(array, "sharding", None))
            elif 0 in leaf.shape:
                value = array if isinstance(array, np.ndarray) else jnp.zeros(array.shape, array.dtype)
            elif is_random_key(array):
                value = jax.random.wrap_key_data(get(restored, leaf), impl=description.key_implementation)
            else:
                value = get(restored, leaf)
            values.append(value)
        return jax.tree.unflatten(jax.tree.structure(wanted), values)

    def _read(self, kept: Sequence[tuple[Leaf, Any]]) -> dict[str, Any]:
        """The stored arrays, as what was asked for says."""
        state = self.folder / "state"
        if jax.process_count() == 1 and is_readable(state) and all(_is_whole(array) for _, array in kept):
            restored: dict[str, Any] = {}
            for (leaf, array), read in zip(kept, read_arrays(state, [leaf for leaf, _ in kept]), strict=True):
                on_host = isinstance(array, (np.ndarray, np.generic))
                put(restored, leaf, read if on_host else jax.device_put(read, _sharding(array)))
            return restored
        return self._read_by_orbax(state, kept)

    def _read_by_orbax(self, state: pathlib.Path, kept: Sequence[tuple[Leaf, Any]]) -> dict[str, Any]:
        """Every process and device its part."""
        import orbax.checkpoint as ocp

        item: dict[str, Any] = {}
        arguments: dict[str, Any] = {}
        for leaf, array in kept:
            stored = jax.eval_shape(jax.random.key_data, array) if is_random_key(array) else array
            put(item, leaf, jax.ShapeDtypeStruct(stored.shape, stored.dtype))
            how = {"sharding": _sharding(array), "dtype": stored.dtype}
            if isinstance(array, (np.ndarray, np.generic)):
                put(arguments, leaf, ocp.RestoreArgs(restore_type=np.ndarray, dtype=stored.dtype))
            else:
                put(arguments, leaf, ocp.ArrayRestoreArgs(restore_type=jax.Array, **how))
        restore = ocp.args.PyTreeRestore(item=item, restore_args=arguments, partial_restore=True)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(state, args=restore)

    def _below(self, subtree: str | None) -> list[Leaf]:
        if not subtree:
            return list(self.leaves)
        parts = subtree.split("/")
        leaves = [leaf for leaf in self.leaves if [str(name) for _, name in leaf.path[: len(parts)]] == parts]
        if not leaves:
            raise CheckpointError(f"{self.folder}: holds no {subtree}; it was saved by another kind of run")
        return leaves

    def _record(self, name: str) -> Any:
        path = self.folder / "record" / f"{name}.json"
        try:
            return migrated_record(self.version, name, json.loads(path.read_text(encoding="utf-8")))
        except OSError:
            raise CheckpointError(f"{path}: missing; the checkpoint was written by another program") from None


def _sharding(array: Any) -> jax.sharding.Sharding:
    """Where an array is wanted: the first device where nothing is said."""
    return getattr(array, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _is_whole(array: Any) -> bool:
    """Whether an array is wanted in one piece, on the host or on one device."""
    return isinstance(array, (np.ndarray, np.generic)) or len(_sharding(array).device_set) == 1


def complete_steps(folder: pathlib.Path) -> list[int]:
    """Steps of the complete checkpoints in a folder of checkpoints, ascending."""
    return [step for step in step_folders(folder) if (folder / str(step) / MANIFEST).is_file()]


def step_folders(folder: pathlib.Path) -> list[int]:
    """Steps that a folder of checkpoints has folders of, ascending: whole ones, for they appear by a rename, and those
    that lost their manifest since."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def open_checkpoint(path: str | pathlib.Path, which: Literal["best", "latest"] | int = "best") -> CheckpointReader:
    """Open a checkpoint for reading.

    Args:
      path: a run's work folder, its folder of checkpoints, or one checkpoint's folder.
      which: among several the best by the run's metric (the latest where none has it), the latest, or a step.

    Raises CheckpointError for a folder that is missing or holds no complete checkpoint, and for a damaged one.
    """
    folder = pathlib.Path(path)
    if not folder.exists():
        raise CheckpointError(
            f"{folder}: no such folder; give a work folder of `orchestai train` or a checkpoint in it"
        )
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: a file; give a work folder of `orchestai train` or a checkpoint in it")
    if (folder / MANIFEST).is_file():
        return CheckpointReader(folder)
    store = folder / CHECKPOINTS if (folder / CHECKPOINTS).is_dir() else folder
    steps = complete_steps(store)
    if not steps:
        if folder.name.isdigit() and (folder / "state").exists():
            raise CheckpointError(
                f"{folder}: has no {MANIFEST}, so it is not complete; use another checkpoint of the run"
            )
        what = "no complete checkpoint yet" if store != folder else "no checkpoint of orchestai"
        raise CheckpointError(f"{folder}: {what}; give the --workdir of `orchestai train` or a checkpoint folder in it")
    if which == "latest":
        step = steps[-1]
    elif which == "best":
        step = best_of(recorded_metrics(store, steps)) or steps[-1]
    elif which in steps:
        step = which
    else:
        raise CheckpointError(f"{folder}: has no checkpoint of step {which}; it has {', '.join(map(str, steps))}")
    return CheckpointReader(store / str(step))


def recorded_metrics(store: pathlib.Path, steps: list[int]) -> dict[int, tuple[float | None, str]]:
    """Step to (value of the run's best metric or null, "max" or "min"), read without comparing checksums.

    Raises CheckpointError for a record that cannot be read.
    """
    values: dict[int, tuple[float | None, str]] = {}
    for step in steps:
        path = store / str(step) / "record" / "selection.json"
        try:
            selection = json.loads(path.read_text(encoding="utf-8"))
            values[step] = (selection["value"], selection["mode"])
        except (OSError, ValueError, KeyError, TypeError):
            raise CheckpointError(f"{path}: damaged; remove {store / str(step)} or use another checkpoint") from None
    return values


def best_first(values: Mapping[int, tuple[float | None, str]]) -> list[int]:
    """The steps that have a value, the best first, the earliest of equals before the others."""
    scored = [(-value if mode == "max" else value, step) for step, (value, mode) in values.items() if value is not None]
    return [step for _, step in sorted(scored)]


def best_of(values: Mapping[int, tuple[float | None, str]]) -> int | None:
    """The step with the best value, the earliest of equals; null where no step has one."""
    return next(iter(best_first(values)), None)
