"""The queue of jobs and the retry policy: the next job, and the consequence of a failure. Plain arithmetic, no Ray."""

from __future__ import annotations

import math
import secrets
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from pgcn_cluster.scheduler.resources import Resources
from pgcn_jobs.common.failures import POLICY, FailureClass
from pgcn_jobs.spec import EditSpec, JobSpec, reseeded

BREAKER = 3
"""Number of consecutive jobs with the same failure that stops the run."""


DOUBLED_FROM = 4 * 1024**3
"""Bytes of memory assumed for a job that ran out of memory and had asked for no amount."""

BACKOFF_S = 2.0
"""Seconds before the first retry after a storage failure; each further one waits twice as long."""


@dataclass(slots=True)
class Job:
    """One job and its story in this run. `work` is in operations, for shares and estimates; `drawing` is the part of it
    that follows the training.

    `label` is its name for people: an image's `image_id`, an edit's `edit_id`. Jobs of one `shape` (their settings, and
    the sizes of their pyramids) can be trained as one batch; "" is like no other. An edit is begun `after` the job that
    trains its pyramid. `late`: it failed in an earlier command, and must not keep others from their turn.
    """

    spec: JobSpec | EditSpec
    label: str
    work: float
    resources: Resources
    shape: str = ""
    after: str | None = None
    late: bool = False
    drawing: float = 0.0
    tries: Counter[FailureClass] = field(default_factory=Counter)
    ready_at: float = 0.0


