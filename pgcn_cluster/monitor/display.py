"""Displays of a run: a live view on a terminal, log lines elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pgcn_cluster.monitor.snapshot import SHOWN_LANES, Snapshot, lane_text, summary, view
from pgcn_jobs.common.clock import now
from pgcn_jobs.common.terminal_text import terminal_safe


class Display(Protocol):
    """Display of a run."""

    def line(self, text: str) -> None:
        """Print one event."""

    def show(self, snapshot: Snapshot) -> None:
        """Show the current state."""

    def close(self) -> None:
        """End the display."""


class LogLines:
    """Log lines without a terminal: events at once, and the state of the run every `every_s` seconds."""

    def __init__(self, console: Console, every_s: float = 30.0) -> None:
        self._console = console
        self._every_s = every_s
        self._shown_at = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line with the time."""
        self._console.print(f"{now()}  {terminal_safe(text)}", markup=False, highlight=False, soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Print the summary and each image in training, at most every `every_s` seconds."""
        if time.monotonic() - self._shown_at >= self._every_s:
            self._shown_at = time.monotonic()
            self.line(summary(snapshot))
            for lane in snapshot.lanes[:SHOWN_LANES]:
                self.line(f"  {lane_text(lane)}")

    def close(self) -> None:
        """No effect: lines stay."""


class Screen:
    """A live view: one line for each image in training, and a bar for the run; events scroll above."""

    def __init__(self, console: Console) -> None:
        self._live = Live(Text("starting"), console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def line(self, text: str) -> None:
        """Print above the live view."""
        self._live.console.print(terminal_safe(text), markup=False, highlight=False)

    def show(self, snapshot: Snapshot) -> None:
        """Update the live view."""
        self._live.update(view(snapshot))

    def close(self) -> None:
        """Remove the live view."""
        self._live.stop()


def display_for(console: Console) -> Display:
    """A live view if the console is a terminal, else log lines."""
    return Screen(console) if console.is_terminal else LogLines(console)
