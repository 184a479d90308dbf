"""When a run gives up on a worker, and how a person stops a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True)
class Limits:
    """Seconds: without a sign of life, for one job, for a worker to start, and to wait for restart points."""

    silence_s: float = 600.0
    job_s: float = 24 * 3600.0
    startup_s: float = 1800.0
    grace_s: float = 60.0


class StopSignal:
    """Set by Ctrl-C or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Ask the run to stop."""
        self._event.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over SIGINT and SIGTERM inside this context. Ray takes them for itself when it starts: listen again."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def handle(number: int, frame: FrameType | None) -> None:
            self.set()
            signal.signal(number, signal.SIG_DFL)

        for number in before:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
