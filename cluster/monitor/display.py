"""Where a run is shown: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cluster.monitor.snapshot import SHOWN_LANES, Snapshot, lane_text, summary, view
from jobs.common.clock import now
from jobs.common.terminal_text import terminal_safe


class Display(Protocol):
    """Where a run is shown."""

    def line(self, text: str) -> None:
        """Say one thing that happened."""

    def show(self, snapshot: Snapshot) -> None:
        """Show how things are now."""

    def close(self) -> None:
        """Nothing more will come."""


class LogLines:
    """Plain lines, for where there is no terminal: events as they come, and how things are every half minute."""

    def __init__(self, console: Console, every_s: float = 30.0) -> None:
        self._console = console
        self._every_s = every_s
        self._shown_at = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line with the time."""
        self._console.print(f"{now()}  {terminal_safe(text)}", markup=False, highlight=False, soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Print the summary and each image in training, where it is time."""
        if time.monotonic() - self._shown_at >= self._every_s:
            self._shown_at = time.monotonic()
            self.line(summary(snapshot))
            for lane in snapshot.lanes[:SHOWN_LANES]:
                self.line(f"  {lane_text(lane)}")

    def close(self) -> None:
        """Nothing to take back."""


class Screen:
    """A live view: one line for each image in training, and a bar for the run; events scroll above."""

    def __init__(self, console: Console) -> None:
        self._live = Live(Text("starting"), console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def line(self, text: str) -> None:
        """Print above the live view."""
        self._live.console.print(terminal_safe(text), markup=False, highlight=False)

    def show(self, snapshot: Snapshot) -> None:
        """Draw the view anew."""
        self._live.update(view(snapshot))

    def close(self) -> None:
        """Take the live view away."""
        self._live.stop()


def display_for(console: Console) -> Display:
    """A live view on a terminal, lines elsewhere."""
    return Screen(console) if console.is_terminal else LogLines(console)
