"""Time limits of workers, and the signal by which a person stops a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pgcn_cluster.interrupts import SIGNALS, leave


@dataclass(frozen=True)
class Limits:
    """Seconds: without a heartbeat of training, for one job, until a worker starts, and to wait for checkpoints.

    `backoff_s` is the wait before the first retry after a storage failure.
    """

    silence_s: float = 600.0
    job_s: float = 24 * 3600.0
    startup_s: float = 1800.0
    grace_s: float = 60.0
    backoff_s: float = 2.0


Handler = signal.Handlers | Callable[[int, FrameType | None], Any]


class StopSignal:
    """Set by Ctrl-C or SIGTERM. A second signal gets `second`, which ends the process unless said otherwise."""

    def __init__(self, second: Handler = leave) -> None:
        self._event = threading.Event()
        self._second = second

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Ask the run to stop."""
        self._event.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM in this context; not outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def handle(number: int, frame: FrameType | None) -> None:
            self.set()
            signal.signal(number, self._second)

        for number in before:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
