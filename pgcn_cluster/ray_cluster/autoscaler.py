"""Demand for Ray's autoscaler: tasks that do nothing, and wait for room as workers would.

The autoscaler starts machines for waiting tasks; workers are only started where there is room. Waiting actors would be
ended with an error in the log, and `request_resources` is one number for the whole cluster that outlives its driver:
machines would stay, and cost, after a killed command. Tasks end with their driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from pgcn_cluster.ray_cluster.compat import InfeasibleWarnings
from pgcn_cluster.scheduler.resources import Resources


class Demand:
    """Waiting tasks by their resources. One that finds room ends at once, so that a worker can have it."""

    def __init__(self) -> None:
        self._waiting: dict[Resources, list[Any]] = {}
        self._nothing = ray.remote(max_retries=0)(_nothing)
        self._warnings = InfeasibleWarnings()

    def show(self, counts: Mapping[Resources, int], options: Mapping[Resources, Mapping[str, Any]]) -> None:
        """Let so many tasks wait for each resources, and none for others. `options`: Ray's, of a worker of each."""
        if counts:
            # For good: Ray may print a warning about a task some seconds after it is gone.
            self._warnings.hide()
        for resources in {*counts, *self._waiting}:
            waiting = self._waiting.pop(resources, [])
            if waiting:
                _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0)
            count = counts.get(resources, 0)
            for task in waiting[count:]:
                ray.cancel(task)
            if count:
                nothing = self._nothing.options(**options[resources])
                more = [nothing.remote() for _ in range(count - len(waiting))]
                self._waiting[resources] = [*waiting[:count], *more]

    def withdraw(self) -> None:
        """Cancel all waiting tasks."""
        self.show({}, {})


def _nothing() -> None:
    """There was room for this."""
