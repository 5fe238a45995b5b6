"""Checks the shapes and types that signatures declare, wherever the tests call what declares them."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any

import beartype
import jaxtyping

_CHECK = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))  # an int will do for a float


def install(package: str) -> list[str]:
    """Check every module of a package that declares shapes (imports jaxtyping), and the fields of its pytrees.

    Must come before they are imported. Returns their names.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = pathlib.Path(spec.origin).parent
    modules = [
        ".".join((package, *path.relative_to(root).with_suffix("").parts))
        for path in sorted(root.rglob("*.py"))
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    jaxtyping.install_import_hook(modules, f"{__name__}.checked")
    return modules


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its arguments and result compared with its annotations at each call."""
    compared = _CHECK(function)
    if function.__name__ != "__init__":
        return compared

    @functools.wraps(function)
    def of_arrays(self: Any, *args: Any, **kwargs: Any) -> Any:
        import jax  # not every room's tests need it

        # JAX makes a pytree anew of whatever stands for its leaves: sentinels, shapes, rows of a batch in NumPy.
        leaves = (*args, *kwargs.values())
        return (compared if all(isinstance(x, jax.Array) for x in leaves) else function)(self, *args, **kwargs)

    return of_arrays
