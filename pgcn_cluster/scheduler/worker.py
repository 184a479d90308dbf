"""The worker: runs one job, or one batch of trainings, at a time, on a GPU, a share of one, or CPU cores.

It is plain Python: a pool makes it a Ray actor, a child process, or a thread. A worker tries each job once, reports
how it ended, and never raises; the driver decides what follows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pgcn.heartbeat import heartbeat
from pgcn.method import Progress
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import FailureClass, JobError, classify, code_of, fingerprint
from pgcn_jobs.common.redact import redact
from pgcn_jobs.edit_job import run_edit
from pgcn_jobs.job_context import ExecutionOptions, JobContext, Stopped
from pgcn_jobs.run_folder.commit import Commit, read_commit
from pgcn_jobs.spec import EditSpec, JobSpec
from pgcn_jobs.storage.store import Store
from pgcn_jobs.training_job import clean_up, run_jobs


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt: "committed", "failed" or "stopped".

    `metrics` is the result row of the commit. `anothers`: the commit is of another attempt, most likely another
    driver's. `spoiled`: the process must not be used again.
    """

    attempt: str
    state: str
    wall_s: float
    where: str
    failure: FailureClass | None = None
    message: str = ""
    traceback: str = ""
    fingerprint: str = ""
    metrics: Mapping[str, Any] | None = None
    code: Code | None = None
    anothers: bool = False
    spoiled: bool = False


@dataclass(frozen=True)
class Heartbeat:
    """A worker's report. `silent_s`: seconds since training last reported; `rate`: iterations a second.

    `attempt` is the first one of its lease, or None while it has none; `node` is Ray's id of its machine.
    """

    pid: int
    attempt: str | None
    silent_s: float
    progress: Progress | None
    rate: float
    node: str = ""


def kill_process(pid: int) -> None:
    """Send SIGKILL to a process of this machine, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Worker:
    """Runs jobs in this process. `threads`: of torch. `gpu_share`: of one GPU's memory."""

    def __init__(self, store: Store, options: ExecutionOptions, threads: int, gpu_share: float) -> None:
        torch.set_num_threads(threads)
        if options.device.startswith("cuda") and gpu_share < 1:
            # Ray shares out GPUs by name only; torch has to be told what its share of memory is.
            torch.cuda.set_per_process_memory_fraction(gpu_share)
        self._store = store
        self._stop = threading.Event()
        self._context = JobContext(store, options, self._note, self._stop.is_set)
        self._attempt: str | None = None
        self._progress: Progress | None = None
        self._alive_at = time.monotonic()
        self._pace = (time.monotonic(), 0)

    def train(self, specs: list[JobSpec | EditSpec], attempts: list[str]) -> list[Outcome]:
        """Try a batch of trainings, or one edit; outcomes are in the order of `specs`."""
        began = time.monotonic()
        self._attempt, self._progress, self._alive_at = attempts[0], None, began
        self._pace = (began, 0)

        ends: dict[str, Commit | Exception] = {}
        try:
            left: list[tuple[JobSpec | EditSpec, str]] = []
            for spec, attempt in zip(specs, attempts, strict=True):
                try:
                    # Another driver on this run, or an attempt that was thought lost, may have been here already.
                    commit = read_commit(self._store, spec.job_id)
                except Exception as error:
                    ends[attempt] = error
                    continue
                if commit is None:
                    left.append((spec, attempt))
                else:
                    ends[attempt] = commit
                    clean_up(self._store, spec.job_id)
            for (_, attempt), end in zip(left, self._do(left), strict=True):
                ends[attempt] = end
        except Exception as error:
            for attempt in attempts:
                ends.setdefault(attempt, error)
        finally:
            self._attempt = None
        wall_s = round(time.monotonic() - began, 3)
        return [_outcome(attempt, ends[attempt], wall_s) for attempt in attempts]

    def _do(self, left: list[tuple[JobSpec | EditSpec, str]]) -> list[Commit | Exception]:
        with heartbeat(self._live):
            match left:
                case [(EditSpec() as edit, attempt)]:
                    return [run_edit(edit, attempt, self._context)]
                case _:
                    trainings = [spec for spec, _ in left if isinstance(spec, JobSpec)]
                    return run_jobs(trainings, [attempt for _, attempt in left], self._context)

    def heartbeat(self) -> Heartbeat:
        """The state of the worker now; may be called from another thread."""
        since, first = self._pace
        made = (self._progress.iteration - first) if self._progress else 0
        elapsed = time.monotonic() - since
        rate = made / elapsed if elapsed > 0 else 0.0
        return Heartbeat(os.getpid(), self._attempt, time.monotonic() - self._alive_at, self._progress, rate)

    def stop(self) -> None:
        """Ask the present job to write its checkpoint and end; may be called from another thread."""
        self._stop.set()

    def _live(self) -> None:
        self._alive_at = time.monotonic()

    def _note(self, progress: Progress) -> None:
        self._live()
        if self._progress is None or progress.scale != self._progress.scale:
            self._pace = (time.monotonic(), progress.iteration)
        self._progress = progress


def _outcome(attempt: str, end: Commit | Exception, wall_s: float) -> Outcome:
    """The outcome of an attempt that ended in a commit, or in an exception."""
    where = f"{socket.gethostname()} process {os.getpid()}"
    if isinstance(end, Commit):
        anothers = end.attempt != attempt
        return Outcome(attempt, "committed", wall_s, where, metrics=end.result, anothers=anothers)
    if isinstance(end, Stopped):
        return Outcome(attempt, "stopped", wall_s, where)
    failure = classify(end)
    expected = isinstance(end, JobError) or failure is FailureClass.NUMERIC
    return Outcome(
        attempt,
        "failed",
        wall_s,
        where,
        failure=failure,
        message=redact(str(end) if expected else f"{type(end).__name__}: {end}"),
        traceback="" if expected else redact("".join(traceback.format_exception(end))),
        fingerprint=fingerprint(end),
        code=code_of(end),
        spoiled=isinstance(end, torch.AcceleratorError) or failure is FailureClass.HOST_OOM,
    )
