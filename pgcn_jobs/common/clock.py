"""UTC timestamps of a run's records, and timestamps for names that sort in the order in which they were issued."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta

_TIMESTAMP = re.compile(r"\d{8}T\d{6}-\d{3}")
_EPOCH = datetime.fromtimestamp(0, UTC)
_LAST_MS = 253_402_300_799_000
"""The end of the year 9999, in milliseconds since 1970: the last moment that a name can hold."""


def now() -> str:
    """The current time, ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Timestamps:
    """Issues timestamps for names, each greater than every one that it issued or observed before.

    Clocks of machines differ, and are sometimes set back. The order of names therefore does not depend on the clock
    alone: code that reads the names of other processes passes them to `observe`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0  # milliseconds since 1970

    def observe(self, name: str) -> None:
        """Issue only timestamps greater than the first one in `name` from now on; no effect where it has none."""
        found = _TIMESTAMP.search(name)
        if found is None:
            return
        try:
            moment = datetime.strptime(f"{found[0]}000", "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC)
        except ValueError:
            return  # digits that are no valid time: not a name of ours
        with self._lock:
            self._last = max(self._last, (moment - _EPOCH) // timedelta(milliseconds=1))

    def next(self) -> str:
        """The current time to the millisecond, or one millisecond after the greatest timestamp if that is later."""
        with self._lock:
            self._last = min(max(time.time_ns() // 1_000_000, self._last + 1), _LAST_MS)
            seconds, thousandths = divmod(self._last, 1000)
        return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}-{thousandths:03d}"


attempt_timestamps = Timestamps()
"""The timestamps of this process's attempts."""
