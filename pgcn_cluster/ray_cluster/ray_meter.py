"""Metrics of a run in Ray's own metrics: each machine of a cluster serves them to Prometheus."""

from __future__ import annotations

import time
from collections import deque

from ray.util.metrics import Counter, Gauge, Histogram

from pgcn_cluster.scheduler.meter import Kind

WINDOW_S = 600.0
"""Time over which images an hour are counted, s."""

_SECONDS = (1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800)
_TAGS = ("run", "kind")


class RayMeter:
    """The metrics of one run, which its driver exports; Ray puts `ray_` before their names.

    Every metric has the tag `run`, the run's URL. Metrics of single jobs also have `kind`: "pyramid" or "edit".
    """

    def __init__(self, run: str) -> None:
        self._done = Counter("pgcn_jobs_done", "Jobs done by this driver.", _TAGS)
        self._failed = Counter("pgcn_jobs_failed", "Jobs that failed for good.", _TAGS)
        self._seconds = Histogram("pgcn_job_seconds", "Seconds of a job that is done.", _SECONDS, _TAGS)
        self._running = Gauge("pgcn_jobs_running", "Jobs on workers.", ("run",))
        self._waiting = Gauge("pgcn_jobs_waiting", "Jobs that no worker has yet.", ("run",))
        self._pace = Gauge(
            "pgcn_images_per_hour", "Pyramids done in the last ten minutes, as a number an hour.", ("run",)
        )
        for metric in (self._done, self._failed, self._seconds, self._running, self._waiting, self._pace):
            metric.set_default_tags({"run": run})
        self._began_at = time.monotonic()
        self._done_at: deque[float] = deque()

    def done(self, kind: Kind, seconds: float) -> None:
        """See `Meter`."""
        self._done.inc(tags={"kind": kind})
        self._seconds.observe(max(seconds, 1e-3), tags={"kind": kind})
        if kind == "pyramid":
            self._done_at.append(time.monotonic())

    def failed(self, kind: Kind) -> None:
        """See `Meter`."""
        self._failed.inc(tags={"kind": kind})

    def state(self, running: int, waiting: int) -> None:
        """See `Meter`."""
        self._running.set(running)
        self._waiting.set(waiting)
        moment = time.monotonic()
        while self._done_at and self._done_at[0] < moment - WINDOW_S:
            self._done_at.popleft()
        window = min(WINDOW_S, moment - self._began_at)
        self._pace.set(3600 * len(self._done_at) / window if window else 0.0)
