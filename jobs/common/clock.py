"""Moments, UTC, as the run writes them."""

from __future__ import annotations

import time


def now() -> str:
    """This moment, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def stamp() -> str:
    """This moment for a name: names that begin with it sort by time, to the millisecond."""
    seconds, thousandths = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}-{thousandths:03d}"
