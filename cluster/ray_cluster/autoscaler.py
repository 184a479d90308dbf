"""What a cluster that may grow is shown: tasks that do nothing, and wait for room as workers would.

Ray's autoscaler starts machines for what waits, and workers are asked for only where there is room. Of what else
it counts, workers that wait are ended with an error in the log, and `request_resources` is one figure of the whole
cluster that outlives its driver: machines would stay, and cost, for a command that was killed. Tasks go with theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from cluster.scheduler.queue import Resources  # not in the processes that do nothing: it would bring torch along


class Demand:
    """Tasks that wait, by what they would hold. One that finds room ends at once: a worker is to have it."""

    def __init__(self) -> None:
        self._waiting: dict[Resources, list[Any]] = {}
        self._nothing = ray.remote(max_retries=0)(_nothing)
        self._print = ray._private.worker.print_to_stdstream

    def show(self, counts: Mapping[Resources, int], options: Mapping[Resources, Mapping[str, Any]]) -> None:
        """Let so many wait of each need, and none of others. `options` are Ray's own, of a worker of each need."""
        ray._private.worker.print_to_stdstream = self._print_the_rest if counts else self._print
        for need in {*counts, *self._waiting}:
            waiting = self._waiting.pop(need, [])
            if waiting:
                _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0)
            count = counts.get(need, 0)
            for task in waiting[count:]:
                ray.cancel(task)
            if count:
                nothing = self._nothing.options(**options[need])
                self._waiting[need] = [*waiting[:count], *(nothing.remote() for _ in range(count - len(waiting)))]

    def withdraw(self) -> None:
        """Nobody waits any more."""
        self.show({}, {})

    def _print_the_rest(self, data: dict[str, Any], *arguments: Any, **named: Any) -> None:
        """Ray warns of tasks that wait beyond a cluster's maximum, whatever its logging is told: these are to wait."""
        if not any("infeasible resource requests" in line for line in data["lines"]):
            self._print(data, *arguments, **named)


def _nothing() -> None:
    """There was room for this."""
