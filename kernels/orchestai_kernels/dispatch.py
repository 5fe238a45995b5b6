"""Which implementation of an op runs: the one named, else the tuned record's, else the heuristic's first that can.

An op is a list of implementations in the heuristic's order of preference. One that cannot run raises
`NotImplementedError` with the reason and the next is tried; any other exception is the caller's. What was chosen, and
why not the others, is logged once a choice (logger `orchestai_kernels.dispatch`, level info; warning where an
implementation belongs to this platform but is missing from this installation).

    def _accepts(x, weight):                                    # raises NotImplementedError with the reason
        if x.ndim != 2:
            raise NotImplementedError(f"wants two axes, got {x.ndim}")

    SCALE = Op("scale", key=lambda x, weight: f"n{bucket(x.shape[0])} {x.dtype}", implementations=[
        Implementation("cpu", run=cpu_call, platforms=("cpu",), available=cpu_built, accepts=_accepts,
                       sources=(__file__,)),
        Implementation("pallas_gpu", run=gpu_call, platforms=("gpu",), interpretable=True, sources=(__file__,),
                       configs=ConfigSpace(Tiles, heuristic=first_guess, candidates=all_tiles)),
        Implementation("reference", run=reference, sources=(__file__,)),
    ])
    y = SCALE(x, weight, implementation="auto")                 # or a name; the other arguments go to `run`

`run` gets the call's arguments; also `config=` where the implementation has `configs`, and `interpret=` where it is
`interpretable`. Settings and records are read while a function is traced: a jitted function keeps what was chosen then.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax

from orchestai_kernels import records
from orchestai_kernels.implementation import ConfigSpace, Implementation, KernelMissingError, bucket
from orchestai_kernels.observation import observe, observed_calls
from orchestai_kernels.settings import KernelSettings, Platform, configure, current_settings, overridden, platform

__all__ = [
    "Choice",
    "ConfigSpace",
    "Implementation",
    "KernelMissingError",
    "KernelSettings",
    "MissingRecordError",
    "Op",
    "bucket",
    "configure",
    "current_settings",
    "observed_calls",
    "overridden",
    "platform",
]

logger = logging.getLogger(__name__)


class MissingRecordError(LookupError):
    """No tuned record for a call, where the settings say that there must be one."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a call runs, and why."""

    implementation: str
    """Its name."""
    config: Any
    """Its configuration; None where it has none."""
    why: Literal["named", "tuned", "measured now", "heuristic", "only one"]
    """On what ground."""
    rejected: Mapping[str, str]
    """The implementations that would have come before it, or are slower by the record, with the reason of each."""


