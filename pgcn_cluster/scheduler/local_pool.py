"""A pool of workers on this machine: child processes, or one thread of this process."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait

from pgcn_cluster.scheduler.lease import Lease, WorkerHandle
from pgcn_cluster.scheduler.local_worker import STOP, LocalWorker, StartError
from pgcn_cluster.scheduler.queue import BREAKER, Job
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.worker import Heartbeat, Outcome
from pgcn_jobs.common.failures import FailureClass

TERMINATED = "The worker was terminated by another program."
GPU_LOST = "The GPU cannot be used any more by this process: start the command again."
EPSILON = 1e-6


@dataclass(frozen=True)
class Room:
    """Resources of this machine that workers may hold together, and the most workers. `memory` in bytes."""

    workers: int
    cpus: float
    gpus: int
    memory: int

    def holds(self, resources: Resources) -> int:
        """Number of workers of the same resources that fit."""
        fits = [self.workers, self.cpus / resources.cpus]
        if resources.gpus:
            fits.append(self.gpus * math.floor(1 / resources.gpus + EPSILON))
        if resources.memory:
            fits.append(self.memory / self._memory(resources))
        return int(min(fits) + EPSILON)

    def hold(self, all_of: Iterable[Resources]) -> bool:
        """True where workers of several resources fit together."""
        each = list(all_of)
        return (
            len(each) <= self.workers
            and sum(one.cpus for one in each) <= self.cpus + EPSILON
            and sum(self._memory(one) for one in each) <= self.memory
        )

    def _memory(self, resources: Resources) -> int:
        """Bytes that a worker is counted with: never more than there are, which would wait for ever."""
        return min(resources.memory or 0, self.memory)


@dataclass
class LocalHandle(WorkerHandle):
    """A worker of this machine. `ready` after its first heartbeat; `outcomes` of a lease that has ended."""

    worker: LocalWorker | None = None
    gpu: int | None = None
    ready: bool = False
    outcomes: list[Outcome] | None = None


class LocalWorkerPool:
    """Starts, watches, replaces and ends workers of this machine.

    `start(resources, gpu)` makes a worker that uses the GPU of that index, or none. `isolated`: workers are processes,
    so that a new one has a working GPU after a CUDA error.
    """

    def __init__(
        self,
        start: Callable[[Resources, int | None], LocalWorker],
        room: Room,
        *,
        jobs_per_worker: int,
        isolated: bool = True,
    ) -> None:
        self._start = start
        self._room = room
        self._jobs_per_worker = jobs_per_worker
        self._isolated = isolated
        self._failed_starts = 0
        self._stopping = False
        self.workers: list[LocalHandle] = []
        self.problem: str | None = None

    def idle(self, resources: Resources) -> LocalHandle | None:
        """A worker with just these resources that can take jobs now."""
        for handle in self.workers:
            if handle.resources == resources and handle.lease is None and handle.ready:
                return handle
        return None

    def capacity(self, resources: Resources) -> int:
        """Number of workers of these resources that fit, at least 1."""
        return max(1, self._room.holds(resources))

    def grow(self, resources: Resources, waiting: int) -> None:
        """Start workers for as many jobs as wait, while there is room; the first in any case."""
        starting = sum(handle.resources == resources and not handle.ready for handle in self.workers)
        for _ in range(waiting - starting):
            gpu = self._free_gpu(resources.gpus)
            full = (bool(resources.gpus) and gpu is None) or not self._room.hold(
                [resources, *(handle.resources for handle in self.workers)]
            )
            if self.workers and full:
                return
            self.workers.append(LocalHandle(resources, worker=self._start(resources, gpu), gpu=gpu))

    def _free_gpu(self, share: float) -> int | None:
        """The first GPU with such a share left; None where there is none, or none is wanted."""
        for gpu in range(self._room.gpus if share else 0):
            taken = sum(handle.resources.gpus for handle in self.workers if handle.gpu == gpu)
            if taken + share <= 1 + EPSILON:
                return gpu
        return None

    def release(self, wanted: Collection[Resources]) -> None:
        """End idle workers of other resources, so that there is room for these."""
        for handle in [h for h in self.workers if h.lease is None and h.resources not in wanted]:
            self.end(handle)

    def show_demand(self, waiting: Mapping[Resources, int]) -> None:
        """This machine does not grow."""

    def lease(self, worker: LocalHandle, jobs: list[Job]) -> None:
        """Give jobs to an idle worker."""
        worker.lease = Lease.begin(jobs)
        self._send(worker, ([job.spec for job in jobs], worker.lease.attempts))

    def _send(self, handle: LocalHandle, message: object) -> None:
        assert handle.worker is not None
        with contextlib.suppress(OSError):  # it died: the closed pipe is seen by `wait`
            handle.worker.connection.send(message)

    def wait(self, seconds: float) -> list[LocalHandle]:
        """Workers whose lease has ended, after at most `seconds`; sooner where a message comes."""
        by_connection = {handle.worker.connection: handle for handle in self.workers if handle.worker}
        if not by_connection:
            time.sleep(seconds)
            return []
        heard = [by_connection[each] for each in wait(list(by_connection), seconds) if isinstance(each, Connection)]
        return [handle for handle in heard if self._receive(handle)]

    def _receive(self, handle: LocalHandle) -> bool:
        """Take one message; True where the worker's lease has ended."""
        assert handle.worker is not None
        try:
            message = handle.worker.connection.recv()
        except (EOFError, OSError):
            return self._died(handle)
        match message:
            case StartError(reason):
                self._start_failed(handle, f"Workers cannot start: {reason}")
            case Heartbeat():
                handle.ready, self._failed_starts = True, 0
                if handle.lease:
                    handle.lease.hear(message)
            case outcomes:
                handle.outcomes = outcomes
        return handle.outcomes is not None

    def _died(self, handle: LocalHandle) -> bool:
        assert handle.worker is not None
        failure, message = handle.worker.death()
        if handle.lease is not None:
            handle.outcomes = handle.lease.failed(failure, message)
        elif handle.ready:
            self.end(handle)
        else:
            self._start_failed(handle, "Workers cannot start: their processes end at once.")
        return handle.lease is not None

    def _start_failed(self, handle: LocalHandle, reason: str) -> None:
        self.end(handle)
        self._failed_starts += 1
        if self._failed_starts >= BREAKER:
            self.problem = reason

    def collect(self, worker: LocalHandle) -> list[Outcome]:
        """Outcomes of an ended lease; a worker that is spoiled, spent, terminated or dead is ended."""
        assert worker.outcomes is not None
        outcomes, worker.outcomes, worker.lease = worker.outcomes, None, None
        terminated = not self._stopping and any(outcome.state == "stopped" for outcome in outcomes)
        if terminated:
            outcomes = [_terminated(outcome) for outcome in outcomes]
        worker.jobs_done += len(outcomes)
        spoiled = any(outcome.spoiled for outcome in outcomes)
        if spoiled and not self._isolated and any(o.failure is FailureClass.WORKER_LOST for o in outcomes):
            self.problem = GPU_LOST
        if spoiled or terminated or worker.jobs_done >= self._jobs_per_worker:
            self.end(worker)
        return outcomes

    def watch(self) -> None:
        """Nothing to ask: workers send their heartbeats."""

    def give_up(self, worker: LocalHandle, failure: FailureClass, reason: str) -> list[Outcome]:
        """End a worker that has a lease; the outcomes of its jobs."""
        assert worker.lease is not None
        outcomes = worker.lease.failed(failure, reason)
        self.end(worker)
        return outcomes

    def stop_all(self) -> None:
        """Ask busy workers to write checkpoints and hand their jobs back."""
        self._stopping = True
        for handle in self.workers:
            if handle.lease:
                self._send(handle, STOP)

    def end(self, worker: LocalHandle) -> None:
        """End a worker at once."""
        assert worker.worker is not None
        worker.worker.end()
        self.workers.remove(worker)


def _terminated(outcome: Outcome) -> Outcome:
    """A job that came back without having been asked for: SIGTERM. It does not count against the job."""
    if outcome.state != "stopped":
        return outcome
    return replace(outcome, state="failed", failure=FailureClass.PREEMPTED, message=TERMINATED)
