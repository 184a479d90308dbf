"""Jobs in a worker's hands, and what it means for them when the worker is gone."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import Any

from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError

from cluster.scheduler.queue import Job, Resources
from cluster.scheduler.worker import Outcome, Pulse
from jobs.common.failures import FailureClass

TAKEN_BACK = "The machine was taken back."


@dataclass
class Lease:
    """Jobs in a worker's hands, trained side by side. Times are of the driver's monotonic clock."""

    jobs: list[Job]
    attempts: list[str]
    began_at: float
    pulse: Pulse | None = None
    pulse_at: float = 0.0

    def silent_s(self, now: float) -> float:
        """Since the last sign of life: what the worker said, and how long ago it said it."""
        return self.pulse.silent_s + now - self.pulse_at if self.pulse else now - self.began_at


@dataclass
class WorkerHandle:
    """One worker, what it holds of the cluster, and its present lease.

    `coming` is its first pulse while it starts: it may wait for room that never comes, and has no jobs before.
    """

    actor: Any
    need: Resources
    coming: Any = None
    node: str = ""
    pid: int = 0
    leaving: bool = False
    jobs_done: int = 0
    lease: Lease | None = None
    result: Any = None
    asked: Any = None


def lost(lease: Lease, error: Exception) -> list[Outcome]:
    """What a worker's death means for its jobs."""
    text = str(error)
    if isinstance(error, ActorDiedError) and getattr(error, "preempted", False):
        failure, message = FailureClass.PREEMPTED, TAKEN_BACK
    elif isinstance(error, OutOfMemoryError) or "low on memory" in text:
        failure, message = FailureClass.HOST_OOM, "The worker was killed because its machine ran out of memory."
    else:
        # Ray's text for any lost process mentions the kernel's OOM killer as one guess of several.
        failure, message = FailureClass.WORKER_LOST, "The worker died in the middle of its job."
    wall_s = round(time.monotonic() - lease.began_at, 3)
    return [Outcome(attempt, "failed", wall_s, "", failure, message, text, spoiled=True) for attempt in lease.attempts]


def taken_back(outcome: Outcome) -> Outcome:
    """An outcome from a machine that is being drained: handed back or cut off, it does not count against its job."""
    if outcome.state == "stopped" or outcome.failure is FailureClass.WORKER_LOST:
        return replace(outcome, state="failed", failure=FailureClass.PREEMPTED, message=TAKEN_BACK)
    return outcome


def no_start(error: Exception) -> str | None:
    """Why a worker's own code does not start, in a sentence; None where its machine or process went away."""
    if isinstance(error, RayActorError) and re.search(r"__init__|creation task", str(error)):
        return f"Workers cannot start: {str(error).strip().splitlines()[-1]}"
    return None
