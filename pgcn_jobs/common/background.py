"""Calls in the background of a loop that does other things meanwhile: a result is taken when it is there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, Protocol

from pgcn_jobs.common.concurrent_map import MAX_CONCURRENT_CALLS

Call = Callable[[], Any]


class Background(Protocol):
    """Calls under way, each with a key; a slow call delays no other one's result."""

    @property
    def open(self) -> bool:
        """True while there are results to be taken."""

    def begin(self, key: Hashable, call: Call) -> None:
        """Make a call. It has all that it needs, and can be pickled."""

    def results(self, seconds: float) -> list[tuple[Hashable, Any]]:
        """Results that have come, each with its key; waits for the first one for at most `seconds`.

        Raises what a call raised.
        """

    def close(self) -> None:
        """Begin no further call, and forget those under way."""


class _Ended(NamedTuple):
    key: Hashable
    result: Any
    error: BaseException | None


class ThreadBackground:
    """Calls in threads of this process. A call that hangs keeps no process from its end: threads are daemons."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Hashable, Call] | None] = SimpleQueue()
        self._ended: SimpleQueue[_Ended] = SimpleQueue()
        self._under_way = 0
        self._threads = 0

    @property
    def open(self) -> bool:
        """True while there are results to be taken."""
        return self._under_way > 0

    def begin(self, key: Hashable, call: Call) -> None:
        """Queue a call for the next free thread."""
        self._under_way += 1
        self._calls.put((key, call))
        if self._threads < min(self._under_way, MAX_CONCURRENT_CALLS):
            self._threads += 1
            Thread(target=self._serve, name="pgcn background", daemon=True).start()

    def results(self, seconds: float) -> list[tuple[Hashable, Any]]:
        """Results that have come; see `Background`."""
        found: list[tuple[Hashable, Any]] = []
        with contextlib.suppress(Empty):
            while self._under_way:
                ended = self._ended.get(timeout=0 if found else seconds)
                self._under_way -= 1
                if ended.error is not None:
                    raise ended.error
                found.append((ended.key, ended.result))
        return found

    def close(self) -> None:
        """Begin no further call, and let each thread end with its present one."""
        with contextlib.suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in range(self._threads):
            self._calls.put(None)
        self._under_way = self._threads = 0

    def _serve(self) -> None:
        while (begun := self._calls.get()) is not None:
            key, call = begun
            try:
                self._ended.put(_Ended(key, call(), None))
            except BaseException as error:  # raised again where results are taken
                self._ended.put(_Ended(key, None, error))
