"""A run's work folder: whose it is, and how far the run has come."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import filelock

from orchestai_jax.checkpoint import (
    CHECKPOINTS,
    CheckpointError,
    CheckpointStore,
    complete_steps,
    open_checkpoint,
)
from orchestai_jax.config import (
    AnyRunConfig,
    ConfigError,
    RunConfig,
    config_differences,
    dump_config,
    parse_run_config,
)
from orchestai_jax.training.errors import TrainingError
from orchestai_jax.training.metrics_log import METRICS_FILE, read_metrics
from orchestai_jax.training.processes import is_lead, wait_for_all

CONFIG_FILE = "config.yaml"
LOCK_FILE = ".lock"
_FREE = ("system.", "mesh.", "monitoring.trackers", "monitoring.mlflow_store")
"""Keys that may differ between a run and its resumption (another mesh: to the same losses but for the rounding)."""


@contextlib.contextmanager
def locked_workdir(workdir: str | pathlib.Path) -> Iterator[None]:
    """While entered, no other process trains in this work folder. The lock goes with the process, however it ends.

    Raises TrainingError where another training has the folder, or where nothing can be written into it.
    """
    if not is_lead():
        yield
        return
    lock = filelock.FileLock(pathlib.Path(workdir) / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise TrainingError(
            f"{workdir}: another training is at work in it; wait until it ends, or give another --workdir"
        ) from None
    except OSError as error:
        raise TrainingError(f"{workdir}: cannot be used as a work folder ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


class KeepSettings(Protocol):
    """What a configuration says about the checkpoints that are kept."""

    @property
    def keep_checkpoints(self) -> int:
        """Newest ones."""
        ...

    @property
    def keep_best(self) -> int:
        """Best ones."""
        ...

    @property
    def keep_every_steps(self) -> int | None:
        """Multiples of so many steps."""
        ...

    @property
    def best_metric(self) -> str:
        """What the best are best by."""
        ...

    @property
    def best_mode(self) -> Literal["max", "min"]:
        """Whether higher or lower is better."""
        ...


def open_store(workdir: str | pathlib.Path, settings: KeepSettings) -> CheckpointStore:
    """The store of a run's checkpoints; to be closed by the caller."""
    return CheckpointStore(
        pathlib.Path(workdir) / CHECKPOINTS,
        keep_last=settings.keep_checkpoints,
        keep_best=settings.keep_best,
        keep_every=settings.keep_every_steps,
        best_metric=settings.best_metric,
        best_mode=settings.best_mode,
    )


def prepare_workdir(workdir: str | pathlib.Path, config: AnyRunConfig, *, resume: bool) -> None:
    """Make the work folder and write `config.yaml` into it; or make sure that `config` is the one it was begun with.

    `system`, `mesh` and `monitoring.trackers` may differ between a run and its resumption: they change no result.

    Raises TrainingError for a folder that holds something already (without `resume`), one that cannot be made, and one
    that was begun with another configuration, naming each key that differs.
    """
    if is_lead():
        _prepare(pathlib.Path(workdir), config, resume)
    wait_for_all("workdir")


def _prepare(folder: pathlib.Path, config: AnyRunConfig, resume: bool) -> None:
    begun = folder / CONFIG_FILE
    try:
        if folder.exists() and not folder.is_dir():
            raise TrainingError(f"{folder}: a file; give a folder as --workdir")
        contents = sorted(p.name for p in folder.iterdir() if p.name != LOCK_FILE) if folder.exists() else []
        if contents and not resume:
            what = "a run is in it" if begun.exists() else f"it holds {', '.join(contents[:3])}"
            remedy = "go on with --resume, or give another --workdir" if begun.exists() else "give another --workdir"
            raise TrainingError(f"{folder}: not empty ({what}); {remedy}")
        if begun.exists():
            _check_same(begun, config)
            return
        if contents:
            raise TrainingError(f"{folder}: no run to resume (it has no {CONFIG_FILE}); give the --workdir of a run")
        folder.mkdir(parents=True, exist_ok=True)
        temporary = begun.with_name(CONFIG_FILE + ".tmp")
        temporary.write_text(dump_config(config), encoding="utf-8")
        os.replace(temporary, begun)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be used as a work folder ({error.strerror})") from None


