"""Moments, UTC, as the run writes them, and names that sort in the order in which they were given."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta

_STAMP = re.compile(r"\d{8}T\d{6}-\d{3}")
_EPOCH = datetime.fromtimestamp(0, UTC)
_LAST_MS = 253_402_300_799_000
"""The end of the year 9999, in milliseconds since 1970: the last moment that a name can hold."""


def now() -> str:
    """This moment, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Stamps:
    """Stamps for names, each greater than every stamp that was given or seen here before.

    Machines' clocks differ, and are set back now and then. A name that is to sort after others therefore does not
    depend on the clock alone: whoever reads those others says so with `seen`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0  # milliseconds since 1970

    def seen(self, name: str) -> None:
        """Give only greater stamps from now on than the first one in `name`, if it has one."""
        found = _STAMP.search(name)
        if found is None:
            return
        try:
            moment = datetime.strptime(f"{found[0]}000", "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC)
        except ValueError:
            return  # digits that are no moment: not a name of ours
        with self._lock:
            self._last = max(self._last, (moment - _EPOCH) // timedelta(milliseconds=1))

    def next(self) -> str:
        """This moment to the millisecond, or one millisecond after the greatest stamp where that is later."""
        with self._lock:
            self._last = min(max(time.time_ns() // 1_000_000, self._last + 1), _LAST_MS)
            seconds, thousandths = divmod(self._last, 1000)
        return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}-{thousandths:03d}"


stamps = Stamps()
"""The stamps of this process's attempts."""
