"""Writing checkpoints: asynchronous, atomic, sealed with checksums, the newest and the best kept."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import math
import pathlib
import shutil
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from orchestai_jax.checkpoint.errors import CheckpointDamagedError, CheckpointError
from orchestai_jax.checkpoint.host_copies import HostCopies
from orchestai_jax.checkpoint.leaves import storable
from orchestai_jax.checkpoint.reader import (
    CheckpointReader,
    Restored,
    best_of,
    complete_steps,
    recorded_metrics,
    step_folders,
)
from orchestai_jax.checkpoint.retention import NewestAndBest
from orchestai_jax.checkpoint.sealed_path import SealedPath
from orchestai_jax.checkpoint.text_files import SaveTextFiles, TextFilesHandler, check_names

_DISCARDED = "discarded"
DAMAGED = "damaged"
"""The folder beside the folder of checkpoints that damaged ones are moved to."""


class CheckpointStore:
    """The checkpoints of one run, in one folder, written by one process, or by several that train together.

    `save` copies the state and returns; a thread of the store's writes it (orbax's own way to be asynchronous starts a
    dozen threads a save first, which the training waits for). Several processes save orbax's way, which has barriers
    that do not meet the training's.

    A checkpoint becomes visible only when it is whole: it is written under a temporary name, sealed with a manifest of
    checksums, then renamed. A failed save is raised by the next `save`, `wait` or `close`, as CheckpointError.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        keep_every: int | None = None,
        best_metric: str | None = None,
        best_mode: Literal["max", "min"] = "max",
        asynchronous: bool = True,
    ):
        for name, number in (("keep_last", keep_last), ("keep_best", keep_best), ("keep_every", keep_every)):
            if number is not None and number < 1:
                raise CheckpointError(f"{name} is {number}; it must be 1 or more")
        if best_mode not in ("max", "min"):
            raise CheckpointError(f"best_mode is {best_mode!r}; allowed: max, min")
        self.folder = pathlib.Path(folder).absolute()
        self.best_metric, self.best_mode = best_metric, best_mode
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be made ({error.strerror})") from None
        self._clear_remains()
        self._keep, self._asynchronous = NewestAndBest(keep_last, keep_best, keep_every), asynchronous
        self._in_thread = asynchronous and jax.process_count() == 1
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._copies = HostCopies() if self._in_thread else None
        self._pending: concurrent.futures.Future[None] | None = None
        self._opened: ocp.CheckpointManager | None = None

    @property
    def _manager(self) -> ocp.CheckpointManager:
        """Orbax's manager. It reads files of the checkpoints that there are, so it is opened after they were looked at.

        Raises CheckpointDamagedError naming the file that it cannot read.
        """
        if self._opened is None:
            try:
                self._opened = self._open_manager()
            except Exception as error:
                for step in self.steps():
                    self.open(step)  # names the file, if that is what is wrong
                raise CheckpointError(f"{self.folder}: cannot be opened ({error})") from error
        return self._opened

    def _open_manager(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._keep,
                best_fn=lambda selection: selection["value"],
                todelete_subdir=_DISCARDED,
                enable_async_checkpointing=self._asynchronous and not self._in_thread,
                # Folders are made before `save` returns: a full or read-only disk is noticed there.
                async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
                temporary_path_class=SealedPath,
                save_root_metadata=False,
            ),
            item_handlers={
                "state": ocp.PyTreeCheckpointHandler(use_compression=False),
                "record": TextFilesHandler(),
                "assets": TextFilesHandler(),
            },
        )

    def save(
        self,
        step: int,
        state: Any,
        *,
        data_state: Mapping[str, Any],
        metadata: Mapping[str, Any],
        metrics: Mapping[str, float],
        assets: Mapping[str, str],
    ) -> None:
        """Start saving; `state` may be changed or donated as soon as this returns.

        Args:
          step: the training step, above every step saved before.
          state: pytree of arrays (random keys too).
          data_state: JSON: where the data pipeline and the loop stand.
          metadata: JSON: what is needed to build the model again.
          metrics: validation metrics; the best checkpoint is chosen by one of them.
          assets: text files by name.

        Raises CheckpointError for a value that cannot be saved, and for a save before this one that failed.
        """
        self.wait()
        if step in self.steps():
            raise CheckpointError(f"{self.folder / str(step)}: step {step} is saved already")
        leaves, nested = storable(state, self._copies)
        if not nested:  # orbax would wait for ever
            raise CheckpointError("the state holds no arrays; there is nothing to save")
        check_names(assets)
        value = metrics.get(self.best_metric) if self.best_metric is not None else None
        selection = {
            "metric": self.best_metric,
            "mode": self.best_mode,
            "value": value if value is not None and math.isfinite(value) else None,
        }
        record = {
            "leaves": [leaf.to_json() for leaf in leaves],
            "data_state": data_state,
            "metadata": metadata,
            "metrics": dict(metrics),
            "selection": selection,
        }
        arguments = ocp.args.Composite(
            state=ocp.args.PyTreeSave(nested),
            record=SaveTextFiles({f"{name}.json": _json(name, item) for name, item in record.items()}),
            assets=SaveTextFiles(dict(assets)),
        )
        if self._in_thread:
            self._pending = self._thread.submit(self._write, step, arguments, selection)
        else:
            self._write(step, arguments, selection)

    def _write(self, step: int, arguments: Any, selection: Mapping[str, Any]) -> None:
        with _failures(f"{self.folder / str(step)}: cannot be saved"):
            self._manager.save(step, args=arguments, metrics=dict(selection), force=True)

    def wait(self) -> None:
        """Block until the save under way is done. Raises CheckpointError where it failed."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
        if self._opened is None:
            return
        with _failures(f"{self.folder}: a checkpoint could not be saved"):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        if jax.process_index() == 0:
            shutil.rmtree(self.folder / _DISCARDED, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return complete_steps(self.folder)

    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step whose metric is best, the earliest of equals; null where none has the metric."""
        return best_of(recorded_metrics(self.folder, self.steps()))

    def newest(self, *, good: bool = False) -> tuple[CheckpointReader | None, list[CheckpointDamagedError]]:
        """The checkpoint to go on from (null where there is none), and what was wrong with others.

        With `good` it is the newest whole one. All damaged ones are then set aside in the folder `damaged` beside the
        others' folder, so that their steps can be saved again. Raises CheckpointDamagedError for a damaged
        newest one without `good`, and where none is whole; CheckpointError for another format version.
        """
        faults: dict[int, CheckpointDamagedError] = {}
        found: CheckpointReader | None = None
        for step in reversed(step_folders(self.folder)):
            try:
                reader = self.open(step)
            except CheckpointDamagedError as error:
                if not good:
                    remedy = "--resume=latest-good goes on from the newest one that is whole"
                    raise CheckpointDamagedError(f"{error}; {remedy}") from None
                faults[step] = error
                continue
            found = found or reader
            if not good:
                break
        if found is None and faults:
            newest = next(iter(faults.values()))
            raise CheckpointDamagedError(f"{self.folder}: all checkpoints are damaged; the newest: {newest}")
        self._set_aside(list(faults))
        return found, list(faults.values())

    def _set_aside(self, steps: list[int]) -> None:
        aside = self.folder.parent / DAMAGED
        for step in steps if jax.process_index() == 0 else ():
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / str(step), ignore_errors=True)
            (self.folder / str(step)).rename(aside / str(step))
        if steps:
            if jax.process_count() > 1:
                multihost_utils.sync_global_devices("damaged checkpoints are set aside")
            if self._opened is not None:
                self._opened.reload()

    def open(self, step: int) -> CheckpointReader:
        """One of the checkpoints, for reading. Raises CheckpointError for a damaged one and another format version."""
        return CheckpointReader(self.folder / str(step))

    def restore(self, step: int, abstract_state: Any) -> Restored:
        """Read a whole checkpoint into the structure (and shardings) of `abstract_state`.

        Raises CheckpointError for a damaged checkpoint, one of another format version and one of another model.
        """
        reader = self.open(step)
        return Restored(
            step=step,
            state=reader.restore(abstract_state, subtree=None),
            data_state=reader.data_state,
            metadata=reader.metadata,
            metrics=reader.metrics,
            assets=reader.assets,
        )

    def close(self) -> None:
        """Wait for the save under way, and end the background threads. Raises CheckpointError where it failed."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            if self._copies is not None:
                self._copies.close()
            if self._opened is not None:
                self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()

    def _clear_remains(self) -> None:
        """Remove what a killed process left: unfinished saves, and checkpoints on their way out."""
        if jax.process_index() != 0:
            return
        shutil.rmtree(self.folder / _DISCARDED, ignore_errors=True)
        for path in self.folder.glob(f"*{ocp.path.atomicity.TMP_DIR_SUFFIX}*"):
            shutil.rmtree(path)


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turns whatever a save raises into a CheckpointError that says what failed."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{what} ({reason[:300]}); check the disk's space and rights") from error


def _json(name: str, item: Any) -> str:
    try:
        return json.dumps(item, allow_nan=True)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{name} is not JSON: {error}") from None