class Queue:
    """Waiting jobs, and the policy of `pgcn_jobs.common.failures` for those that failed.

    `stopped` becomes a sentence when the run has to end: settings that cannot work, the same bug on the first jobs
    with nothing yet done, or storage that ends job after job for good. `backoff_s`: see `BACKOFF_S`.
    """

    def __init__(self, jobs: Iterable[Job], backoff_s: float = BACKOFF_S) -> None:
        self._backoff_s = backoff_s
        self._ready: dict[Resources, deque[Job]] = {}
        self._delayed: list[Job] = []
        self._streak: tuple[str, set[str]] = ("", set())
        self._any_done = False
        self._held: dict[str, list[Job]] = {}
        self._pending: set[str] = set()
        self.stopped: str | None = None
        self.stopped_by_settings = False
        self.add(jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue more jobs, those that failed in an earlier command behind all others.

        An edit whose pyramid was trained meanwhile, or could not be, does not wait: its own attempt tells.
        """
        new = list(jobs)
        self._pending |= {job.spec.job_id for job in new}
        for job in new:
            if job.after in self._pending:
                self._held.setdefault(job.after, []).append(job)
            else:
                self._ready.setdefault(job.resources, deque()).append(job)
        for resources, ready in self._ready.items():
            self._ready[resources] = deque(sorted(ready, key=lambda job: job.late))

    def __len__(self) -> int:
        waiting = [*self._ready.values(), *self._held.values()]
        return len(self._delayed) + sum(len(jobs) for jobs in waiting)

    def needs(self, now: float) -> list[Resources]:
        """Resources of jobs that could start now."""
        for job in [job for job in self._delayed if job.ready_at <= now]:
            self._delayed.remove(job)
            self._ready.setdefault(job.resources, deque()).append(job)
        return [resources for resources, jobs in self._ready.items() if jobs]

    def next(self, resources: Resources, at_most: int = 1) -> list[Job]:
        """The first job of these resources, and up to `at_most` - 1 others to train in one batch with it.

        There must be one, as `needs` says. A job that failed before gets no batch: it could fail the others too.
        """
        ready = self._ready[resources]
        first = ready.popleft()
        taken = [first]
        if at_most > 1 and first.shape and not first.tries:
            beside = [job for job in ready if job.shape == first.shape and not job.tries][: at_most - 1]
            for job in beside:
                ready.remove(job)
            taken += beside
        return taken

    def waiting(self, resources: Resources) -> int:
        """Number of jobs that could start now on a worker of these resources."""
        return len(self._ready.get(resources, ()))

    def due_in(self, now: float) -> float:
        """Seconds until the next delayed job may start; infinite where there is none."""
        return min((max(0.0, job.ready_at - now) for job in self._delayed), default=math.inf)

    def put_back(self, job: Job) -> None:
        """Put a job that was not tried first in its queue."""
        self._ready.setdefault(job.resources, deque()).appendleft(job)

    def rotate(self) -> None:
        """Rotate the queue by a random amount, so that two drivers rarely take the same job.

        Jobs that failed before stay last.
        """
        for resources, jobs in self._ready.items():
            failed = [job for job in jobs if job.late or job.tries]
            fresh = deque(job for job in jobs if not (job.late or job.tries))
            fresh.rotate(-secrets.randbelow(max(1, len(fresh))))
            self._ready[resources] = deque([*fresh, *failed])

    def take_out(self, job_ids: Collection[str]) -> list[Job]:
        """Remove waiting jobs that another driver has committed, and return them; their edits are next."""
        taken: list[Job] = []

        def left(jobs: Iterable[Job]) -> list[Job]:
            kept: list[Job] = []
            for job in jobs:
                (taken if job.spec.job_id in job_ids else kept).append(job)
            return kept

        self._delayed = left(self._delayed)
        self._ready = {resources: deque(left(jobs)) for resources, jobs in self._ready.items()}
        self._held = {pyramid: left(jobs) for pyramid, jobs in self._held.items()}
        for job in taken:
            self._release(job)
        return taken

    def stop(self, reason: str) -> None:
        """Stop the run for a reason that is not a job's."""
        self.stopped = reason

    def succeeded(self, job: Job) -> None:
        """Note a commit: it ends a series of equal failures, and edits that waited for it are next."""
        self._any_done = True
        self._streak = ("", set())
        self._release(job)

    def _release(self, job: Job) -> None:
        self._pending.discard(job.spec.job_id)
        for held in reversed(self._held.pop(job.spec.job_id, [])):
            self.put_back(held)

    def orphans(self, job: Job) -> list[Job]:
        """Remove and return the edits that waited for a job which failed for good."""
        self._pending.discard(job.spec.job_id)
        return self._held.pop(job.spec.job_id, [])

    def failed(self, job: Job, failure: FailureClass, reason: str, message: str, now: float) -> bool:
        """Apply the policy to a failed attempt: queue the job again with its remedy, or not; True where it is final.

        Failures of several jobs are the same where `failure` and `reason` are equal.
        """
        policy = POLICY[failure]
        if policy.retries is None:
            self.put_back(job)  # not counted, and first again: the job did nothing wrong
            return False
        job.tries[failure] += 1
        final = job.tries[failure] > policy.retries
        if not final:
            match policy.remedy:
                case "reseed":
                    job.spec = reseeded(job.spec)
                case "whole_gpu":
                    job.resources = replace(job.resources, gpus=1.0)
                case "double_memory":
                    job.resources = replace(job.resources, memory=2 * (job.resources.memory or DOUBLED_FROM))
                case "backoff":
                    job.ready_at = now + self._backoff_s * 2 ** (job.tries[failure] - 1)
            self._delayed.append(job)
        if failure is FailureClass.CONFIG:
            self.stopped, self.stopped_by_settings = message, True
        elif (failure is FailureClass.BUG and not self._any_done) or (failure is FailureClass.STORE and final):
            self._count(job, f"{failure} {reason}", message)
        return final

    def _count(self, job: Job, reason: str, message: str) -> None:
        streak = self._streak[1] if self._streak[0] == reason else set()
        self._streak = (reason, streak | {job.spec.job_id})
        if len(self._streak[1]) >= BREAKER:
            self.stopped = f"{BREAKER} images failed one after another for the same reason: {message}"
