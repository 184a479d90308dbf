"""The context of a job: storage, execution options, and how it reports and is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pgcn.method import Progress
from pgcn_jobs.common.redact import redact
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.storage.store import Store


class Stopped(Exception):
    """The job was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class ExecutionOptions:
    """Options of where and how a job runs, which do not change its result.

    `device` is a device of torch; `checkpoint_seconds` the most time between checkpoints.
    """

    device: str = "cpu"
    checkpoint_seconds: float = 60.0
    max_pixels: int = 64_000_000


def _ignore(*_: object) -> None:
    """A job that nobody watches."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class JobContext:
    """Everything that a job gets besides its specification.

    `on_progress` is called after each iteration; long ones send heartbeats (`pgcn.heartbeat`). After `should_stop`
    returns True the job writes its checkpoint and raises `Stopped`.
    """

    store: Store
    options: ExecutionOptions = field(default_factory=ExecutionOptions)
    on_progress: Callable[[Progress], None] = _ignore
    should_stop: Callable[[], bool] = _never


class Log:
    """Lines with their time since the attempt began; they become its `log.txt`."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        """Add a line."""
        self._lines.append(f"{time.monotonic() - self._began:9.1f}s  {terminal_safe(redact(line))}")

    def bytes(self) -> bytes:
        """The whole log, UTF-8."""
        return ("\n".join(self._lines) + "\n").encode()
