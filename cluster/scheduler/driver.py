"""The dispatch loop: jobs from the queue to workers, outcomes to the bucket. All state is in the bucket.

The loop blocks for a tick, or a listing of all commits where others are at work on the run, so that a stop, a silent
worker or a lost one is seen soon.
"""

from __future__ import annotations

import contextlib
import math
import time

from cluster.ray_cluster.ray_pool import RayWorkerPool
from cluster.scheduler.lease import WorkerHandle
from cluster.scheduler.queue import Job, Queue, Resources
from cluster.scheduler.stopping import Limits, StopSignal
from cluster.scheduler.tracker import Tracker
from cluster.scheduler.worker import Outcome
from jobs.common.clock import now
from jobs.common.failures import CODE_OF_CLASS, FailureClass, StoreError
from jobs.run_folder.commit import Failure, committed, new_attempt, write_failure
from jobs.storage.store import Store

TICK_S = 0.5
WATCH_S = 1.0
OTHERS_S = 20.0


class Driver:
    """Drives one run's queue to its end."""

    def __init__(
        self, queue: Queue, fleet: RayWorkerPool, store: Store, tracker: Tracker, limits: Limits, stack: int = 1
    ) -> None:
        self._queue = queue
        self._stack = stack
        self._fleet = fleet
        self._store = store
        self._tracker = tracker
        self._limits = limits
        self._working_at = self._looked_at = 0.0
        self._others_seen = False
        self._listing_from = 0.0

    def drive(self, stop: StopSignal) -> None:
        """Until every job is committed or failed, the queue is stopped, or `stop` is set.

        Raises `StoreError` where a failure could not be kept: the run cannot tell its story then, and stops.
        """
        watched = 0.0
        self._working_at = self._looked_at = time.monotonic()
        try:
            while not stop and self._queue.stopped is None:
                self._hand_out()
                if not any(member.lease for member in self._fleet.members) and not len(self._queue):
                    return
                for member in self._fleet.wait(TICK_S):
                    self._take(member)
                if time.monotonic() - watched > WATCH_S:
                    watched = time.monotonic()
                    self._watch()
        finally:
            self._stop_workers()

    def _hand_out(self) -> None:
        needs = self._queue.needs(time.monotonic())
        for need in needs:
            while self._queue.waiting(need) and (member := self._fleet.idle(need)):
                jobs = self._queue.next(need, self._at_most(need))
                self._fleet.lease(member, jobs)
                for job in jobs:
                    self._tracker.began(job)
        wanted = [need for need in needs if self._queue.waiting(need)]
        if wanted:
            self._fleet.release(wanted)
        for need in wanted:
            self._fleet.grow(need, self._queue.waiting(need))

    def _at_most(self, need: Resources) -> int:
        """Jobs for one lease: as many as may be stacked, but none that would leave another worker idle."""
        return min(self._stack, math.ceil(self._queue.waiting(need) / self._fleet.capacity(need)))

    def _take(self, member: WorkerHandle) -> None:
        assert member.lease is not None
        jobs = member.lease.jobs
        outcomes = self._fleet.collect(member)
        # Of a job that was tried here before, the commit may be of that attempt, which was thought lost.
        if any(outcome.anothers and not job.tries for job, outcome in zip(jobs, outcomes, strict=True)):
            self._others_seen = True
            self._queue.rotate()
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._settle(job, outcome)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        if outcome.state == "committed":
            self._queue.succeeded(job)
            self._tracker.committed(job, outcome)
        elif outcome.state == "stopped":
            self._queue.put_back(job)
            self._tracker.returned(job)
        else:
            self._fail(job, outcome)

    def _fail(self, job: Job, outcome: Outcome) -> None:
        failure = outcome.failure or FailureClass.BUG
        reason = outcome.fingerprint or outcome.message
        final = self._queue.failed(job, failure, reason, outcome.message, time.monotonic())
        self._record(job, outcome, failure, final=final)
        for orphan in self._queue.orphans(job) if final else []:
            message = f"The pyramid of {job.label} could not be trained ({failure}): {outcome.message}"
            lost = Outcome(new_attempt(), "failed", 0.0, "", FailureClass.PYRAMID, message)
            self._record(orphan, lost, FailureClass.PYRAMID, final=True)

    def _record(self, job: Job, outcome: Outcome, failure: FailureClass, *, final: bool) -> None:
        write_failure(
            self._store,
            Failure(
                job_id=job.spec.job_id,
                attempt=outcome.attempt,
                failure=failure,
                code=outcome.code or CODE_OF_CLASS[failure],
                final=final,
                message=outcome.message,
                traceback=outcome.traceback,
                fingerprint=outcome.fingerprint,
                where=outcome.where,
                wall_s=outcome.wall_s,
                failed_at=now(),
            ),
        )
        self._tracker.failed(job, outcome, final=final)

    def _watch(self) -> None:
        self._fleet.watch()
        limits = self._limits
        for member, reason in self._fleet.overdue(silence_s=limits.silence_s, limit_s=limits.job_s):
            assert member.lease is not None
            jobs = member.lease.jobs
            for job, outcome in zip(jobs, self._fleet.give_up(member, FailureClass.TIMEOUT, reason), strict=True):
                self._settle(job, outcome)
        self._fleet.show_demand({need: self._queue.waiting(need) for need in self._queue.needs(time.monotonic())})
        leases = [member.lease for member in self._fleet.members if member.lease]
        if self._others_seen:
            self._poll_other_drivers()
        self._look_for_standstill(waits=not leases and len(self._queue) > 0)
        self._tracker.tick(leases, self._queue)

    def _look_for_standstill(self, *, waits: bool) -> None:
        """Stop where jobs wait and no worker comes: the one wait that would have no end."""
        moment = time.monotonic()
        if not waits:
            self._working_at = self._looked_at = moment
        elif moment - self._looked_at > OTHERS_S:
            self._looked_at = moment
            self._drop_committed()
        if self._fleet.trouble:
            self._queue.stop(self._fleet.trouble)
        elif moment - self._working_at > self._limits.startup_s:
            self._queue.stop(
                f"No worker could start within {self._limits.startup_s:.0f} s. The cluster has no room for one job's "
                f"needs, or cannot start workers."
            )

    def _poll_other_drivers(self) -> None:
        """Another driver is at work on this run: what it has done need not be handed out, only to be found done.

        A listing has a request for each thousand jobs, so it may take a tenth of the time, and no more.
        """
        began = time.monotonic()
        if began < self._listing_from:
            return
        self._others_seen = False
        with contextlib.suppress(StoreError):  # it spares work, and nothing else depends on it
            self._drop_committed()
        ended = time.monotonic()
        self._listing_from = ended + max(OTHERS_S, 10 * (ended - began))

    def _drop_committed(self) -> None:
        """Another driver on this run may hold the whole cluster: what it commits need not wait for a worker of ours."""
        for job in self._queue.take_out(committed(self._store)):
            self._working_at = time.monotonic()
            self._tracker.found_done(job)

    def _stop_workers(self) -> None:
        """Let busy workers write their restart points, for at most the grace, and end all of them."""
        self._fleet.stop_all()
        until = time.monotonic() + self._limits.grace_s
        while any(member.lease for member in self._fleet.members) and time.monotonic() < until:
            for member in self._fleet.wait(TICK_S):
                try:
                    self._take(member)
                except StoreError:
                    continue  # the first one is on its way up already, or the next command finds out
        for member in list(self._fleet.members):
            self._fleet.end(member)
