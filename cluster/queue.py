"""Which job is next, and what follows a failure. Knows nothing of Ray, so it can be tested as arithmetic."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from jobs.failures import POLICY, FailureClass
from jobs.spec import JobSpec, second_try

BREAKER = 3
"""So many jobs, one after another, that end for the same reason stop the run."""


@dataclass(frozen=True)
class Need:
    """What a job's worker holds: CPU cores, GPUs (a share 1/n, or 1) and, where it is known, bytes of memory."""

    cpus: float
    gpus: float = 0.0
    memory: int | None = None


DOUBLED_FROM = 4 * 1024**3
"""Bytes of memory that a job which ran out of them is taken to have had, where nothing was asked for."""


@dataclass
class Job:
    """One job and its story in this run. `work` is in operations, for shares and estimates."""

    spec: JobSpec
    image_id: str
    work: float
    need: Need
    tries: Counter[FailureClass] = field(default_factory=Counter)
    ready_at: float = 0.0


class Queue:
    """Jobs that wait, and the policy of `jobs.failures` applied to those that come back.

    `stopped` becomes a sentence when going on makes no sense: settings that cannot work, or the same bug or the
    same storage trouble on job after job with no success between.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting = deque(jobs)
        self._streak: tuple[str, set[str]] = ("", set())
        self.stopped: str | None = None
        self.stopped_by_settings = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def work(self) -> float:
        """Operations that wait."""
        return sum(job.work for job in self._waiting)

    def needs(self, now: float) -> set[Need]:
        """What jobs that could start now would hold."""
        return {job.need for job in self._waiting if job.ready_at <= now}

    def next(self, now: float, need: Need) -> Job | None:
        """The first job that wants just this worker and may start now."""
        for index, job in enumerate(self._waiting):
            if job.need == need and job.ready_at <= now:
                del self._waiting[index]
                return job
        return None

    def put_back(self, job: Job) -> None:
        """A job that could not be tried: it is next."""
        self._waiting.appendleft(job)

    def succeeded(self) -> None:
        """A job was committed: whatever went wrong before is not everywhere."""
        self._streak = ("", set())

    def failed(self, job: Job, failure: FailureClass, reason: str, message: str, now: float) -> bool:
        """A job's attempt failed: wait again, changed as its class says, or not at all. Returns whether it is final.

        `reason` tells whether failures of several jobs are one and the same.
        """
        policy = POLICY[failure]
        job.tries[failure] += 1
        final = policy.retries is not None and job.tries[failure] > policy.retries
        if not final:
            match policy.remedy:
                case "reseed":
                    job.spec = second_try(job.spec)
                case "whole_gpu":
                    job.need = replace(job.need, gpus=1.0)
                case "double_memory":
                    job.need = replace(job.need, memory=2 * (job.need.memory or DOUBLED_FROM))
                case "backoff":
                    job.ready_at = now + 2.0 ** job.tries[failure]
            self._waiting.append(job)
        if failure is FailureClass.CONFIG:
            self.stopped, self.stopped_by_settings = message, True
        elif failure in (FailureClass.BUG, FailureClass.STORE):
            self._count(job, f"{failure} {reason}", message)
        return final

    def _count(self, job: Job, reason: str, message: str) -> None:
        streak = self._streak[1] if self._streak[0] == reason else set()
        self._streak = (reason, streak | {job.spec.job_id})
        if len(self._streak[1]) >= BREAKER:
            self.stopped = f"{BREAKER} images failed one after another for the same reason: {message}"
