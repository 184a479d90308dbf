"""The worker: an actor on a GPU, a share of one, or CPU cores, that does one job at a time.

The driver keeps all decisions: a worker tries a job once, tells how it ended, and never raises.
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

from jobs.commit import read_commit
from jobs.failures import FailureClass, JobError, classify, fingerprint
from jobs.privacy import scrub
from jobs.run import Conditions, Stopped, clean_up, run_job
from jobs.spec import JobSpec
from jobs.store import Store
from pgcn.train import Progress


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended: "committed", "failed" or "stopped"."""

    attempt: str
    state: str
    wall_s: float
    where: str
    failure: FailureClass | None = None
    message: str = ""
    traceback: str = ""
    fingerprint: str = ""
    figures: Mapping[str, Any] | None = None
    spoiled: bool = False  # the process is not to be used again


@dataclass(frozen=True)
class Pulse:
    """Where a worker is. `silent_s` is the time since its last sign of life, `rate` in updates a second."""

    pid: int
    node: str
    job_id: str | None
    silent_s: float
    progress: Progress | None
    rate: float


def slay(pid: int) -> None:
    """End a process of this machine that does not answer: for a task on its node."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Worker:
    """Runs jobs in one process. `threads` is torch's share of cores, `gpu_share` of one GPU's memory."""

    def __init__(self, store: Store, conditions: Conditions, threads: int, gpu_share: float) -> None:
        torch.set_num_threads(threads)
        if conditions.device.startswith("cuda") and gpu_share < 1:
            # Ray shares out GPUs by name only; torch has to be told what its share of memory is.
            torch.cuda.set_per_process_memory_fraction(gpu_share)
        self._store = store
        self._conditions = conditions
        self._stop = threading.Event()
        self._job: str | None = None
        self._progress: Progress | None = None
        self._alive_at = time.monotonic()
        self._pace = (time.monotonic(), 0)

    def train(self, spec: JobSpec, attempt: str) -> Outcome:
        """Try one job."""
        began = time.monotonic()
        where = f"{socket.gethostname()} process {os.getpid()}"
        self._job, self._progress, self._alive_at = spec.job_id, None, began
        self._pace = (began, 0)

        def ended(state: str, **more: Any) -> Outcome:
            return Outcome(attempt, state, round(time.monotonic() - began, 3), where, **more)

        try:
            # Another driver on this run, or an attempt that was thought lost, may have been here already.
            commit = read_commit(self._store, spec.job_id)
            if commit is not None:
                clean_up(self._store, spec.job_id)
            else:
                commit = run_job(
                    spec,
                    self._store,
                    attempt,
                    self._conditions,
                    on_progress=self._note,
                    on_alive=self._live,
                    should_stop=self._stop.is_set,
                )
            return ended("committed", figures=commit.result)
        except Stopped:
            return ended("stopped")
        except Exception as error:
            failure = classify(error)
            expected = isinstance(error, JobError) or failure is FailureClass.NUMERIC
            return ended(
                "failed",
                failure=failure,
                message=scrub(str(error) if expected else f"{type(error).__name__}: {error}"),
                traceback="" if expected else scrub(traceback.format_exc()),
                fingerprint=fingerprint(error),
                spoiled=isinstance(error, torch.AcceleratorError) or failure is FailureClass.HOST_OOM,
            )
        finally:
            self._job = None

    @ray.method(concurrency_group="watch")
    def pulse(self) -> Pulse:
        """Where the worker is, now."""
        since, first = self._pace
        made = (self._progress.iteration - first) if self._progress else 0
        elapsed = time.monotonic() - since
        return Pulse(
            os.getpid(),
            ray.get_runtime_context().get_node_id(),
            self._job,
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
