"""The workers of a run: as many as the cluster holds and the queue needs, each with at most one job or stack of jobs.

Ray's own restarts and retries are off: a job that is lost comes back to the queue, which decides. A worker has a job
only once it lives: one that Ray has no room for, or promised room on a machine that is gone, keeps no job waiting.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.ray_cluster.autoscaler import Demand
from cluster.ray_cluster.nodes import Machines, machines_now
from cluster.scheduler.lease import Lease, WorkerHandle, lost, no_start, taken_back
from cluster.scheduler.queue import BREAKER, Job, Resources
from cluster.scheduler.worker import Outcome, Pulse, Worker, kill_process
from jobs.common.failures import FailureClass
from jobs.run_folder.commit import new_attempt
from jobs.storage.store import Store
from jobs.training_job import ExecutionOptions

AHEAD = 8
"""Workers that a cluster which may grow is asked for beyond those it has; more once it has more, so that it doubles."""

ANSWER_S = 60.0
"""Seconds for an answer that Ray says is there: it may have been on a machine that is gone."""


class RayWorkerPool:
    """Starts, watches, recycles and ends workers."""

    def __init__(
        self, store: Store, conditions: ExecutionOptions, *, jobs_per_worker: int, grows: bool = False
    ) -> None:
        """`grows`: the cluster may start machines for what waits."""
        self._arguments = (store, conditions)
        self._demand = Demand() if grows else None
        self._jobs_per_worker = jobs_per_worker
        self._machines: Machines | None = None
        self._failed_starts = 0
        self.members: list[WorkerHandle] = []
        self.trouble: str | None = None
        """Why no worker starts, in a sentence, where waiting will not help."""

    def idle(self, need: Resources) -> WorkerHandle | None:
        """A worker of this need that lives, has no job, and may stay."""
        for member in self.members:
            if member.need == need and member.lease is None and member.coming is None and not member.leaving:
                return member
        return None

    def grow(self, need: Resources, waiting: int) -> None:
        """Start workers of one need for jobs that wait, while the cluster has room.

        The first is started without room, too: a cluster without machines has to see that somebody waits.
        """
        for _ in range(waiting - self._starting(need)):
            if self.members and not self._room(need):
                return
            self._start(need)

    def show_demand(self, waiting: Mapping[Resources, int]) -> None:
        """Let a cluster that may grow see that jobs wait for workers that it has no room for: some of them at a time.

        Only for workers that some machine could hold: of tasks that none can, Ray warns the user.
        """
        if self._demand is None:
            return
        at_most = max(AHEAD, len(self.members))
        counts = {need: min(at_most, jobs - self._starting(need)) for need, jobs in waiting.items()}
        wanted = {need: count for need, count in counts.items() if count > 0 and self._seen.holds(need)}
        self._demand.show(wanted, {need: self._options(need) for need in wanted})

    def release(self, wanted: Collection[Resources]) -> None:
        """End workers without a job of needs that no job waits for: others wait for their room."""
        for member in [m for m in self.members if m.lease is None and m.need not in wanted]:
            self.end(member)

    def capacity(self, need: Resources) -> int:
        """How many workers of this need the cluster holds, as it is now; at least 1."""
        return max(1, self._seen.holds(need))

    @property
    def _seen(self) -> Machines:
        self._machines = self._machines or machines_now()
        return self._machines

    def _room(self, need: Resources) -> bool:
        alike = sum(member.need == need for member in self.members)
        return alike < self._seen.holds(need) and self._seen.hold([need, *(member.need for member in self.members)])

    def _starting(self, need: Resources) -> int:
        return sum(member.need == need and member.coming is not None for member in self.members)

    def _options(self, need: Resources) -> dict[str, Any]:
        """What a worker of this need holds, in Ray's words."""
        options: dict[str, Any] = {"num_cpus": need.cpus, "num_gpus": need.gpus}
        if need.memory:
            options["memory"] = self._seen.memory(need)
        return options

    def _start(self, need: Resources) -> WorkerHandle:
        actor = (
            ray.remote(concurrency_groups={"watch": 1})(Worker)
            .options(max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **self._options(need))
            .remote(*self._arguments, max(1, int(need.cpus)), need.gpus)
        )
        member = WorkerHandle(actor, need, coming=actor.pulse.remote())
        self.members.append(member)
        return member

    def _welcome(self, member: WorkerHandle) -> None:
        """Take a first sign of life, or of none."""
        try:
            pulse: Pulse = ray.get(member.coming, timeout=ANSWER_S)
        except RayError as error:
            self.end(member)
            reason = no_start(error)
            self._failed_starts += reason is not None
            if self._failed_starts >= BREAKER:
                self.trouble = reason
            return
        member.coming, member.node, member.pid = None, pulse.node, pulse.pid
        self._failed_starts = 0

    def lease(self, member: WorkerHandle, jobs: list[Job]) -> None:
        """Give jobs to an idle worker."""
        attempts = [new_attempt() for _ in jobs]
        member.lease = Lease(jobs, attempts, time.monotonic())
        member.result = member.actor.train.remote([job.spec for job in jobs], attempts)

    def wait(self, seconds: float) -> list[WorkerHandle]:
        """Workers whose lease has ended, after at most `seconds`; sooner, also when one has started."""
        awaited = {member.result: member for member in self.members if member.lease}
        awaited |= {member.coming: member for member in self.members if member.coming is not None}
        if not awaited:
            time.sleep(seconds)
            return []
        found = [awaited[each] for each in ray.wait(list(awaited), num_returns=1, timeout=seconds)[0]]
        for member in found:
            if member.coming is not None:
                self._welcome(member)
        return [member for member in found if member.lease]

    def collect(self, member: WorkerHandle) -> list[Outcome]:
        """How each of a worker's jobs ended; a worker that is spoiled, spent, leaving or dead is gone after this."""
        assert member.lease is not None
        try:
            outcomes: list[Outcome] = ray.get(member.result, timeout=ANSWER_S)
        except (RayError, OSError) as error:
            outcomes = lost(member.lease, error)
        if member.leaving:
            outcomes = [taken_back(outcome) for outcome in outcomes]
        member.lease, member.result = None, None
        member.jobs_done += len(outcomes)
        spent = member.jobs_done >= self._jobs_per_worker
        if spent or member.leaving or any(outcome.spoiled for outcome in outcomes):
            self.end(member)
        return outcomes

    def watch(self) -> None:
        """Look at the machines, ask every worker that lives for its pulse, and take the answers that have come."""
        self._machines = machines_now()
        for member in [m for m in self.members if m.node in self._seen.leaving and not m.leaving]:
            self._leave(member)
        asked = {member.asked: member for member in self.members if member.asked is not None}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0) if asked else ([], [])
        for answer in answered:
            self._hear(asked[answer])
        for member in self.members:
            if member.coming is None and member.asked is None:
                member.asked = member.actor.pulse.remote()

    def _leave(self, member: WorkerHandle) -> None:
        """Its machine is being drained: no more jobs for it, and the present ones stop at a restart point."""
        member.leaving = True
        if member.lease:
            member.actor.stop.remote()
        else:
            self.end(member)

    def _hear(self, member: WorkerHandle) -> None:
        answer, member.asked = member.asked, None
        try:
            pulse: Pulse = ray.get(answer, timeout=ANSWER_S)
        except RayError:
            if member.lease is None:
                self.end(member)  # else its job's own result tells what happened
            return
        if member.lease and pulse.lease == member.lease.attempts[0]:
            member.lease.pulse, member.lease.pulse_at = pulse, time.monotonic()

    def overdue(self, *, silence_s: float, limit_s: float) -> list[tuple[WorkerHandle, str]]:
        """Workers to give up on, and why: silent for too long, or too long at one job."""
        found = []
        now = time.monotonic()
        for member in self.members:
            lease = member.lease
            if lease is None:
                continue
            if lease.silent_s(now) > silence_s:
                found.append((member, f"Training gave no sign of life for {lease.silent_s(now):.0f} s."))
            elif now - lease.began_at > limit_s * len(lease.jobs):
                found.append((member, f"Training took longer than the limit of {limit_s:.0f} s an image."))
        return found

    def give_up(self, member: WorkerHandle, failure: FailureClass, reason: str) -> list[Outcome]:
        """Kill a worker and take its jobs as failed.

        Ray asks a process to end, which one that hangs may never hear: a task on its machine kills it for sure.
        """
        assert member.lease is not None
        there = NodeAffinitySchedulingStrategy(member.node, soft=False)
        ray.remote(num_cpus=0, max_retries=0)(kill_process).options(scheduling_strategy=there).remote(member.pid)
        wall_s = round(time.monotonic() - member.lease.began_at, 3)
        self.end(member)
        return [Outcome(attempt, "failed", wall_s, "", failure, reason) for attempt in member.lease.attempts]

    def stop_all(self) -> None:
        """Ask every busy worker to write its restart points and hand its jobs back, and the cluster for no more."""
        if self._demand is not None:
            self._demand.withdraw()
        for member in self.members:
            if member.lease:
                member.actor.stop.remote()

    def end(self, member: WorkerHandle) -> None:
        """End a worker."""
        ray.kill(member.actor, no_restart=True)
        self.members.remove(member)
