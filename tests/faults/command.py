"""`pgcn run` without Ray: all of it but the cluster is the product's own, from the command line to the exit code.

Workers are the product's `Worker`, in this process or each in one of its own. What Ray would say of a process that
ended is said by `_Hands.collect`. The driver's clock, by which failed jobs wait for their turn, runs faster.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError

import cluster.cli.run_summary
import cluster.launch
import cluster.ray_cluster.session
import cluster.scheduler.driver
import cluster.scheduler.worker
from cluster.ray_cluster.ray_pool import RayWorkerPool
from cluster.scheduler.lease import Lease, WorkerHandle, lost
from cluster.scheduler.queue import Resources
from cluster.scheduler.worker import Outcome, Pulse, Worker
from jobs.common.failures import FailureClass
from jobs.run_folder.commit import new_attempt
from jobs.storage.store import Store
from jobs.training_job import ExecutionOptions
from tests.cluster.running import ask, options
from tests.faults.points import KILLED_FOR_MEMORY, PREEMPTED, Strike, plant

SIZE = {"max_size": 18, "iterations": 4}
FASTER = 20.0

_FORKS = multiprocessing.get_context("forkserver")
# With what a first training would import, of torch's own: it costs a process a second.
_FORKS.set_forkserver_preload(
    ["tests.faults.command", "torch._dynamo", "cluster.planning.options", "cluster.planning.dry_run"]
)


def run(
    images, out, *more: str, workers: int = 0, strike: Strike | None = None, env=None, size=SIZE
) -> tuple[int, str]:
    """The command over a batch, in this process: its exit code and output.

    With `workers`, so many processes train, and `strike` is planted in them; else it is in this process.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        without_ray(monkeypatch, workers, strike)
        if strike and not workers:
            plant(strike, monkeypatch)
        with one_thread():
            return ask("run", images, "--out", out, *options(**size), "--checkpoint-seconds", "0.1", *more)


@contextmanager
def one_thread():
    """As a worker has it: another number of threads gives other bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class Child:
    """A command in a process of its own; its output is in a file, since it may be killed."""

    process: multiprocessing.process.BaseProcess
    log: Path
    began_at: float  # seconds since the epoch

    def wait(self, timeout: float = 60) -> tuple[int, str]:
        """Its exit code, minus the signal where one ended it, and output."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"the command took longer than {timeout} s:\n{self.log.read_text()}")
        code = self.process.exitcode
        assert code is not None
        return code, self.log.read_text()


def start(log: Path, images, out, *more: str, strike: Strike | None = None, env=None) -> Child:
    """The command in a process of its own, which trains too."""
    process = _FORKS.Process(target=_child, args=(log, images, out, more, strike, env))
    process.start()
    return Child(process, log, time.time())


def _child(log: Path, images, out, more, strike, env) -> None:
    log.touch()
    code, output = run(images, out, *more, strike=strike, env=env)
    log.write_text(output)
    sys.exit(code)


def without_ray(monkeypatch: pytest.MonkeyPatch, workers: int = 0, strike: Strike | None = None) -> None:
    """Let `cluster.launch` do without a cluster."""
    plan = cluster.launch.make_plan
    monkeypatch.setattr(cluster.launch, "make_plan", lambda prepared, _, retry: plan(prepared, None, retry=retry))
    # A look at the results, which costs many requests.
    monkeypatch.setattr(cluster.cli.run_summary, "say_summary", lambda out, console: None)
    monkeypatch.setattr(cluster.ray_cluster.session.Cluster, "join", lambda self: None)
    monkeypatch.setattr(cluster.ray_cluster.session.Cluster, "check_room", lambda self, need: None)
    monkeypatch.setattr(cluster.scheduler.driver, "time", SimpleNamespace(monotonic=lambda: FASTER * time.monotonic()))

    def fleet(store, conditions, *, jobs_per_worker, grows):
        if workers:
            return _Hands(store, conditions, jobs_per_worker=jobs_per_worker, size=workers, strike=strike)
        return _Alone(store, conditions, jobs_per_worker=jobs_per_worker)

    monkeypatch.setattr(cluster.launch, "RayWorkerPool", fleet)


class _Alone(RayWorkerPool):
    """One worker, this process: a lease is done while the driver waits for it."""

    def _room(self, need: Resources) -> bool:
        return not self.members

    def _start(self, need: Resources) -> WorkerHandle:
        self.members.append(WorkerHandle(Worker(*self._arguments, 1, 0.0), need))
        return self.members[-1]

    def capacity(self, need: Resources) -> int:
        return 1

    def lease(self, member: WorkerHandle, jobs) -> None:
        member.lease = Lease(jobs, [new_attempt() for _ in jobs], time.monotonic())

    def wait(self, seconds: float) -> list[WorkerHandle]:
        busy = [member for member in self.members if member.lease]
        if not busy:
            time.sleep(0.01)
        for member in busy:
            member.result = member.actor.train([job.spec for job in member.lease.jobs], member.lease.attempts)
        return busy

    def collect(self, member: WorkerHandle) -> list[Outcome]:
        outcomes, member.lease = member.result, None
        if any(outcome.spoiled for outcome in outcomes):
            self.end(member)
        return outcomes

    def watch(self) -> None:
        """It cannot be asked while it trains."""

    def stop_all(self) -> None:
        """Nor told."""

    def end(self, member: WorkerHandle) -> None:
        self.members.remove(member)


