"""Work that is not training, in pieces: here, or in tasks of the cluster, so that it costs the driver nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from jobs.common.failures import JobError

AHEAD = 4
"""Tasks for each core of the cluster that are under way, or done and not yet taken: a bound on what results hold."""

AT_MOST = 32
"""Tasks at once that read many objects at a time: S3 answers some thousands of requests a second below a prefix."""

PATIENCE_S = 120.0
"""Seconds without any result until the driver does pieces itself."""

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """A way to call a function for each of some pieces; results come in the pieces' order.

    Pieces are taken as they are needed, so that a large run's need not all be in memory.
    """

    def __call__(self, call: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        """Raises what `call` raises."""


def here(call: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
    """One piece after another, in this process."""
    return map(call, pieces)


def map_ray(call: Callable[[T], R], pieces: Iterable[T], at_most: int | None = None) -> Iterator[R]:
    """Each piece in a task of the cluster, which holds one core; for Ray that is joined. `at_most` tasks at once.

    Where nothing comes back for `PATIENCE_S`, since other runs hold all cores or machines are gone, pieces are done
    here until the cluster is heard of again: slower, and never a wait without an end.

    Raises the `JobError` that a task ended with, and Ray's own errors where the cluster is gone.
    """
    task = ray.remote(num_cpus=1, max_retries=3)(_apply)
    shared = ray.put(call)
    limit = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    limit = min(limit, at_most or limit)
    waiting: deque[tuple[Any, T]] = deque()
    patience_s = PATIENCE_S

    def first() -> R:
        nonlocal patience_s
        under_way, piece = waiting.popleft()
        try:
            result: R = _result(under_way, patience_s)
            patience_s = PATIENCE_S
        except GetTimeoutError:
            ray.cancel(under_way)
            patience_s = 0.0
            return call(piece)
        return result

    for piece in pieces:
        waiting.append((task.remote(shared, piece), piece))
        if len(waiting) >= limit:
            yield first()
    while waiting:
        yield first()


def map_auto(call: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
    """Over the cluster, if this process has joined one; a single piece here: a process that starts takes seconds."""
    rest = iter(pieces)
    first = list(islice(rest, 2))
    pieces = chain(first, rest)
    return map_ray(call, pieces, AT_MOST) if len(first) > 1 and ray.is_initialized() else here(call, pieces)


def _apply(call: Callable[[T], R], piece: T) -> R:
    return call(piece)


def _result(task: Any, timeout_s: float) -> Any:
    try:
        return ray.get(task, timeout=timeout_s)
    except RayTaskError as error:
        if isinstance(error.cause, JobError):
            raise error.cause from None  # Ray's own text of it is a traceback
        raise
