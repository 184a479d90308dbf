"""The dispatch loop: jobs from the queue to workers, outcomes to the run folder, which holds all state.

The loop blocks for a tick at most (or a listing of all commits where other drivers are at work on the run), so that it
soon notices a stop, a silent worker or a lost one.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

from pgcn_cluster.scheduler.arrivals import Arrivals
from pgcn_cluster.scheduler.lease import WorkerHandle
from pgcn_cluster.scheduler.queue import Job, Queue
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.stopping import Limits, StopSignal
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_cluster.scheduler.worker import Outcome
from pgcn_cluster.scheduler.worker_pool import WorkerPool
from pgcn_jobs.common.clock import now
from pgcn_jobs.common.failures import CODE_OF_CLASS, FailureClass, StoreError
from pgcn_jobs.run_folder.commit import Failure, committed, new_attempt, write_failure
from pgcn_jobs.storage.store import Store

TICK_S = 0.5
"""Longest wait for an outcome, s."""

WATCH_S = 1.0
"""Time between two looks at heartbeats and machines, s."""

OTHERS_S = 20.0
"""Least time between two listings of all commits, s."""

BATCH_WAIT_S = 60.0
"""Longest wait of idle workers for images that fill their batches, while images are looked at, s."""


class Driver:
    """Drives one run's queue to its end."""

    def __init__(
        self,
        queue: Queue,
        pool: WorkerPool[Any],
        store: Store,
        tracker: Tracker,
        limits: Limits,
        batch: int = 1,
        arrivals: Arrivals | None = None,
    ) -> None:
        """`batch`: the most trainings of one lease. `arrivals`: more jobs, for as long as it is open."""
        self._queue = queue
        self._arrivals = arrivals
        self._batch = batch
        self._pool = pool
        self._store = store
        self._tracker = tracker
        self._limits = limits
        self._began = self._working_at = self._looked_at = 0.0
        self._others_seen = False
        self._listing_from = 0.0

    def drive(self, stop: StopSignal) -> None:
        """Return when every job is committed or failed, the queue is stopped, or `stop` is set.

        Raises `StoreError` where a failure could not be recorded, or images could not be looked at.
        """
        watched = 0.0
        self._began = self._working_at = self._looked_at = time.monotonic()
        try:
            while not stop and self._queue.stopped is None:
                self._take_in()
                self._hand_out()
                idle = not any(worker.lease for worker in self._pool.workers)
                if idle and not len(self._queue) and not self._more_to_come:
                    return
                for worker in self._pool.wait(min(TICK_S, self._queue.due_in(time.monotonic()))):
                    self._take(worker)
                if time.monotonic() - watched > WATCH_S:
                    watched = time.monotonic()
                    self._watch()
        finally:
            self._stop_workers()

    @property
    def _more_to_come(self) -> bool:
        return self._arrivals is not None and self._arrivals.open

    def _take_in(self) -> None:
        arrived = self._arrivals.take() if self._arrivals is not None and self._arrivals.open else None
        if arrived is not None:
            self._queue.add(arrived.jobs)
            self._tracker.arrived(arrived)

    def _hand_out(self) -> None:
        kinds = self._queue.needs(time.monotonic())
        for resources in kinds:
            while self._fills_leases(resources) and (worker := self._pool.idle(resources)):
                jobs = self._queue.next(resources, self._at_most(resources))
                self._pool.lease(worker, jobs)
                for job in jobs:
                    self._tracker.began(job)
        wanted = [resources for resources in kinds if self._queue.waiting(resources)]
        if wanted:
            self._pool.release(wanted)
        for resources in wanted:
            self._pool.grow(resources, self._queue.waiting(resources))

    def _fills_leases(self, resources: Resources) -> bool:
        """True where jobs wait, and enough of them for full batches, or no more will come soon."""
        waiting = self._queue.waiting(resources)
        soon = self._batch > 1 and self._more_to_come and time.monotonic() - self._began < BATCH_WAIT_S
        return waiting > 0 and (not soon or waiting >= self._batch * self._pool.capacity(resources))

    def _at_most(self, resources: Resources) -> int:
        """Jobs for one lease: as many as a batch may have, but none that would leave another worker idle."""
        return min(self._batch, math.ceil(self._queue.waiting(resources) / self._pool.capacity(resources)))

    def _take(self, worker: WorkerHandle) -> None:
        assert worker.lease is not None
        jobs = worker.lease.jobs
        outcomes = self._pool.collect(worker)
        # The commit of a job that was tried here before may be of that attempt, which was thought lost.
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
        self._pool.watch()
        for worker, reason in self._overdue():
            assert worker.lease is not None
            jobs = worker.lease.jobs
            for job, outcome in zip(jobs, self._pool.give_up(worker, FailureClass.TIMEOUT, reason), strict=True):
                self._settle(job, outcome)
        self._pool.show_demand({each: self._queue.waiting(each) for each in self._queue.needs(time.monotonic())})
        leases = [worker.lease for worker in self._pool.workers if worker.lease]
        if self._others_seen:
            self._poll_other_drivers()
        self._look_for_standstill(waits=not leases and len(self._queue) > 0)
        self._tracker.tick(leases, self._queue)

    def _overdue(self) -> list[tuple[WorkerHandle, str]]:
        """Workers to give up on, and why: silent for too long, or too long at one job."""
        now, limits = time.monotonic(), self._limits
        found = []
        for worker in self._pool.workers:
            lease = worker.lease
            if lease is None:
                continue
            if lease.silent_s(now) > limits.silence_s:
                found.append((worker, f"Training gave no heartbeat for {lease.silent_s(now):.0f} s."))
            elif now - lease.began_at > limits.job_s * len(lease.jobs):
                found.append((worker, f"Training took longer than the limit of {limits.job_s:.0f} s an image."))
        return found

    def _look_for_standstill(self, *, waits: bool) -> None:
        """Stop the run where jobs wait and no worker starts: nothing else would end that wait."""
        moment = time.monotonic()
        if not waits:
            self._working_at = self._looked_at = moment
        elif moment - self._looked_at > OTHERS_S:
            self._looked_at = moment
            self._drop_committed()
        if self._pool.problem:
            self._queue.stop(self._pool.problem)
        elif moment - self._working_at > self._limits.startup_s:
            self._queue.stop(
                f"No worker could start within {self._limits.startup_s:.0f} s. The cluster has no room for the "
                f"resources of one job, or cannot start workers."
            )

    def _poll_other_drivers(self) -> None:
        """Drop jobs that another driver has committed, so that no worker gets them.

        A listing takes a request for each thousand jobs, so at most a tenth of the time is spent on listings.
        """
        began = time.monotonic()
        if began < self._listing_from:
            return
        self._others_seen = False
        with contextlib.suppress(StoreError):  # nothing depends on it: it only saves work
            self._drop_committed()
        ended = time.monotonic()
        self._listing_from = ended + max(OTHERS_S, 10 * (ended - began))

    def _drop_committed(self) -> None:
        """Take jobs that another driver has committed out of the queue: it may hold the whole cluster."""
        for job in self._queue.take_out(committed(self._store)):
            self._working_at = time.monotonic()
            self._tracker.found_done(job)

    def _stop_workers(self) -> None:
        """Let busy workers write their checkpoints, for at most the grace time, and end all of them."""
        self._pool.stop_all()
        until = time.monotonic() + self._limits.grace_s
        while any(worker.lease for worker in self._pool.workers) and time.monotonic() < until:
            for worker in self._pool.wait(TICK_S):
                try:
                    self._take(worker)
                except StoreError:
                    continue  # the first one is being raised already, or the next command finds out
        for worker in list(self._pool.workers):
            self._pool.end(worker)
