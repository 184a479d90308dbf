"""The worker: an actor on a GPU, a share of one, or CPU cores, that does one job, or one stack of jobs, at a time.

The driver keeps all decisions: a worker tries each once, tells how it ended, and never raises.
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

import ray
import torch

from jobs.common.codes import Code
from jobs.common.failures import FailureClass, JobError, classify, code_of, fingerprint
from jobs.common.redact import redact
from jobs.edit_job import run_edit
from jobs.run_folder.commit import Commit, read_commit
from jobs.spec import EditSpec, JobSpec
from jobs.storage.store import Store
from jobs.training_job import ExecutionOptions, Stopped, clean_up, run_jobs
from pgcn.heartbeat import heartbeat
from pgcn.method import Progress


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended: "committed", "failed" or "stopped".

    `anothers`: the commit that stands is of another attempt, most likely another driver's.
    """

    attempt: str
    state: str
    wall_s: float
    where: str
    failure: FailureClass | None = None
    message: str = ""
    traceback: str = ""
    fingerprint: str = ""
    figures: Mapping[str, Any] | None = None
    code: Code | None = None
    anothers: bool = False
    spoiled: bool = False  # the process is not to be used again


@dataclass(frozen=True)
class Pulse:
    """Where a worker is. `silent_s` is the time since its last sign of life, `rate` in updates a second.

    `lease` is the first attempt of what it works on.
    """

    pid: int
    node: str
    lease: str | None
    silent_s: float
    progress: Progress | None
    rate: float


def kill_process(pid: int) -> None:
    """End a process of this machine that does not answer: for a task on its node."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Worker:
    """Runs jobs in one process. `threads` is torch's share of cores, `gpu_share` of one GPU's memory."""

    def __init__(self, store: Store, conditions: ExecutionOptions, threads: int, gpu_share: float) -> None:
        torch.set_num_threads(threads)
        if conditions.device.startswith("cuda") and gpu_share < 1:
            # Ray shares out GPUs by name only; torch has to be told what its share of memory is.
            torch.cuda.set_per_process_memory_fraction(gpu_share)
        self._store = store
        self._conditions = conditions
        self._stop = threading.Event()
        self._lease: str | None = None
        self._progress: Progress | None = None
        self._alive_at = time.monotonic()
        self._pace = (time.monotonic(), 0)

    def train(self, specs: list[JobSpec | EditSpec], attempts: list[str]) -> list[Outcome]:
        """Try some trainings side by side, or an edit; outcomes are in their order."""
        began = time.monotonic()
        where = f"{socket.gethostname()} process {os.getpid()}"
        self._lease, self._progress, self._alive_at = attempts[0], None, began
        self._pace = (began, 0)

        def outcome(attempt: str, end: Commit | Exception) -> Outcome:
            wall_s = round(time.monotonic() - began, 3)
            if isinstance(end, Commit):
                anothers = end.attempt != attempt
                return Outcome(attempt, "committed", wall_s, where, figures=end.result, anothers=anothers)
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
            self._lease = None
        return [outcome(attempt, ends[attempt]) for attempt in attempts]

    def _do(self, left: list[tuple[JobSpec | EditSpec, str]]) -> list[Commit | Exception]:
        stop = self._stop.is_set
        with heartbeat(self._live):
            match left:
                case [(EditSpec() as edit, attempt)]:
                    return [run_edit(edit, self._store, attempt, self._conditions, should_stop=stop)]
                case _:
                    return run_jobs(
                        [spec for spec, _ in left if isinstance(spec, JobSpec)],
                        self._store,
                        [attempt for _, attempt in left],
                        self._conditions,
                        on_progress=self._note,
                        should_stop=stop,
                    )

    @ray.method(concurrency_group="watch")
    def pulse(self) -> Pulse:
        """Where the worker is, now."""
        since, first = self._pace
        made = (self._progress.iteration - first) if self._progress else 0
        elapsed = time.monotonic() - since
        return Pulse(
            os.getpid(),
            ray.get_runtime_context().get_node_id(),
            self._lease,
            time.monotonic() - self._alive_at,
            self._progress,
            made / elapsed if elapsed > 0 else 0.0,
        )

    @ray.method(concurrency_group="watch")
    def stop(self) -> None:
        """Ask the job under way to write its restart point and end."""
        self._stop.set()

    def _live(self) -> None:
        self._alive_at = time.monotonic()

    def _note(self, progress: Progress) -> None:
        self._live()
        if self._progress is None or progress.scale != self._progress.scale:
            self._pace = (time.monotonic(), progress.iteration)
        self._progress = progress
