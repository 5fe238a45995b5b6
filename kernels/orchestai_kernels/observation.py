"""Which ops are called with what shapes, for who wants to know."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax

_observed: contextvars.ContextVar[list[tuple[str, tuple[Any, ...], dict[str, Any]]] | None] = contextvars.ContextVar(
    "observed_calls", default=None
)


@contextlib.contextmanager
def observed_calls() -> Iterator[list[tuple[str, tuple[Any, ...], dict[str, Any]]]]:
    """Within a `with`, every call of an op in this thread or task as (op, args, kwargs), arrays as shapes.

    Under `jax.eval_shape` it tells, without computing anything, what a model really calls.
    """
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    token = _observed.set(calls)
    try:
        yield calls
    finally:
        _observed.reset(token)


def observe(op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Tell the innermost `observed_calls` of a call, if there is one."""
    calls = _observed.get()
    if calls is not None:
        calls.append((op, *_shapes((args, kwargs))))


def _shapes(tree: Any) -> Any:
    """The tree with arrays as shapes."""
    is_array = lambda x: hasattr(x, "shape") and hasattr(x, "dtype")  # noqa: E731
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if is_array(x) else x, tree)
