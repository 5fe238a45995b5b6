"""The files by which a measurement is known to be of this code: nothing that an implementation runs is left out."""

import importlib
import inspect
import pathlib
import sys
import types

import pytest
from orchestai_kernels.cpu import build
from orchestai_kernels.tuning import ops

CHOSEN_APART = (
    "dispatch",
    "implementation",
    "settings",
    "observation",
    "deferred",
    "config",
    "api",
    "_concrete",
    "base3",
)
"""Modules that choose what runs, belong to another op (what a composition chose is not its own source), or check."""

IMPLEMENTATIONS = [
    pytest.param(op, implementation, id=f"{op.name}-{implementation.name}")
    for op in ops().values()
    for implementation in op.implementations.values()
]


def modules_run(name, found):
    """The module and those whose functions it uses, by what they are called here."""
    if name in found:
        return found
    found.add(name)
    for value in vars(sys.modules[name]).values():
        used = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        wanted = isinstance(value, types.ModuleType | types.FunctionType) and str(used).startswith("orchestai_kernels.")
        if wanted and str(used).rsplit(".", 1)[1] not in CHOSEN_APART:
            modules_run(used, found)
    return found


@pytest.mark.parametrize("op, implementation", IMPLEMENTATIONS)
def test_all_that_runs_is_in_the_sources(op, implementation):
    sources = {pathlib.Path(source) for source in implementation.sources}
    run = inspect.unwrap(getattr(implementation.run, "func", implementation.run))
    importlib.import_module(run.__module__)  # the kernels of other platforms are imported when they are called
    missing = [
        name
        for name in sorted(modules_run(run.__module__, set()))
        if pathlib.Path(sys.modules[name].__file__) not in sources
    ]
    assert not missing
    if implementation.name == "cpu":
        assert {*build.SOURCES.glob("*.cc"), *build.SOURCES.glob("*.h"), pathlib.Path(build.__file__)} < sources
