"""Search over implementations and configurations: compiled in threads, run one at a time, judged by the median."""

from __future__ import annotations

import concurrent.futures
import contextvars
import dataclasses
import datetime
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_kernels import records
from orchestai_kernels.dispatch import Implementation, Op, current_settings
from orchestai_kernels.dispatch import platform as target_platform


@dataclasses.dataclass(frozen=True)
class SearchPolicy:
    """How a search measures. Raises ValueError for a count below 1 or a time below 0."""

    repeats: int = 9
    """Timed samples of each trial; the trials take turns, so that a slow spell of the machine hits all."""
    sample_seconds: float = 0.005
    """A sample repeats a shorter call until it lasts about this long, and counts the time a call."""
    compile_threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    """Trials compiled at a time; the runs are serial."""
    seed: int = 0
    """Of the numbers that stand for arguments given by shape."""

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.compile_threads < 1 or self.sample_seconds < 0:
            raise ValueError(f"repeats and compile_threads are at least 1, sample_seconds at least 0: {self}")


def measure(
    op: Op,
    trials: Sequence[tuple[Implementation, Any]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    gradient: bool = False,
    policy: SearchPolicy | None = None,
) -> records.Entry:
    """Time each (implementation, configuration) on arguments given as arrays or as shapes.

    With `gradient` a run is the forward and the backward pass, towards every floating array. Arguments that the op
    changes in place are donated, and each run goes on from the state that the last one left: a copy of them would hide
    what is compared. A trial that cannot be compiled or run is kept with what it said. Raises ValueError where there is
    nothing to try, RuntimeError where nothing ran.
    """
    if not trials:
        raise ValueError(f"{op.name}: nothing to measure: {op.here()}")
    policy = policy or SearchPolicy()
    key = op.key(*args, **kwargs)
    arrays, rebuild = _split(*_filled(op, args, dict(kwargs), policy.seed))
    donated = () if gradient else _places(arrays, rebuild, op.in_place)
    compiled = _compile(trials, arrays, rebuild, gradient, donated, policy.compile_threads)
    runs: dict[int, tuple[Callable[[], Any], int]] = {}
    errors = {index: result for index, result in enumerate(compiled) if isinstance(result, str)}
    for index, executable in enumerate(compiled):
        if isinstance(executable, str):
            continue
        run = _runner(executable, arrays, donated, op.in_place)
        try:
            run()
            took = _seconds(run, 1)
        except (RuntimeError, ValueError) as error:
            errors[index] = _first_line(error)
            continue
        runs[index] = run, max(1, min(1000, int(policy.sample_seconds / max(took, 1e-9))))
    samples: dict[int, list[float]] = {index: [] for index in runs}
    for _ in range(policy.repeats):
        for index, (run, calls) in runs.items():
            samples[index].append(_seconds(run, calls))
    if not runs:
        raise RuntimeError(f"{op.name}: nothing ran for `{key}`: {sorted(set(errors.values()))}")
    return records.Entry(
        key=key,
        example=_example(args, kwargs) + (" with its gradient" if gradient else ""),
        jax_version=jax.__version__,
        processor=processor_name(),
        measured=datetime.datetime.now(datetime.UTC).date().isoformat(),
        sources={implementation.name: implementation.source_hash() for implementation, _ in trials},
        timings=tuple(
            records.Timing(
                implementation.name,
                None if config is None else dataclasses.asdict(config),
                tuple(samples.get(index, ())),
                errors.get(index),
            )
            for index, (implementation, config) in enumerate(trials)
        ),
    )


def measure_call(
    op: Op, args: tuple[Any, ...], kwargs: Mapping[str, Any], policy: SearchPolicy | None = None
) -> records.Entry:
    """`measure` of everything that can run a call, which may be in the middle of being traced."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if _is_array(x) else x, (args, dict(kwargs)))
    context = contextvars.copy_context()
    # A thread of its own is outside whatever trace this call is part of.
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        trials = op.trials(*shapes[0], **shapes[1])
        return executor.submit(context.run, measure, op, trials, shapes[0], shapes[1], policy=policy).result()


def processor_name() -> str:
    """Model of the accelerator, or of the processor with the number of its logical cores."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.device_kind} x{jax.device_count()}"
    model = platform.processor() or platform.machine()
    information = pathlib.Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model} x{os.cpu_count()}"


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")


