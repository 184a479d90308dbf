"""Which job is next, and what follows a failure. Knows nothing of Ray, so it can be tested as arithmetic."""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from jobs.common.failures import POLICY, FailureClass
from jobs.spec import EditSpec, JobSpec, reseeded

BREAKER = 3
"""So many jobs, one after another, that end for the same reason stop the run."""


@dataclass(frozen=True)
class Resources:
    """What a job's worker holds: CPU cores, GPUs (a share 1/n, or 1) and, where it is known, bytes of memory."""

    cpus: float
    gpus: float = 0.0
    memory: int | None = None


DOUBLED_FROM = 4 * 1024**3
"""Bytes of memory that a job which ran out of them is taken to have had, where nothing was asked for."""


@dataclass(slots=True)
class Job:
    """One job and its story in this run. `work` is in operations, for shares and estimates.

    `label` is its name for people: an image's `image_id`, an edit's `edit_id`. Jobs of one `shape` (their settings, and
    the sizes of their pyramids) can be trained as one batch; "" is like no other. An edit is begun `after` the job that
    trains its pyramid. `late`: it failed in an earlier command, and must not keep others from their turn.
    """

    spec: JobSpec | EditSpec
    label: str
    work: float
    need: Resources
    shape: str = ""
    after: str | None = None
    late: bool = False
    tries: Counter[FailureClass] = field(default_factory=Counter)
    ready_at: float = 0.0


class Queue:
    """Jobs that wait, and the policy of `jobs.common.failures` applied to those that come back.

    `stopped` becomes a sentence when going on makes no sense: settings that cannot work, the same bug on the
    first jobs with nothing yet done, or storage that ends job after job for good.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._ready: dict[Resources, deque[Job]] = {}
        self._delayed: list[Job] = []
        self._streak: tuple[str, set[str]] = ("", set())
        self._any_done = False
        self._held: dict[str, list[Job]] = {}
        self.stopped: str | None = None
        self.stopped_by_settings = False
        for job in jobs:
            if job.after is not None:
                self._held.setdefault(job.after, []).append(job)
            else:
                self._ready.setdefault(job.need, deque()).append(job)

    def __len__(self) -> int:
        waiting = [*self._ready.values(), *self._held.values()]
        return len(self._delayed) + sum(len(jobs) for jobs in waiting)

    def needs(self, now: float) -> list[Resources]:
        """What jobs that could start now would hold."""
        for job in [job for job in self._delayed if job.ready_at <= now]:
            self._delayed.remove(job)
            self._ready.setdefault(job.need, deque()).append(job)
        return [need for need, jobs in self._ready.items() if jobs]

    def next(self, need: Resources, at_most: int = 1) -> list[Job]:
        """The first job that wants just this worker, and up to `at_most` - 1 others to train beside it.

        There must be one, as `needs` says. A job that failed before is alone: it would take others down with it.
        """
        ready = self._ready[need]
        first = ready.popleft()
        taken = [first]
        if at_most > 1 and first.shape and not first.tries:
            beside = [job for job in ready if job.shape == first.shape and not job.tries][: at_most - 1]
            for job in beside:
                ready.remove(job)
            taken += beside
        return taken

    def waiting(self, need: Resources) -> int:
        """How many jobs could start now on such a worker."""
        return len(self._ready.get(need, ()))

    def put_back(self, job: Job) -> None:
        """A job that could not be tried: it is next."""
        self._ready.setdefault(job.need, deque()).appendleft(job)

    def rotate(self) -> None:
        """Go on from another place of the order, by chance: where this one is, another driver is at work.

        Each driver would do what the others do, as long as all keep to one order. Jobs that failed before stay last.
        """
        for need, jobs in self._ready.items():
            failed = [job for job in jobs if job.late or job.tries]
            fresh = deque(job for job in jobs if not (job.late or job.tries))
            fresh.rotate(-secrets.randbelow(max(1, len(fresh))))
            self._ready[need] = deque([*fresh, *failed])

    def take_out(self, job_ids: Collection[str]) -> list[Job]:
        """Take jobs that wait out of the queue: somebody else has done them. Returns those that were there.

        What waited for one of them is next.
        """
        taken: list[Job] = []

        def left(jobs: Iterable[Job]) -> list[Job]:
            kept: list[Job] = []
            for job in jobs:
                (taken if job.spec.job_id in job_ids else kept).append(job)
            return kept

        self._delayed = left(self._delayed)
        self._ready = {need: deque(left(jobs)) for need, jobs in self._ready.items()}
        self._held = {pyramid: left(jobs) for pyramid, jobs in self._held.items()}
        for job in taken:
            self._release(job)
        return taken

    def stop(self, reason: str) -> None:
        """Nothing more can be done, for a reason that is not a job's."""
        self.stopped = reason

    def succeeded(self, job: Job) -> None:
        """A job was committed: whatever went wrong before is not everywhere, and what waited for it is next."""
        self._any_done = True
        self._streak = ("", set())
        self._release(job)

    def _release(self, job: Job) -> None:
        for held in reversed(self._held.pop(job.spec.job_id, [])):
            self.put_back(held)

    def orphans(self, job: Job) -> list[Job]:
        """A job failed for good: those that waited for it, which are no longer in the queue."""
        return self._held.pop(job.spec.job_id, [])

    def failed(self, job: Job, failure: FailureClass, reason: str, message: str, now: float) -> bool:
        """A job's attempt failed: wait again, changed as its class says, or not at all. Returns whether it is final.

        `reason` tells whether failures of several jobs are one and the same.
        """
        policy = POLICY[failure]
        if policy.retries is None:
            self.put_back(job)  # not the job's doing, so it is neither counted nor last
            return False
        job.tries[failure] += 1
        final = job.tries[failure] > policy.retries
        if not final:
            match policy.remedy:
                case "reseed":
                    job.spec = reseeded(job.spec)
                case "whole_gpu":
                    job.need = replace(job.need, gpus=1.0)
                case "double_memory":
                    job.need = replace(job.need, memory=2 * (job.need.memory or DOUBLED_FROM))
                case "backoff":
                    job.ready_at = now + 2.0 ** job.tries[failure]
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
