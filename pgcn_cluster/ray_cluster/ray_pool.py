"""Ray's worker pool: actors, as many as the cluster holds and the queue needs.

Ray's own restarts and retries are off: a job that is lost comes back to the queue, which decides. A worker gets a job
only after its first heartbeat: one that Ray has no room for, or promised room on a lost machine, delays no job.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pgcn_cluster.ray_cluster.autoscaler import Demand
from pgcn_cluster.ray_cluster.errors import lost, no_start, preempted
from pgcn_cluster.ray_cluster.nodes import Machines, machines_now
from pgcn_cluster.scheduler.lease import Lease, WorkerHandle
from pgcn_cluster.scheduler.queue import BREAKER, Job
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.worker import Heartbeat, Outcome, kill_process
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.job_context import ExecutionOptions
from pgcn_jobs.storage.store import Store

LEAST_DEMAND = 8
"""Workers that a cluster which may grow is asked for beyond those it has; more once it has more, so that it doubles."""

ANSWER_S = 60.0
"""Seconds for an answer that Ray says is there: it may have been on a machine that is gone."""


@dataclass
class RayHandle(WorkerHandle):
    """An actor. `first_heartbeat` is its answer while it starts, and `next_heartbeat` one that was asked for later.

    `leaving`: its machine is being drained. `node` and `pid` are known after its first heartbeat.
    """

    actor: Any = None
    first_heartbeat: Any = None
    next_heartbeat: Any = None
    result: Any = None
    node: str = ""
    pid: int = 0
    leaving: bool = False


class RayWorkerPool:
    """Starts, watches, recycles and ends workers."""

    def __init__(
        self,
        store: Store,
        options: ExecutionOptions,
        *,
        jobs_per_worker: int,
        grows: bool = False,
        worker: type[Any] | None = None,
    ) -> None:
        """`grows`: the cluster may start machines for waiting jobs. `worker`: the actor's class, `RayWorker`."""
        self._arguments = (store, options)
        self._worker = worker if worker is not None else _ray_worker()
        self._demand = Demand() if grows else None
        self._jobs_per_worker = jobs_per_worker
        self._machines: Machines | None = None
        self._failed_starts = 0
        self.workers: list[RayHandle] = []
        self.problem: str | None = None

    def idle(self, resources: Resources) -> RayHandle | None:
        """A worker with just these resources that can take jobs now."""
        for worker in self.workers:
            if (
                worker.resources == resources
                and worker.lease is None
                and worker.first_heartbeat is None
                and not worker.leaving
            ):
                return worker
        return None

    def grow(self, resources: Resources, waiting: int) -> None:
        """Start workers for as many jobs as wait, while the cluster has room.

        The first is started without room, too, so that a cluster without machines sees the demand.
        """
        for _ in range(waiting - self._starting(resources)):
            if self.workers and not self._room(resources):
                return
            self._start(resources)

    def show_demand(self, waiting: Mapping[Resources, int]) -> None:
        """Show a cluster that may grow some of the workers that it has no room for.

        Only those that some machine could hold: Ray warns the user of tasks that none can.
        """
        if self._demand is None:
            return
        at_most = max(LEAST_DEMAND, len(self.workers))
        counts = {resources: min(at_most, jobs - self._starting(resources)) for resources, jobs in waiting.items()}
        wanted = {resources: count for resources, count in counts.items() if count > 0 and self._seen.holds(resources)}
        self._demand.show(wanted, {resources: self._options(resources) for resources in wanted})

    def release(self, wanted: Collection[Resources]) -> None:
        """End idle workers of other resources, so that there is room for these."""
        for worker in [w for w in self.workers if w.lease is None and w.resources not in wanted]:
            self.end(worker)

    def capacity(self, resources: Resources) -> int:
        """Number of workers of these resources that the cluster holds now, at least 1."""
        return max(1, self._seen.holds(resources))

    @property
    def _seen(self) -> Machines:
        self._machines = self._machines or machines_now()
        return self._machines

    def _room(self, resources: Resources) -> bool:
        alike = sum(worker.resources == resources for worker in self.workers)
        return alike < self._seen.holds(resources) and self._seen.hold(
            [resources, *(worker.resources for worker in self.workers)]
        )

    def _starting(self, resources: Resources) -> int:
        return sum(worker.resources == resources and worker.first_heartbeat is not None for worker in self.workers)

    def _options(self, resources: Resources) -> dict[str, Any]:
        """Ray's options for a worker of these resources."""
        options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
        if resources.memory:
            options["memory"] = self._seen.memory(resources)
        return options

    def _start(self, resources: Resources) -> RayHandle:
        actor = (
            ray.remote(concurrency_groups={"watch": 1})(self._worker)
            .options(max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **self._options(resources))
            .remote(*self._arguments, max(1, int(resources.cpus)), resources.gpus)
        )
        worker = RayHandle(resources, actor=actor, first_heartbeat=actor.heartbeat.remote())
        self.workers.append(worker)
        return worker

    def _welcome(self, worker: RayHandle) -> None:
        """Take a first heartbeat, or the error in its place."""
        try:
            heartbeat: Heartbeat = ray.get(worker.first_heartbeat, timeout=ANSWER_S)
        except RayError as error:
            self.end(worker)
            reason = no_start(error)
            self._failed_starts += reason is not None
            if self._failed_starts >= BREAKER:
                self.problem = reason
            return
        worker.first_heartbeat, worker.node, worker.pid = None, heartbeat.node, heartbeat.pid
        self._failed_starts = 0

    def lease(self, worker: RayHandle, jobs: list[Job]) -> None:
        """Give jobs to an idle worker."""
        worker.lease = Lease.begin(jobs)
        worker.result = worker.actor.train.remote([job.spec for job in jobs], worker.lease.attempts)

    def wait(self, seconds: float) -> list[RayHandle]:
        """Workers whose lease has ended, after at most `seconds`; sooner also where one has started."""
        awaited = {worker.result: worker for worker in self.workers if worker.lease}
        awaited |= {worker.first_heartbeat: worker for worker in self.workers if worker.first_heartbeat is not None}
        if not awaited:
            time.sleep(seconds)
            return []
        found = [awaited[each] for each in ray.wait(list(awaited), num_returns=1, timeout=seconds)[0]]
        for worker in found:
            if worker.first_heartbeat is not None:
                self._welcome(worker)
        return [worker for worker in found if worker.lease]

    def collect(self, worker: RayHandle) -> list[Outcome]:
        """Outcomes of an ended lease; a worker that is spoiled, spent, leaving or dead is ended."""
        assert worker.lease is not None
        try:
            outcomes: list[Outcome] = ray.get(worker.result, timeout=ANSWER_S)
        except (RayError, OSError) as error:
            outcomes = lost(worker.lease, error)
        if worker.leaving:
            outcomes = [preempted(outcome) for outcome in outcomes]
        worker.lease, worker.result = None, None
        worker.jobs_done += len(outcomes)
        spent = worker.jobs_done >= self._jobs_per_worker
        if spent or worker.leaving or any(outcome.spoiled for outcome in outcomes):
            self.end(worker)
        return outcomes

    def watch(self) -> None:
        """Read the table of machines, take the heartbeats that have come, and ask for the next ones."""
        self._machines = machines_now()
        for worker in [w for w in self.workers if w.node in self._seen.leaving and not w.leaving]:
            self._leave(worker)
        asked = {worker.next_heartbeat: worker for worker in self.workers if worker.next_heartbeat is not None}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0) if asked else ([], [])
        for answer in answered:
            self._hear(asked[answer])
        for worker in self.workers:
            if worker.first_heartbeat is None and worker.next_heartbeat is None:
                worker.next_heartbeat = worker.actor.heartbeat.remote()

    def _leave(self, worker: RayHandle) -> None:
        """Stop a worker whose machine is being drained: no more jobs, and the present ones write checkpoints."""
        worker.leaving = True
        if worker.lease:
            worker.actor.stop.remote()
        else:
            self.end(worker)

    def _hear(self, worker: RayHandle) -> None:
        answer, worker.next_heartbeat = worker.next_heartbeat, None
        try:
            heartbeat: Heartbeat = ray.get(answer, timeout=ANSWER_S)
        except RayError:
            if worker.lease is None:
                self.end(worker)  # else its job's own result tells what happened
            return
        if worker.lease:
            worker.lease.hear(heartbeat)

    def give_up(self, worker: RayHandle, failure: FailureClass, reason: str) -> list[Outcome]:
        """Kill a worker that has a lease; the outcomes of its jobs.

        `ray.kill` asks a process to end, which one that hangs never does: a task on its machine sends SIGKILL.
        """
        assert worker.lease is not None
        there = NodeAffinitySchedulingStrategy(worker.node, soft=False)
        ray.remote(num_cpus=0, max_retries=0)(kill_process).options(scheduling_strategy=there).remote(worker.pid)
        outcomes = worker.lease.failed(failure, reason)
        self.end(worker)
        return outcomes

    def stop_all(self) -> None:
        """Ask busy workers to write checkpoints and hand their jobs back, and the cluster for no more machines."""
        if self._demand is not None:
            self._demand.withdraw()
        for worker in self.workers:
            if worker.lease:
                worker.actor.stop.remote()

    def end(self, worker: RayHandle) -> None:
        """End a worker."""
        ray.kill(worker.actor, no_restart=True)
        self.workers.remove(worker)


def _ray_worker() -> type[Any]:
    # It brings torch along, which a pool of other workers (tests, benchmarks) does without.
    from pgcn_cluster.ray_cluster.ray_worker import RayWorker

    return RayWorker
