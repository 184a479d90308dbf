"""Workers of this machine: a thread of this process, or a child process. Both talk with the pool over a pipe.

Messages to a worker: (specs, attempts), or `STOP`. Messages from it: `StartError`, a `Heartbeat` every second, and the
list of outcomes of each lease. A closed pipe ends the worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from pgcn_cluster.scheduler.lease import DIED, OUT_OF_MEMORY
from pgcn_cluster.scheduler.worker import Worker
from pgcn_jobs.common.failures import FailureClass

HEARTBEAT_S = 1.0
STOP = "stop"
PRELOADED = ["pgcn_cluster.scheduler.local_worker", "torch._dynamo"]
"""Modules that the fork server imports once, so that a child process starts within a tenth of a second."""

# Not fork: torch and pyarrow have threads. Fork server where there is one: a child then pays for no imports.
_METHODS = multiprocessing.get_all_start_methods()
processes: Any = multiprocessing.get_context("forkserver" if "forkserver" in _METHODS else "spawn")


@dataclass(frozen=True)
class StartError:
    """The worker could not be made."""

    reason: str


class LocalWorker(Protocol):
    """A worker at the other end of `connection`."""

    connection: Connection

    def death(self) -> tuple[FailureClass, str]:
        """The failure that a closed connection means for its jobs, and a sentence."""

    def end(self) -> None:
        """End it as soon as can be."""


class ThreadWorker:
    """A worker in a thread of this process: for debuggers, notebooks and small folders.

    A thread keeps the driver's loop free for signals, heartbeats and the display. It cannot be killed: one that is
    given up on stops at its next iteration, and a commit that it still makes counts.
    """

    def __init__(self, make: Callable[[], Worker]) -> None:
        self.connection, self._theirs = multiprocessing.Pipe()
        self._error: BaseException | None = None
        threading.Thread(target=self._serve, args=(make,), name="pgcn worker", daemon=True).start()

    def _serve(self, make: Callable[[], Worker]) -> None:
        try:
            _Server(self._theirs, make).serve()
        except BaseException as error:  # it is raised again in the driver's thread, as if it had happened there
            self._error = error
        finally:
            self._theirs.close()

    def death(self) -> tuple[FailureClass, str]:
        """Raises what ended the thread: `Worker` itself raises nothing but what ends a process."""
        if self._error is not None:
            raise self._error
        return FailureClass.WORKER_LOST, DIED

    def end(self) -> None:
        """Ask the thread to end, which it does at the next iteration."""
        self.connection.close()


class ChildWorker:
    """A worker in a child process, which may crash, hang and be killed without harm to the command.

    `before` is called in the child before the worker is made. `oom_kills` counts processes that the kernel has killed
    for memory: a process that was killed while the count grew has run out of memory.
    """

    def __init__(
        self, make: Callable[[], Worker], gpu: int | None, before: Callable[[], None], oom_kills: Callable[[], int]
    ) -> None:
        self._oom_kills, self._killed_before = oom_kills, oom_kills()
        self.connection, theirs = processes.Pipe()
        self._process = processes.Process(target=_child, args=(theirs, make, gpu, before), daemon=True)
        self._process.start()
        theirs.close()

    def death(self) -> tuple[FailureClass, str]:
        """Out of memory where the kernel says so, else lost."""
        self._process.join(10)
        if self._process.exitcode == -signal.SIGKILL and self._oom_kills() > self._killed_before:
            return FailureClass.HOST_OOM, OUT_OF_MEMORY
        return FailureClass.WORKER_LOST, DIED

    def end(self) -> None:
        """Kill it: SIGKILL also ends a process that is stopped or hangs."""
        self.connection.close()
        self._process.kill()
        self._process.join()


def nothing() -> None:
    """Do nothing before a worker is made."""


def kernel_oom_kills() -> int:
    """Number of processes that Linux has killed for memory since it started; 0 where that is not known."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _child(connection: Connection, make: Callable[[], Worker], gpu: int | None, before: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all processes: the driver decides
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    before()
    server = _Server(connection, make, closed=lambda: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the driver may have blocked it where it forked
    server.serve()


class _Server:
    """The worker's end of the pipe: jobs in the calling thread, heartbeats and stops in another one."""

    def __init__(
        self, connection: Connection, make: Callable[[], Worker], closed: Callable[[], None] = nothing
    ) -> None:
        self._connection = connection
        self._make = make
        self._closed = closed
        self._sending = threading.Lock()
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        self._worker: Worker | None = None

    def serve(self) -> None:
        """Run the jobs that come, until the pipe is closed."""
        try:
            self._worker = self._make()
        except Exception as error:
            self._send(StartError(f"{type(error).__name__}: {error}"))
            return
        threading.Thread(target=self._listen, args=(self._worker,), name="pgcn heartbeat", daemon=True).start()
        while (task := self._tasks.get()) is not None:
            self._send(self._worker.train(*task))

    def stop(self) -> None:
        """Let the present job write its checkpoint and come back."""
        if self._worker is not None:
            self._worker.stop()

    def _listen(self, worker: Worker) -> None:
        try:
            while True:
                self._send(worker.heartbeat())
                if self._connection.poll(HEARTBEAT_S):
                    message = self._connection.recv()
                    if message == STOP:
                        worker.stop()
                    else:
                        self._tasks.put(message)
        except (EOFError, OSError):
            worker.stop()
            self._tasks.put(None)
            self._closed()

    def _send(self, message: object) -> None:
        with self._sending, contextlib.suppress(OSError):  # the driver is gone: nobody wants to hear it
            self._connection.send(message)