def _check_same(begun: pathlib.Path, config: AnyRunConfig) -> None:
    try:
        before = parse_run_config(begun.read_text(encoding="utf-8"), source=str(begun))
    except (ConfigError, UnicodeDecodeError) as error:
        raise TrainingError(f"the run cannot be resumed: {error}; give another --workdir") from None
    differences = [d for d in config_differences(before, config) if not d[0].startswith(_FREE)]
    if differences:
        listed = ", ".join(f"{key} ({_brief(was)} then, {_brief(now)} now)" for key, was, now in differences)
        raise TrainingError(
            f"{begun.parent}: begun with another configuration: {listed}; "
            "resume with the same values, or give another --workdir"
        )


def _brief(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


@dataclasses.dataclass(frozen=True)
class WorkdirStatus:
    """How far a run has come."""

    workdir: str
    name: str | None
    """The run's name; null where there is no readable configuration."""
    state: str
    """`not started`, `unfinished` (running, or stopped: it can be resumed), `stopped early` or `finished`."""
    step: int
    """Steps saved in the latest checkpoint."""
    total_steps: int | None
    epoch: int
    """Epochs that are done and evaluated."""
    num_epochs: int | None
    best_metric: str | None
    best_step: int | None
    best_value: float | None
    checkpoints: tuple[int, ...]
    validation: tuple[dict[str, Any], ...]
    """One entry an epoch: epoch, step and the metrics."""


def workdir_status(workdir: str | pathlib.Path) -> WorkdirStatus:
    """Read how far a run has come; changes nothing in it.

    Raises TrainingError for a folder that is no work folder.
    """
    folder = pathlib.Path(workdir)
    metrics_file, config_file = folder / METRICS_FILE, folder / CONFIG_FILE
    if not config_file.exists() and not metrics_file.exists():
        raise TrainingError(f"{folder}: no work folder of a run (neither {CONFIG_FILE} nor {METRICS_FILE} in it)")
    config: AnyRunConfig | None = None
    if config_file.exists():
        try:
            config = parse_run_config(config_file.read_text(encoding="utf-8"), source=str(config_file))
        except (ConfigError, UnicodeDecodeError) as error:
            raise TrainingError(str(error)) from None
    num_epochs, best_metric = _plan(config)
    lines = [line for line in _read(metrics_file) if line["split"] == "validation"]
    loop: dict[str, Any] = {}
    step, steps = 0, complete_steps(folder / CHECKPOINTS)
    if steps:
        try:
            reader = open_checkpoint(folder, "latest")
        except CheckpointError as error:
            raise TrainingError(str(error)) from None
        step, loop = reader.step, reader.data_state.get("loop", {})
    total_steps = loop.get("total_steps")
    best = loop.get("best") or {}
    if loop.get("stopped_early"):
        state = "stopped early"
    elif total_steps is not None and step >= total_steps:
        state = "finished"
    else:
        state = "unfinished" if lines or steps or metrics_file.exists() else "not started"
    return WorkdirStatus(
        workdir=str(folder),
        name=config.name if config is not None else None,
        state=state,
        step=step,
        total_steps=total_steps,
        epoch=max((line["epoch"] for line in lines), default=0),
        num_epochs=num_epochs,
        best_metric=best_metric,
        best_step=best.get("step"),
        best_value=best.get("value"),
        checkpoints=tuple(steps),
        validation=tuple({"epoch": line["epoch"], "step": line["step"], **line["values"]} for line in lines),
    )


def _plan(config: AnyRunConfig | None) -> tuple[int | None, str | None]:
    """How many epochs (validations, of what is trained for a number of steps) a run has, and its best metric."""
    if config is None:
        return None, None
    if not isinstance(config, RunConfig):
        training = config.training
        return training.num_steps // training.evaluate_every_steps, training.best_metric
    phase = config.training.phase1_supervised
    return phase.num_epochs, phase.best_metric


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        return read_metrics(path) if path.exists() else []
    except ValueError as error:
        raise TrainingError(str(error)) from None
