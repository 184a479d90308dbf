"""Calls in the background that machines of the cluster make, so that reading and hashing cost the driver nothing."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pgcn_jobs.common.background import Call, ThreadBackground
from pgcn_jobs.common.concurrent_map import MAX_CONCURRENT_CALLS
from pgcn_jobs.common.failures import JobError

AHEAD = 4 * MAX_CONCURRENT_CALLS
"""Calls that a machine is given at once: those under way, and some that wait for a thread."""

PATIENCE_S = 120.0
"""Seconds without any result until the driver makes the calls itself."""


class Reader:
    """An actor that makes calls, each in a thread of its own."""

    def make(self, call: Call) -> Any:
        """The result of a call."""
        return call()


class RayBackground:
    """Calls on all machines that have cores, one process each, beside the workers: they reserve no core.

    With a core of its own a call would wait for hours behind trainings, which take all of them. Ray restarts a
    process that is lost, on another machine where its own is gone.
    """

    def __init__(self) -> None:
        """Ray is joined already."""
        self._readers: list[Any] = []
        self._waiting: deque[tuple[Hashable, Call]] = deque()
        self._under_way: dict[Any, tuple[Hashable, Call]] = {}
        self._here: ThreadBackground | None = None
        self._heard_at = time.monotonic()
        self._turn = 0

    @property
    def open(self) -> bool:
        """True while there are results to be taken."""
        return bool(self._waiting or self._under_way) or (self._here is not None and self._here.open)

    def begin(self, key: Hashable, call: Call) -> None:
        """Send a call to the next machine, or keep it until one has answered others."""
        if self._here is not None:
            self._here.begin(key, call)
            return
        if not self._under_way:
            self._heard_at = time.monotonic()
        self._waiting.append((key, call))
        self._send()

    def results(self, seconds: float) -> list[tuple[Hashable, Any]]:
        """Results that have come; see `Background`. Raises Ray's own errors where the cluster is gone."""
        if self._here is not None:
            return self._here.results(seconds)
        answered: list[Any] = []
        if self._under_way:
            answered, _ = ray.wait(list(self._under_way), num_returns=1, timeout=seconds)
            answered += ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=0)[0]
        found: list[tuple[Hashable, Any]] = []
        for answer in dict.fromkeys(answered):
            try:
                result = _result(answer)
            except RayActorError:  # lost more often than Ray restarts it, or it could not be started at all
                self._go_on_here()
                return found
            found.append((self._under_way.pop(answer)[0], result))
        if found:
            self._heard_at = time.monotonic()
        elif self._under_way and time.monotonic() - self._heard_at > PATIENCE_S:
            self._go_on_here()
        self._send()
        return found

    def close(self) -> None:
        """End the processes."""
        for reader in self._readers:
            with contextlib.suppress(RayError):  # the cluster is gone
                ray.kill(reader)
        self._readers = []
        self._waiting.clear()
        self._under_way.clear()
        if self._here is not None:
            self._here.close()

    def _send(self) -> None:
        if self._waiting and not self._readers:
            self._readers = [_start(node) for node in _machines()]
        while self._waiting and len(self._under_way) < AHEAD * len(self._readers):
            key, call = self._waiting.popleft()
            self._turn = (self._turn + 1) % len(self._readers)
            self._under_way[self._readers[self._turn].make.remote(call)] = (key, call)

    def _go_on_here(self) -> None:
        """Make all calls that have no result yet in this process: slower, but the wait has an end."""
        left = [*self._under_way.values(), *self._waiting]
        self.close()
        self._here = ThreadBackground()
        for key, call in left:
            self._here.begin(key, call)


def _machines() -> list[str | None]:
    """Ray's ids of the machines that have cores; one None, for any machine, where there are none yet."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    return nodes or [None]


def _start(node: str | None) -> Any:
    start: Callable[..., Any] = (
        ray.remote(Reader)
        .options(
            num_cpus=0,
            max_concurrency=MAX_CONCURRENT_CALLS,
            max_restarts=3,
            max_task_retries=3,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True) if node else "SPREAD",
        )
        .remote
    )
    return start()


def _result(answer: Any) -> Any:
    try:
        return ray.get(answer)
    except RayTaskError as error:
        if isinstance(error.cause, JobError):
            raise error.cause from None  # Ray's own text of it is a traceback
        raise
