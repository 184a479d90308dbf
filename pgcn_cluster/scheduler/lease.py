"""Jobs that a worker has, and the handle by which a pool's owner refers to the worker."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pgcn_cluster.scheduler.queue import Job
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.worker import Heartbeat, Outcome
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.run_folder.commit import new_attempt

DIED = "The worker died in the middle of its job."
OUT_OF_MEMORY = "The worker was killed because its machine ran out of memory."


@dataclass
class Lease:
    """Jobs that a worker has, trained as one batch. Times are of the driver's monotonic clock."""

    jobs: list[Job]
    attempts: list[str]
    began_at: float
    heartbeat: Heartbeat | None = None
    heard_at: float = 0.0

    @staticmethod
    def begin(jobs: list[Job]) -> Lease:
        """A lease that begins now, with a new attempt for each job."""
        return Lease(jobs, [new_attempt() for _ in jobs], time.monotonic())

    def hear(self, heartbeat: Heartbeat) -> None:
        """Take a worker's heartbeat, unless it is about an earlier lease."""
        if heartbeat.attempt == self.attempts[0]:
            self.heartbeat, self.heard_at = heartbeat, time.monotonic()

    def silent_s(self, now: float) -> float:
        """Seconds since training last reported: as the last heartbeat said, and since that was heard."""
        return self.heartbeat.silent_s + now - self.heard_at if self.heartbeat else now - self.began_at

    def failed(self, failure: FailureClass, message: str, traceback: str = "") -> list[Outcome]:
        """Outcomes of all jobs where their worker is gone."""
        wall_s = round(time.monotonic() - self.began_at, 3)
        return [
            Outcome(attempt, "failed", wall_s, "", failure, message, traceback, spoiled=True)
            for attempt in self.attempts
        ]


@dataclass
class WorkerHandle:
    """One worker, the resources it holds, and its present lease."""

    resources: Resources
    lease: Lease | None = None
    jobs_done: int = 0
