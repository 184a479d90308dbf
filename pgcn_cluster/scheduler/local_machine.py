"""This machine as the backend of a command: `pgcn run --local`, without Ray.

The command line takes one child process for each job that the cores hold: all cores are used, and a crash or a lack of
memory costs one attempt and not the command. One worker is a thread of this process instead, for debuggers and
notebooks: a child would import a notebook's or script's main module again. Each worker has as many threads of torch as
a job has cores, which gives the same bits as a worker of Ray.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver

import psutil
import torch

from pgcn_cluster.scheduler.local_pool import LocalWorkerPool, Room
from pgcn_cluster.scheduler.local_worker import (
    PRELOADED,
    ChildWorker,
    LocalWorker,
    ThreadWorker,
    kernel_oom_kills,
    nothing,
    processes,
)
from pgcn_cluster.scheduler.meter import NoMeter
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.sockets import check_socket_path
from pgcn_cluster.scheduler.worker import Worker
from pgcn_jobs.common.background import Background, ThreadBackground
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.job_context import ExecutionOptions
from pgcn_jobs.storage.store import Store


class LocalMachine:
    """Cores, GPUs and memory of this machine. `workers`: the most at once; None: as many as fit; 1: in this process.

    `before` is called in each child process before its worker is made; `oom_kills` counts the kernel's kills for
    memory.
    """

    address: str | None = None
    errors: tuple[type[Exception], ...] = ()

    def __init__(
        self,
        workers: int | None = None,
        *,
        before: Callable[[], None] = nothing,
        oom_kills: Callable[[], int] = kernel_oom_kills,
    ) -> None:
        self._workers = workers
        self._before = before
        self._oom_kills = oom_kills
        self._threads = torch.get_num_threads()

    @property
    def in_process(self) -> bool:
        """True where jobs run in this process."""
        return self._workers == 1

    def has_gpu(self) -> bool:
        """True where this machine has a GPU that torch can use."""
        return torch.cuda.is_available()

    def join(self) -> None:
        """Start the server that forks workers: it imports torch meanwhile. Raises `ConfigError`."""
        if not self.in_process and processes.get_start_method() == "forkserver":
            check_socket_path(["TMPDIR"], "/pymp-01234567/listener-01234567")
            processes.set_forkserver_preload(PRELOADED)
            forkserver.ensure_running()

    def background(self) -> Background:
        """Threads of this process."""
        return ThreadBackground()

    def check_room(self, resources: Resources) -> None:
        """Raises `ConfigError` where this machine has less than one job needs."""
        room = self._room()
        for name, wanted, have, option in (
            ("CPU", resources.cpus, room.cpus, "--cpus-per-job"),
            ("GPU", resources.gpus, room.gpus, "--gpus-per-job"),
        ):
            if wanted > have:
                raise ConfigError(
                    f"{option} {wanted:g} is more than this machine has: {have:g} {name}s.", code=Code.RESOURCES
                )

    def pool(self, store: Store, options: ExecutionOptions, jobs_per_worker: int) -> LocalWorkerPool:
        """A pool without workers yet."""

        def start(resources: Resources, gpu: int | None) -> LocalWorker:
            make = partial(Worker, store, options, max(1, int(resources.cpus)), resources.gpus)
            if self.in_process:
                return ThreadWorker(make)
            return ChildWorker(make, gpu, self._before, self._oom_kills)

        return LocalWorkerPool(start, self._room(), jobs_per_worker=jobs_per_worker, isolated=not self.in_process)

    def meter(self, run: str) -> NoMeter:
        """None: nothing monitors this machine."""
        return NoMeter()

    def leave(self) -> None:
        """Give this process its threads back, which a worker in it had set."""
        if self.in_process:
            torch.set_num_threads(self._threads)

    def _room(self) -> Room:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return Room(self._workers or cpus, cpus, gpus, psutil.virtual_memory().total)