def _filled(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any], seed: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with numbers where there were shapes."""
    if op.fill is not None:
        args, kwargs = op.fill(np.random.default_rng(seed), *args, **kwargs)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: _numbers(rng, x) if isinstance(x, jax.ShapeDtypeStruct) else x, (args, kwargs))


def _numbers(rng: np.random.Generator, shape: jax.ShapeDtypeStruct) -> jax.Array:
    """Normal floats, any int8, True, and zero for the integers that count or number something."""
    if jnp.issubdtype(shape.dtype, jnp.floating):
        return jnp.asarray(rng.standard_normal(shape.shape, np.float32), shape.dtype)
    if shape.dtype == jnp.int8:
        return jnp.asarray(rng.integers(-127, 128, shape.shape, np.int8))
    return jnp.ones(shape.shape, bool) if shape.dtype == jnp.bool_ else jnp.zeros(shape.shape, shape.dtype)


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The arrays of a call, and what makes (args, kwargs) of them again."""
    leaves, structure = jax.tree.flatten((args, kwargs))
    where = [index for index, leaf in enumerate(leaves) if _is_array(leaf)]

    def rebuild(arrays: Sequence[Any]) -> Any:
        whole = list(leaves)
        for index, array in zip(where, arrays, strict=True):
            whole[index] = array
        return jax.tree.unflatten(structure, whole)

    return [leaves[index] for index in where], rebuild


def _places(
    arrays: Sequence[Any], rebuild: Callable[[Sequence[Any]], Any], arguments: Iterable[int]
) -> tuple[int, ...]:
    """Which of a call's arrays belong to these positional arguments, argument by argument."""
    numbered, _ = rebuild(range(len(arrays)))
    return tuple(place for argument in arguments for place in jax.tree.leaves(numbered[argument]))


def _compile(
    trials: Sequence[tuple[Implementation, Any]],
    arrays: Sequence[Any],
    rebuild: Callable[[Sequence[Any]], Any],
    gradient: bool,
    donated: tuple[int, ...],
    threads: int,
) -> list[Any]:
    """An executable for each trial, or what its compilation said."""
    floating = [index for index, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.floating)]

    def compile_one(implementation: Implementation, config: Any) -> Any:
        extra: dict[str, Any] = {} if implementation.configs is None else {"config": config}
        if implementation.interpretable:  # only where it cannot run as it is, and was asked for
            extra["interpret"] = current_settings().interpret and target_platform() not in implementation.platforms

        def forward(*given: Any) -> Any:
            args, kwargs = rebuild(given)
            return implementation.run(*args, **kwargs, **extra)

        def total(*given: Any) -> Any:
            return sum(jnp.sum(out.astype(jnp.float32)) for out in jax.tree.leaves(forward(*given)))

        run = jax.grad(total, argnums=tuple(floating)) if gradient and floating else forward
        try:
            return jax.jit(run, donate_argnums=donated).lower(*arrays).compile()
        except (NotImplementedError, RuntimeError, ValueError) as error:
            return _first_line(error)

    with concurrent.futures.ThreadPoolExecutor(threads) as executor:
        futures = [
            executor.submit(contextvars.copy_context().run, compile_one, implementation, config)
            for implementation, config in trials
        ]
        return [future.result() for future in futures]


def _runner(
    executable: Any, arrays: Sequence[Any], donated: tuple[int, ...], in_place: Mapping[int, int]
) -> Callable[[], Any]:
    """One run; what is donated is a copy of its own, replaced by the state that the run leaves."""
    if not donated:
        return lambda: jax.block_until_ready(executable(*arrays))
    given = [jnp.array(array, copy=True) if place in donated else array for place, array in enumerate(arrays)]

    def run() -> Any:
        result = jax.block_until_ready(executable(*given))
        state = jax.tree.leaves([result[part] for part in in_place.values()])
        for place, array in zip(donated, state, strict=True):
            given[place] = array
        return result

    return run


def _seconds(run: Callable[[], Any], calls: int) -> float:
    """Mean wall-clock time of a call over so many."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}"


def _example(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    arrays = [x for x in jax.tree.leaves((args, dict(kwargs))) if _is_array(x)]
    return " ".join(f"{np.dtype(x.dtype).name}{list(x.shape)}" for x in arrays)