class Op:
    """An operation with its implementations, in the heuristic's order of preference on every platform.

    `key` maps a call's arguments to the text under which records are kept. `prefer` may reorder the names for given
    arguments (it gets the platform first). `fill` makes arguments to measure with out of their shapes, where random
    numbers would not do. `in_place` says of which positional argument which part of the result is the new state: it is
    measured donated, as it is used. Raises ValueError for a name that occurs twice.
    """

    def __init__(
        self,
        name: str,
        *,
        key: Callable[..., str],
        implementations: Sequence[Implementation],
        prefer: Callable[..., Sequence[str]] | None = None,
        fill: Callable[..., Any] | None = None,
        in_place: Mapping[int, int] | None = None,
    ):
        names = [implementation.name for implementation in implementations]
        if len(set(names)) != len(names) or "auto" in names:
            raise ValueError(f"op {name}: the implementations' names must differ and none be `auto`: {names}")
        self.name, self.key, self.prefer, self.fill, self.in_place = name, key, prefer, fill, dict(in_place or {})
        self.implementations = {implementation.name: implementation for implementation in implementations}
        self._measured_now: dict[tuple[str, str], records.Entry] = {}
        self._logged: set[tuple[Any, ...]] = set()
        OPS[name] = self

    def __call__(self, *args: Any, implementation: str = "auto", config: Any = None, **kwargs: Any) -> Any:
        """Run the op by the named implementation, or by the one that `auto` finds.

        Raises ValueError for an unknown name or a config without a name; NotImplementedError where the named one, or
        every one, cannot run; MissingRecordError by `KernelSettings.on_miss`.
        """
        observe(self.name, args, kwargs)
        if implementation != "auto":
            chosen = self._named(implementation, config, args, kwargs)
            self._log(chosen)
            return self._run(chosen, args, kwargs)
        if config is not None:
            raise ValueError(f"{self.name}: a config belongs to one implementation; name it beside the config")
        rejected: dict[str, str] = {}
        for candidate in self._candidates(args, kwargs, rejected):
            try:
                result = self._run(candidate, args, kwargs)
            except NotImplementedError as error:  # found out only while tracing
                self._pass_over(candidate.implementation, error, rejected)
                continue
            self._log(dataclasses.replace(candidate, rejected={**rejected, **candidate.rejected}))
            return result
        raise NotImplementedError(f"{self.name}: nothing runs this call on {platform()}: {_listing(rejected)}")

    def choose(self, *args: Any, implementation: str = "auto", config: Any = None, **kwargs: Any) -> Choice:
        """What a call with these arguments (arrays or shapes) would run. Raises as the call does."""
        if implementation != "auto":
            return self._named(implementation, config, args, kwargs)
        rejected: dict[str, str] = {}
        for candidate in self._candidates(args, kwargs, rejected):
            return dataclasses.replace(candidate, rejected={**rejected, **candidate.rejected})
        raise NotImplementedError(f"{self.name}: nothing runs this call on {platform()}: {_listing(rejected)}")

    def here(self) -> dict[str, str | None]:
        """Each implementation, in order, with None where it can run on this platform and the reason where it cannot."""
        reasons: dict[str, str | None] = {}
        for name, implementation in self.implementations.items():
            try:
                implementation.here(platform(), interpret=False)
                reasons[name] = None
            except NotImplementedError as error:
                reasons[name] = str(error)
        return reasons

    def trials(self, *args: Any, **kwargs: Any) -> list[tuple[Implementation, Any]]:
        """All that tuning may try for a call on this platform: implementations with each of their configurations."""
        trials: list[tuple[Implementation, Any]] = []
        for implementation in self.implementations.values():
            try:
                implementation.here(platform(), interpret=False)
                implementation.accepts(*args, **kwargs)
            except NotImplementedError:
                continue
            configs = implementation.configs
            trials += [(implementation, c) for c in (configs.candidates(*args, **kwargs) if configs else (None,))]
        return trials

    def find_record(self, key: str) -> records.Entry | None:
        """The entry of a key that may be used: measured in this process, else current in the device's record."""
        device = records.device_name()
        if (device, key) in self._measured_now:
            return self._measured_now[device, key]
        folder = current_settings().records or records.PACKAGED
        entry = records.cached_record(records.record_path(folder, device, self.name)).get(key)
        if entry is None:
            return None
        sources = {
            name: self.implementations[name].source_hash() for name in entry.sources if name in self.implementations
        }
        if records.is_current(entry, sources):
            return entry
        self._log_once(
            ("stale", key),
            logging.WARNING,
            "%s: the record of `%s` is of other kernel source; not used until `orchestai kernels tune --op %s`",
            self.name,
            key,
            self.name,
        )
        return None

    def remember(self, entry: records.Entry) -> None:
        """Use an entry for the rest of this process."""
        self._measured_now[records.device_name(), entry.key] = entry

    def _candidates(self, args: tuple[Any, ...], kwargs: dict[str, Any], rejected: dict[str, str]) -> Iterator[Choice]:
        """Choices to try in order; adds to `rejected` what was passed over."""
        settings, target = current_settings(), platform()
        able: list[Implementation] = []
        for name in self._order(target, args, kwargs):
            try:
                self.implementations[name].here(target, interpret=False)
                self.implementations[name].accepts(*args, **kwargs)
                able.append(self.implementations[name])
            except NotImplementedError as error:
                self._pass_over(name, error, rejected)
        if len(able) == 1 and able[0].configs is None:
            yield Choice(able[0].name, None, "only one", {})
            return
        # A record holds for the device that is here, so for another platform there is none.
        if able and settings.platform in (None, jax.default_backend()):
            yield from self._recorded(able, settings, args, kwargs)
        for implementation in able:
            configs = implementation.configs
            yield Choice(implementation.name, configs.heuristic(*args, **kwargs) if configs else None, "heuristic", {})

    def _recorded(
        self, able: list[Implementation], settings: KernelSettings, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Choice]:
        key = self.key(*args, **kwargs)
        entry, why = self.find_record(key), "tuned"
        if entry is None and settings.on_miss == "error":
            raise MissingRecordError(
                f"{self.name}: no usable record of `{key}` on {records.device_name()}; "
                f"run `orchestai kernels tune --op {self.name}`"
            )
        if entry is None and settings.on_miss == "tune":
            from orchestai_kernels.tuning import measure_call  # tuning imports this module

            entry, why = measure_call(self, args, kwargs), "measured now"
            self.remember(entry)
        by_name = {implementation.name: implementation for implementation in able}
        ranked = entry.ranked() if entry else ()
        medians = {timing.implementation: timing.median_seconds for timing in reversed(ranked)}
        for timing in ranked:
            implementation = by_name.get(timing.implementation)
            if implementation is None:
                continue
            configs = implementation.configs
            config = configs.config_class(**(timing.config or {})) if configs else None
            slower = {
                name: f"{seconds / timing.median_seconds:.2f} times as long by the record"
                for name, seconds in medians.items()
                if name != implementation.name and name in by_name and timing.median_seconds > 0
            }
            yield Choice(implementation.name, config, why, slower)

    def _order(self, target: Platform, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[str]:
        return tuple(self.implementations) if self.prefer is None else self.prefer(target, *args, **kwargs)

    def _named(self, name: str, config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Choice:
        if name not in self.implementations:
            raise ValueError(
                f"{self.name}: implementation is `auto` or one of {', '.join(self.implementations)}, not {name!r}"
            )
        implementation = self.implementations[name]
        try:
            implementation.here(platform(), current_settings().interpret)
            implementation.accepts(*args, **kwargs)
        except NotImplementedError as error:
            raise type(error)(f"{self.name}: `{name}`: {error}") from error
        if config is None and implementation.configs is not None:
            config = implementation.configs.heuristic(*args, **kwargs)
        elif config is not None and (
            implementation.configs is None or not isinstance(config, implementation.configs.config_class)
        ):
            wanted = implementation.configs.config_class.__name__ if implementation.configs else "no config"
            raise ValueError(f"{self.name}: `{name}` takes {wanted}, not {config!r}")
        return Choice(name, config, "named", {})

    def _run(self, choice: Choice, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        implementation = self.implementations[choice.implementation]
        extra: dict[str, Any] = {} if implementation.configs is None else {"config": choice.config}
        if implementation.interpretable:
            extra["interpret"] = choice.why == "named" and current_settings().interpret
        return implementation.run(*args, **kwargs, **extra)

    def _pass_over(self, name: str, error: NotImplementedError, rejected: dict[str, str]) -> None:
        rejected[name] = str(error)
        if isinstance(error, KernelMissingError):
            self._log_once(("missing", name), logging.WARNING, "%s: no `%s`: %s", self.name, name, error)

    def _log(self, choice: Choice) -> None:
        where = platform()
        self._log_once(
            (where, choice.implementation, choice.why, *sorted(choice.rejected)),
            logging.INFO,
            "%s on %s: `%s` (%s)%s",
            self.name,
            where,
            choice.implementation,
            choice.why,
            f"; not {_listing(choice.rejected)}" if choice.rejected else "",
        )

    def _log_once(self, what: tuple[Any, ...], level: int, message: str, *args: object) -> None:
        if what not in self._logged:
            self._logged.add(what)
            logger.log(level, message, *args)


OPS: dict[str, Op] = {}
"""Every op by its name, once its room is imported."""


def _listing(rejected: Mapping[str, str]) -> str:
    return "; ".join(f"`{name}`: {reason}" for name, reason in rejected.items()) or "no implementation"
