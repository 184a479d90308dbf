"""Heartbeats of long computations, so that a watcher can tell a slow one from one that hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_callback: ContextVar[Callable[[], None]] = ContextVar("heartbeat", default=lambda: None)


def beat() -> None:
    """Call the callback of the innermost `heartbeat` context, if there is one.

    Every Langevin chain begins with it, and every band of rows of an exact scale.
    """
    _callback.get()()


@contextmanager
def heartbeat(callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` at every `beat` inside this context; an exception that it raises ends the computation.

    Contexts nest: the callbacks of outer contexts are called first. Threads that start inside do not inherit it.
    """
    outer = _callback.get()

    def both() -> None:
        outer()
        callback()

    token = _callback.set(both)
    try:
        yield
    finally:
        _callback.reset(token)
