"""The end of a command by Ctrl-C or SIGTERM: one sentence and exit code 130, at any moment of its process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from pgcn_cluster.exit import Exit

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SENTENCE = "Interrupted."

END_S = 10.0
"""Seconds for a command to end after its first signal; then the process ends, whatever it does."""

_SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """The effect of a signal on a `pgcn` process. Nothing changes in a process that has not called `handle`.

    A signal raises KeyboardInterrupt in the main thread, or, in the context `at_once`, ends the process. For the
    latter, the main thread blocks signals, and a thread waits for them: handlers of Python do not run while the main
    thread is in C or C++ code, and C++ code may replace them (Ray's does). Threads that are started meanwhile block
    signals, too.
    """

    def __init__(self) -> None:
        self._handling = False
        self._at_once = False
        self._received = False

    def handle(self) -> None:
        """Begin; the process is in the context `at_once` until the first call of `raise_from_now`."""
        if self._handling:
            return
        self._handling = True
        self.end_at_once_from_now()
        for number in SIGNALS:
            signal.signal(number, self._interrupted)
        os.register_at_fork(after_in_child=_unblock)
        threading.Thread(target=self._watch, daemon=True).start()

    def raise_from_now(self) -> None:
        """Raise KeyboardInterrupt at the first signal; the second one ends the process."""
        self._at_once = False
        _unblock()

    def end_at_once_from_now(self) -> None:
        """End the process at a signal, without any clean-up."""
        self._at_once = True
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """End the process at a signal in this context: for work that needs no clean-up, or that ends too late."""
        if not self._handling or self._at_once:
            yield
            return
        self.end_at_once_from_now()
        try:
            yield
        finally:
            self.raise_from_now()

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while True:
            number = signal.sigwait(SIGNALS)
            if self._at_once:
                leave()
            signal.pthread_kill(main, number)  # the main thread has just begun to accept signals

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        # Modules written in C turn an exception that is raised during their import into another one, or a crash.
        if self._at_once or self._received or _is_import(frame):
            leave()
        self._received = True
        with contextlib.suppress(RuntimeError):  # no thread can be started while the interpreter shuts down
            timer = threading.Timer(END_S, leave)
            timer.daemon = True
            timer.start()
        raise KeyboardInterrupt


INTERRUPTS = Interrupts()
"""Those of this process."""


def leave(*_: object) -> NoReturn:
    """End the process, from any thread and from any handler: this waits for no lock."""
    if os.isatty(1):
        os.write(1, _SHOW_CURSOR)  # a display of progress hides it
    with contextlib.suppress(OSError):
        os.write(2, f"{SENTENCE}\n".encode())
    os._exit(Exit.INTERRUPTED)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _is_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
