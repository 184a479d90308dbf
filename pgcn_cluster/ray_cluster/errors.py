"""Ray's errors as failure classes and sentences."""

from __future__ import annotations

import re
from dataclasses import replace

from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError

from pgcn_cluster.scheduler.lease import DIED, OUT_OF_MEMORY, Lease
from pgcn_cluster.scheduler.worker import Outcome
from pgcn_jobs.common.failures import FailureClass

PREEMPTED = "The machine was taken back."


def lost(lease: Lease, error: Exception) -> list[Outcome]:
    """Outcomes of the jobs of a worker that Ray has no result of."""
    text = str(error)
    if isinstance(error, ActorDiedError) and getattr(error, "preempted", False):
        return lease.failed(FailureClass.PREEMPTED, PREEMPTED, text)
    if isinstance(error, OutOfMemoryError) or "low on memory" in text:
        return lease.failed(FailureClass.HOST_OOM, OUT_OF_MEMORY, text)
    # Ray's text for any lost process mentions the kernel's OOM killer as one guess of several.
    return lease.failed(FailureClass.WORKER_LOST, DIED, text)


def preempted(outcome: Outcome) -> Outcome:
    """An outcome from a machine that is being drained: a job that is handed back or cut off is not counted."""
    if outcome.state == "stopped" or outcome.failure is FailureClass.WORKER_LOST:
        return replace(outcome, state="failed", failure=FailureClass.PREEMPTED, message=PREEMPTED)
    return outcome


def no_start(error: Exception) -> str | None:
    """The reason why a worker's own code does not start, as a sentence; None where its machine or process is gone."""
    if isinstance(error, RayActorError) and re.search(r"__init__|creation task", str(error)):
        return f"Workers cannot start: {str(error).strip().splitlines()[-1]}"
    return None
