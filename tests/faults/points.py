"""Fault points of a process and the faults at them; tests inject them into unmodified code.

A point is a moment of one operation. Half of an object is on the disk, under its temporary name, at the moments
called "within"; the product's own code then goes on, where the strike lets it.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import pgcn_cluster.scheduler.worker
import pgcn_jobs.inputs.loading
import pgcn_jobs.run_folder.plan_source
import pgcn_jobs.storage.local_folder
import pgcn_jobs.storage.store
from pgcn_jobs.storage.store import Store

COMMIT = r"commits/[0-9a-f]+\.json"

# name → operation, pattern of the object's path below the run, moment
POINTS = {
    "images are examined": ("look", "", "after"),
    "the manifest is written": ("put", r"manifest/", "within"),
    "the manifest of edits is written": ("put", r"manifest_edits/", "within"),
    "a refusal is written": ("put", r"failures/", "within"),
    "an image is read": ("read", "", "after"),
    "mid-scale": ("update", "", "after"),
    "a checkpoint is written": ("put", r"checkpoints/", "within"),
    "after a checkpoint": ("put", r"checkpoints/", "after"),
    "a preview is written": ("put", r"previews/", "within"),
    "before the artifacts": ("put", r"attempts/.*samples\.parquet", "before"),
    "between the artifacts": ("put", r"attempts/.*metrics\.parquet", "within"),
    "before an edit's artifacts": ("put", r"attempts/.*pictures\.parquet", "before"),
    "between an edit's artifacts": ("put", r"attempts/.*pictures\.parquet", "after"),
    "after samples, before commit": ("create", COMMIT, "before"),
    "during the commit": ("create", COMMIT, "within"),
    "after the commit": ("create", COMMIT, "after"),
    "tables are built": ("put", r"tables/results/", "within"),
    "between tables": ("put", r"tables/metrics/", "after"),
    "the gallery is built": ("put", r"gallery/index\.html", "within"),
    "before the last write": ("put", r"tables/built\.json", "before"),
}


class PowerCut(BaseException):
    """Ends a command within this process as a crash does: no handler of the product takes it for a failure."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(make: Callable[[], BaseException]) -> Callable[[], None]:
    def act() -> None:
        raise make()

    return act


ACTS: dict[str, Callable[[], None]] = {
    "SIGKILL": _kill,
    "killed for memory": _kill,
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "hangs": lambda: time.sleep(600),
    "power cut": _raise(PowerCut),
    "full disk": _raise(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    "CUDA out of memory": _raise(lambda: torch.OutOfMemoryError("CUDA out of memory. (simulated)")),
    "CUDA error": _raise(lambda: torch.AcceleratorError("CUDA error: an illegal memory access. (simulated)")),
    "out of memory": _raise(MemoryError),
    "a bug": _raise(lambda: ZeroDivisionError("planted")),
}


@dataclass(frozen=True)
class Strike:
    """`act` at `point`, the `nth` time (from 1) that a process comes there.

    Not `lasting`: once, in all processes that share the file `flag`, which is there when it has struck. Lasting:
    from then on at every write of any object, as a disk that is full stays so.
    """

    act: str
    point: str
    flag: Path
    nth: int = 1
    lasting: bool = False

    @property
    def struck(self) -> bool:
        return self.flag.exists()

    @property
    def killed_for_memory(self) -> bool:
        """As the kernel's counter has it: no test can make it kill."""
        return self.act == "killed for memory" and self.struck

    @property
    def at(self) -> float:
        """Time of the fault, in seconds since the epoch."""
        return self.flag.stat().st_mtime


@dataclass
class _Planted:
    strike: Strike
    seen: int = 0
    kind: tuple[str, str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.kind = POINTS[self.strike.point]

    def reached(self, operation: str, path: str, moment: str) -> None:
        """Strike, if this is the place and the time."""
        kind, pattern, when = self.kind
        writes = {"put", "create"}
        if self.strike.lasting and self.strike.struck and operation in writes and moment == "within":
            ACTS[self.strike.act]()
        if (kind, when) != (operation, moment) or not re.match(pattern, path):
            return
        self.seen += 1
        if self.seen < self.strike.nth:
            return
        try:
            self.strike.flag.open("x").close()
        except FileExistsError:
            return
        ACTS[self.strike.act]()


def plant(strike: Strike, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a strike into this process, until `monkeypatch` takes it out."""
    planted = _Planted(strike)
    _around_writes(planted, monkeypatch)
    _halfway(planted, monkeypatch)
    for module, operation in ((pgcn_jobs.run_folder.plan_source, "look"), (pgcn_jobs.inputs.loading, "read")):
        _after(module, "read_source", operation, planted, monkeypatch)
    note = pgcn_cluster.scheduler.worker.Worker._note

    def noted(self, progress) -> None:
        note(self, progress)
        if progress.scale == 1 and not progress.scale_finished:
            planted.reached("update", "", "after")

    monkeypatch.setattr(pgcn_cluster.scheduler.worker.Worker, "_note", noted)


def plant_for_good(strike: Strike) -> None:
    """Put a strike into a process that is nobody else's."""
    plant(strike, pytest.MonkeyPatch())


def _after(module, name: str, operation: str, planted: _Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = getattr(module, name)

    def call(*args, **kwargs):
        result = plain(*args, **kwargs)
        planted.reached(operation, "", "after")
        return result

    monkeypatch.setattr(module, name, call)


def _around_writes(planted: _Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    for operation in ("put", "create"):
        plain = getattr(Store, operation)

        def call(self, path, data, plain=plain, operation=operation):
            planted.reached(operation, path, "before")
            result = plain(self, path, data)
            planted.reached(operation, path, "after")
            return result

        monkeypatch.setattr(Store, operation, call)


def _halfway(planted: _Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk holds half of an object when it is to be made sure of."""
    writing = threading.local()  # objects are written by several threads at once
    for operation, name in (("put", "put"), ("create", "claim")):
        plain = getattr(pgcn_jobs.storage.local_folder.LocalFolder, name)

        def call(self, path, data, plain=plain, operation=operation):
            writing.now = operation, path, data
            try:
                return plain(self, path, data)
            finally:
                writing.now = None

        monkeypatch.setattr(pgcn_jobs.storage.local_folder.LocalFolder, name, call)

    sync = os.fsync

    def half(descriptor: int) -> None:
        if now := getattr(writing, "now", None):
            operation, path, data = now
            os.ftruncate(descriptor, len(data) // 2)
            planted.reached(operation, path, "within")
            os.pwrite(descriptor, data, 0)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", half)
