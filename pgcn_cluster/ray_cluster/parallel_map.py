"""Parallel map for everything but training, in this process or as Ray tasks, so that the driver stays idle.

Ray is imported where it is used: `map_local` works without it.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

from pgcn_jobs.common.failures import JobError

TASKS_PER_CORE = 4
"""Tasks for each core of the cluster that are submitted ahead: a bound on the memory that results hold."""

STORAGE_TASKS = 32
"""Tasks at once that read many objects at a time: S3 answers some thousands of requests a second below a prefix."""

PATIENCE_S = 120.0
"""Seconds without any result until the driver does the work itself."""

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """A parallel map: calls a function for each item, and yields the results in the order of the items.

    Items are taken as they are needed, so that a large run's are not all in memory.
    """

    def __call__(self, call: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Raises what `call` raises."""


def map_local(call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """One item after another, in this process."""
    return map(call, items)


def map_ray(call: Callable[[T], R], items: Iterable[T], at_most: int | None = None) -> Iterator[R]:
    """Each item in a Ray task, which holds one core; Ray is joined already. `at_most` tasks at once.

    After `PATIENCE_S` without a result (other runs hold all cores, or machines are gone), this process does the items
    itself until the cluster answers again. That is slower, but the wait has an end.

    Raises the `JobError` that a task ended with, and Ray's own errors where the cluster is gone.
    """
    import ray
    from ray.exceptions import GetTimeoutError

    task = ray.remote(num_cpus=1, max_retries=3)(_apply)
    shared = ray.put(call)
    limit = TASKS_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
    limit = min(limit, at_most or limit)
    waiting: deque[tuple[Any, T]] = deque()
    patience_s = PATIENCE_S

    def first() -> R:
        nonlocal patience_s
        submitted, item = waiting.popleft()
        try:
            result: R = _result(submitted, patience_s)
            patience_s = PATIENCE_S
        except GetTimeoutError:
            ray.cancel(submitted)
            patience_s = 0.0
            return call(item)
        return result

    for item in items:
        waiting.append((task.remote(shared, item), item))
        if len(waiting) >= limit:
            yield first()
    while waiting:
        yield first()


def map_auto(call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map_ray` where this process has joined a cluster, else `map_local`, as for a single item: tasks take seconds."""
    rest = iter(items)
    first = list(islice(rest, 2))
    items = chain(first, rest)
    ray = sys.modules.get("ray")
    joined = len(first) > 1 and ray is not None and ray.is_initialized()
    return map_ray(call, items, STORAGE_TASKS) if joined else map_local(call, items)


def _apply(call: Callable[[T], R], item: T) -> R:
    return call(item)


def _result(task: Any, timeout_s: float) -> Any:
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(task, timeout=timeout_s)
    except RayTaskError as error:
        if isinstance(error.cause, JobError):
            raise error.cause from None  # Ray's own text of it is a traceback
        raise
