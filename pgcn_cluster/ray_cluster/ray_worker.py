"""The worker as a Ray actor: heartbeats and stops are answered while it trains."""

from __future__ import annotations

from dataclasses import replace

import ray

from pgcn_cluster.scheduler.worker import Heartbeat, Worker


class RayWorker(Worker):
    """A worker whose methods `heartbeat` and `stop` have a thread of their own."""

    @ray.method(concurrency_group="watch")
    def heartbeat(self) -> Heartbeat:
        """The state of the worker now, with its node."""
        return replace(super().heartbeat(), node=ray.get_runtime_context().get_node_id())

    @ray.method(concurrency_group="watch")
    def stop(self) -> None:
        """Ask the present job to write its checkpoint and end."""
        super().stop()
