"""The workers of a run: as many as the cluster holds and the queue needs, each with at most one job or stack of jobs.

Ray's own restarts and retries are off: a job that is lost comes back to the queue, which decides.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.queue import Job, Need
from cluster.worker import Outcome, Pulse, Worker, slay
from jobs.commit import new_attempt
from jobs.failures import FailureClass
from jobs.run import Conditions
from jobs.store import Store


@dataclass
class Lease:
    """Jobs in a worker's hands, trained side by side. Times are of the driver's monotonic clock."""

    jobs: list[Job]
    attempts: list[str]
    began_at: float
    running_since: float | None = None
    pulse: Pulse | None = None
    pulse_at: float = 0.0

    def silent_s(self, now: float) -> float:
        """Since the last sign of life: what the worker said, and how long ago it said it."""
        return self.pulse.silent_s + now - self.pulse_at if self.pulse else 0.0


@dataclass
class Member:
    """One worker, what it holds of the cluster, and its present lease."""

    actor: Any
    need: Need
    jobs_done: int = 0
    lease: Lease | None = None
    result: Any = None
    asked: Any = None


class Fleet:
    """Starts, watches, recycles and ends workers."""

    def __init__(self, store: Store, conditions: Conditions, *, jobs_per_worker: int) -> None:
        self._arguments = (store, conditions)
        self._jobs_per_worker = jobs_per_worker
        self.members: list[Member] = []
        self.ever_started = False

    def idle(self, need: Need) -> Member | None:
        """A worker of this need without a job, started now if the cluster has room for one.

        The first is started without room, too: a cluster that grows has to see that somebody waits.
        """
        for member in self.members:
            if member.need == need and member.lease is None:
                return member
        return self._start(need) if not self.members or self._room(need) else None

    def _room(self, need: Need) -> bool:
        total = ray.cluster_resources()
        needs = [need, *(member.need for member in self.members)]
        return bool(
            sum(each.cpus for each in needs) <= total.get("CPU", 0.0) + 1e-6
            and sum(each.gpus for each in needs) <= total.get("GPU", 0.0) + 1e-6
            and sum(_memory(each) for each in needs) <= total.get("memory", 0.0)
        )

    def _start(self, need: Need) -> Member:
        options: dict[str, Any] = {"num_cpus": need.cpus, "num_gpus": need.gpus}
        if need.memory:
            options["memory"] = _memory(need)
        actor = (
            ray.remote(concurrency_groups={"watch": 1})(Worker)
            .options(max_restarts=0, max_task_retries=0, **options)
            .remote(*self._arguments, max(1, int(need.cpus)), need.gpus)
        )
        member = Member(actor, need)
        self.members.append(member)
        return member

    def release_others(self, need: Need) -> None:
        """End idle workers of other needs, so that one of this need finds room."""
        for member in [m for m in self.members if m.lease is None and m.need != need]:
            self.end(member)

    def capacity(self, need: Need) -> int:
        """How many workers of this need the cluster holds, as it is now; at least 1."""
        total = ray.cluster_resources()
        fits = [total.get("CPU", 0.0) / need.cpus]
        if need.gpus:
            fits.append(total.get("GPU", 0.0) / need.gpus)
        return max(1, int(min(fits) + 1e-6))

    def lease(self, member: Member, jobs: list[Job]) -> None:
        """Give jobs to an idle worker."""
        attempts = [new_attempt() for _ in jobs]
        member.lease = Lease(jobs, attempts, time.monotonic())
        member.result = member.actor.train.remote([job.spec for job in jobs], attempts)

    def wait(self, seconds: float) -> list[Member]:
        """Workers whose lease has ended, after at most `seconds`."""
        by_result = {member.result: member for member in self.members if member.lease}
        if not by_result:
            time.sleep(seconds)
            return []
        ended, _ = ray.wait(list(by_result), num_returns=1, timeout=seconds)
        return [by_result[result] for result in ended]

    def collect(self, member: Member) -> list[Outcome]:
        """How each of a worker's jobs ended; a worker that is spoiled, spent or dead is gone after this."""
        assert member.lease is not None
        try:
            outcomes: list[Outcome] = ray.get(member.result)
        except (RayError, OSError) as error:
            outcomes = lost(member.lease, error)
        member.lease, member.result = None, None
        member.jobs_done += len(outcomes)
        if any(outcome.spoiled for outcome in outcomes) or member.jobs_done >= self._jobs_per_worker:
            self.end(member)
        return outcomes

    def watch(self) -> None:
        """Ask every busy worker for its pulse, and take the answers that have come."""
        asked = {member.asked: member for member in self.members if member.asked is not None}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0) if asked else ([], [])
        for answer in answered:
            member = asked[answer]
            member.asked = None
            try:
                pulse: Pulse = ray.get(answer)
            except RayError:
                continue  # its job's own result tells what happened
            if member.lease and pulse.lease == member.lease.attempts[0]:
                member.lease.pulse, member.lease.pulse_at = pulse, time.monotonic()
                member.lease.running_since = member.lease.running_since or time.monotonic()
                self.ever_started = True
        for member in self.members:
            if member.lease and member.asked is None:
                member.asked = member.actor.pulse.remote()

    def overdue(self, *, silence_s: float, limit_s: float, startup_s: float) -> list[tuple[Member, FailureClass, str]]:
        """Workers to give up on, and why: silent for too long, too long at one job, or never started."""
        found = []
        now = time.monotonic()
        for member in self.members:
            lease = member.lease
            if lease is None:
                continue
            if lease.running_since is None:
                if now - lease.began_at > startup_s:
                    found.append((member, FailureClass.PREEMPTED, f"No worker could start within {startup_s:.0f} s."))
            elif lease.silent_s(now) > silence_s:
                reason = f"Training gave no sign of life for {lease.silent_s(now):.0f} s."
                found.append((member, FailureClass.TIMEOUT, reason))
            elif now - lease.running_since > limit_s * len(lease.jobs):
                reason = f"Training took longer than the limit of {limit_s:.0f} s an image."
                found.append((member, FailureClass.TIMEOUT, reason))
        return found

    def give_up(self, member: Member, failure: FailureClass, reason: str) -> list[Outcome]:
        """Kill a worker and take its jobs as failed.

        Ray asks a process to end, which one that hangs may never hear: a task on its machine kills it for sure.
        """
        assert member.lease is not None
        if pulse := member.lease.pulse:
            there = NodeAffinitySchedulingStrategy(pulse.node, soft=False)
            ray.remote(num_cpus=0, max_retries=0)(slay).options(scheduling_strategy=there).remote(pulse.pid)
        wall_s = round(time.monotonic() - member.lease.began_at, 3)
        self.end(member)
        return [Outcome(attempt, "failed", wall_s, "", failure, reason) for attempt in member.lease.attempts]

    def stop_all(self) -> None:
        """Ask every busy worker to write its restart points and hand its jobs back."""
        for member in self.members:
            if member.lease:
                member.actor.stop.remote()

    def end(self, member: Member) -> None:
        """End a worker."""
        ray.kill(member.actor, no_restart=True)
        self.members.remove(member)


def _memory(need: Need) -> int:
    """Bytes to ask of Ray: never more than the largest machine has, which would wait for ever."""
    if need.memory is None:
        return 0
    largest = max((node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
    return int(min(need.memory, largest))


def lost(lease: Lease, error: Exception) -> list[Outcome]:
    """What a worker's death means for its jobs."""
    text = str(error)
    if isinstance(error, ActorDiedError) and getattr(error, "preempted", False):
        failure, message = FailureClass.PREEMPTED, "The machine was taken back."
    elif isinstance(error, OutOfMemoryError) or "low on memory" in text:
        failure, message = FailureClass.HOST_OOM, "The worker was killed because its machine ran out of memory."
    elif isinstance(error, RayActorError) and re.search(r"__init__|creation task", text):
        failure, message = FailureClass.BUG, f"The worker could not start: {text.strip().splitlines()[-1]}"
    else:
        # Ray's text for any lost process mentions the kernel's OOM killer as one guess of several.
        failure, message = FailureClass.WORKER_LOST, "The worker died in the middle of its job."
    wall_s = round(time.monotonic() - lease.began_at, 3)
    return [Outcome(attempt, "failed", wall_s, "", failure, message, text, spoiled=True) for attempt in lease.attempts]
