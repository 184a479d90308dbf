"""The pool protocol: the operations on workers that the driver needs, and the backend that makes pools."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, TypeVar

from pgcn_cluster.scheduler.lease import WorkerHandle
from pgcn_cluster.scheduler.meter import Meter
from pgcn_cluster.scheduler.queue import Job
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.worker import Outcome
from pgcn_jobs.common.background import Background
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.job_context import ExecutionOptions
from pgcn_jobs.storage.store import Store

Handle = TypeVar("Handle", bound=WorkerHandle)


class WorkerPool(Protocol[Handle]):
    """Workers of one run, each with at most one lease. A pool retries nothing: the queue decides what follows.

    `problem` is a sentence where no worker can start and waiting will not help.
    """

    workers: list[Handle]
    problem: str | None

    def idle(self, resources: Resources) -> Handle | None:
        """A worker with just these resources that can take jobs now."""

    def capacity(self, resources: Resources) -> int:
        """Number of workers of these resources that fit, at least 1."""

    def grow(self, resources: Resources, waiting: int) -> None:
        """Start workers for as many jobs as wait, while there is room."""

    def release(self, wanted: Collection[Resources]) -> None:
        """End idle workers of other resources, so that there is room for these."""

    def show_demand(self, waiting: Mapping[Resources, int]) -> None:
        """Tell a cluster that may grow how many jobs wait."""

    def lease(self, worker: Handle, jobs: list[Job]) -> None:
        """Give jobs to an idle worker."""

    def wait(self, seconds: float) -> list[Handle]:
        """Workers whose lease has ended, after at most `seconds`; sooner where something happens."""

    def collect(self, worker: Handle) -> list[Outcome]:
        """Outcomes of an ended lease, in the order of its jobs. The worker is ended where it cannot be used again."""

    def watch(self) -> None:
        """Take heartbeats and news of machines; called about once a second."""

    def give_up(self, worker: Handle, failure: FailureClass, reason: str) -> list[Outcome]:
        """Kill a worker that has a lease; the outcomes of its jobs."""

    def stop_all(self) -> None:
        """Ask busy workers to write checkpoints and hand their jobs back."""

    def end(self, worker: Handle) -> None:
        """End a worker at once."""


class Backend(Protocol):
    """The place where a command's jobs run: a Ray cluster, or this machine alone.

    `address` is None for this machine. `errors` are exceptions that mean that the backend itself is gone.
    """

    address: str | None
    errors: tuple[type[Exception], ...]

    def has_gpu(self) -> bool:
        """True where jobs can run on a GPU."""

    def join(self) -> None:
        """Connect to the backend, or start it. Raises `ConfigError` where neither works."""

    def background(self) -> Background:
        """A place for calls that read images, beside the workers; joins the backend. Raises `ConfigError` as `join`."""

    def check_room(self, resources: Resources) -> None:
        """Raises `ConfigError` where a worker of these resources can never start."""

    def pool(self, store: Store, options: ExecutionOptions, jobs_per_worker: int) -> WorkerPool[Any]:
        """A pool without workers yet; each is replaced after `jobs_per_worker` jobs."""

    def meter(self, run: str) -> Meter:
        """The exporter of the numbers of a run, after `join`."""

    def leave(self) -> None:
        """Disconnect, and end what `join` started."""


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type where it has none; the last one of another process's traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip() if "ray::" in lines[0] else lines[0]