class _Hands(RayWorkerPool):
    """Workers in processes of their own, which are killed, hang, and are replaced."""

    def __init__(self, store: Store, conditions: ExecutionOptions, *, jobs_per_worker: int, size: int, strike) -> None:
        super().__init__(store, conditions, jobs_per_worker=jobs_per_worker)
        self._size = size
        self._strike = strike

    def _room(self, need: Resources) -> bool:
        return len(self.members) < self._size

    def _start(self, need: Resources) -> WorkerHandle:
        member = WorkerHandle(_Hand(*self._arguments, self._strike), need)
        self.members.append(member)
        return member

    def capacity(self, need: Resources) -> int:
        return self._size

    def lease(self, member: WorkerHandle, jobs) -> None:
        member.lease = Lease(jobs, [new_attempt() for _ in jobs], time.monotonic())
        member.actor.work.send(([job.spec for job in jobs], member.lease.attempts))

    def wait(self, seconds: float) -> list[WorkerHandle]:
        by_end = {member.actor.work: member for member in self.members if member.lease}
        if not by_end:
            time.sleep(min(seconds, 0.05))
            return []
        return [by_end[end] for end in wait(list(by_end), min(seconds, 0.05)) if isinstance(end, Connection)]

    def collect(self, member: WorkerHandle) -> list[Outcome]:
        assert member.lease is not None
        try:
            outcomes: list[Outcome] = member.actor.work.recv()
        except (EOFError, OSError):
            outcomes = lost(member.lease, member.actor.error())
        member.lease = None
        member.jobs_done += len(outcomes)
        if any(outcome.spoiled for outcome in outcomes) or member.jobs_done >= self._jobs_per_worker:
            self.end(member)
        return outcomes

    def watch(self) -> None:
        for member in self.members:
            try:
                if member.asked and member.actor.pulse.poll():
                    pulse: Pulse = member.actor.pulse.recv()
                    member.asked = None
                    if member.lease and pulse.lease == member.lease.attempts[0]:
                        member.lease.pulse, member.lease.pulse_at = pulse, time.monotonic()
                if member.lease and not member.asked:
                    member.actor.pulse.send("how are you?")
                    member.asked = True
            except (EOFError, OSError):
                continue  # its lease tells

    def give_up(self, member: WorkerHandle, failure: FailureClass, reason: str) -> list[Outcome]:
        assert member.lease is not None
        wall_s = round(time.monotonic() - member.lease.began_at, 3)
        self.end(member)
        return [Outcome(attempt, "failed", wall_s, "", failure, reason) for attempt in member.lease.attempts]

    def stop_all(self) -> None:
        for member in self.members:
            if member.lease:
                member.actor.pulse.send("stop")

    def end(self, member: WorkerHandle) -> None:
        member.actor.process.kill()
        member.actor.process.join()
        self.members.remove(member)


class _Hand:
    """One worker process."""

    def __init__(self, store: Store, conditions: ExecutionOptions, strike: Strike | None) -> None:
        self.work, work = _FORKS.Pipe()
        self.pulse, pulse = _FORKS.Pipe()
        self.process = _FORKS.Process(target=_hand, args=(store, conditions, strike, work, pulse), daemon=True)
        self.process.start()
        work.close()
        pulse.close()

    def error(self) -> Exception:
        """What Ray would raise for its end."""
        self.process.join(10)
        if self.process.exitcode == KILLED_FOR_MEMORY:
            return OutOfMemoryError("Task was killed due to the node running low on memory.")
        return _Preempted() if self.process.exitcode == PREEMPTED else ActorDiedError()


class _Preempted(ActorDiedError):
    """As Ray raises it where a machine was drained."""

    preempted = True


def _hand(
    store: Store, conditions: ExecutionOptions, strike: Strike | None, work: Connection, pulse: Connection
) -> None:
    node = SimpleNamespace(get_node_id=lambda: "here")
    cluster.scheduler.worker.ray = SimpleNamespace(get_runtime_context=lambda: node)  # this process is nobody else's
    if strike:
        plant(strike, pytest.MonkeyPatch())
    worker = Worker(store, conditions, 1, 0.0)
    threading.Thread(target=_watched, args=(worker, pulse), daemon=True).start()
    while True:
        try:
            work.send(worker.train(*work.recv()))
        except (EOFError, OSError):
            return


def _watched(worker: Worker, pulse: Connection) -> None:
    """Answer the driver, and end with it."""
    try:
        while True:
            if pulse.recv() == "stop":
                worker.stop()
            else:
                pulse.send(worker.pulse())
    except (EOFError, OSError):
        os._exit(0)
