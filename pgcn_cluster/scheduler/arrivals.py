"""Jobs that become known while others run: images are still being looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pgcn_cluster.scheduler.queue import Job


@dataclass(frozen=True)
class Arrived:
    """Some images looked at: the jobs of them, and the numbers of jobs done and failed before.

    `unseen` is the number of images that are left to be looked at. `said` has sentences for the user.
    """

    jobs: list[Job]
    done: int
    failed: int
    unseen: int
    said: tuple[str, ...] = ()


class Arrivals(Protocol):
    """A source of jobs for the driver."""

    @property
    def open(self) -> bool:
        """True while more jobs may come."""

    def take(self) -> Arrived | None:
        """News since the last call, without waiting; None without news."""
