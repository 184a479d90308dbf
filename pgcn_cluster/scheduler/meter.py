"""The numbers of a run for a monitoring system."""

from __future__ import annotations

from typing import Literal, Protocol

Kind = Literal["pyramid", "edit"]


class Meter(Protocol):
    """Takes the numbers of a run while it happens."""

    def done(self, kind: Kind, seconds: float) -> None:
        """A job is done; it took `seconds`."""

    def failed(self, kind: Kind) -> None:
        """A job has failed for good."""

    def state(self, running: int, waiting: int) -> None:
        """Numbers of jobs on workers and in the queue, about once a second."""


class NoMeter:
    """The meter of a run without Ray, which nothing monitors."""

    def done(self, kind: Kind, seconds: float) -> None:
        """Pass over it."""

    def failed(self, kind: Kind) -> None:
        """Pass over it."""

    def state(self, running: int, waiting: int) -> None:
        """Pass over it."""
