"""Concurrent calls in threads, for requests to storage: latency dominates their time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MAX_CONCURRENT_CALLS = 16

T = TypeVar("T")
R = TypeVar("R")


def concurrent_map(call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Runs up to 16 calls concurrently and yields results in input order.

    At most 16 calls are running or have results that were not consumed. An exception of a call is raised in its place.
    """
    with ThreadPoolExecutor(MAX_CONCURRENT_CALLS) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) >= MAX_CONCURRENT_CALLS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
