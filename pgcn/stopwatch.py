"""Clocks for measurements of speed."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Clock = Callable[[], float]
"""Seconds since some moment."""


def clock_for(device: str, threads: int) -> Clock:
    """CPU time of the present thread, which other load does not change; time for a GPU, or several threads."""
    return time.thread_time if torch.device(device).type == "cpu" and threads == 1 else time.perf_counter
