"""Progress and threads of a command on one image."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pgcn.heartbeat import heartbeat
from pgcn.method import Progress

EVERY = 10.0
"""Seconds from one line of progress to the next, where there is no bar."""


def use_threads(threads: int | None) -> None:
    """Let PyTorch use `threads` threads; by default one, or as many as OMP_NUM_THREADS says.

    Nets and images of this size gain little from more threads, which wait for each other beside other work.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    elif not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(1)


class Lines:
    """Lines of progress, the first one after ten seconds, then one every ten seconds."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._began = self._last = clock()

    def training(self, progress: Progress) -> None:
        """Say how much of a training is done, and how long the rest may take."""
        if (passed := self._due()) is not None:
            left = f", about {passed * (1 - progress.done) / progress.done:.0f} s left" if progress.done > 0 else ""
            self._say(f"training: {progress.done:.0%} after {passed:.0f} s{left}")

    def task(self, name: str) -> None:
        """Say how long a task has run."""
        if (passed := self._due()) is not None:
            self._say(f"{name}: running for {passed:.0f} s")

    def _due(self) -> float | None:
        """Seconds since the beginning, where a line is due."""
        now = self._clock()
        if now - self._last < EVERY:
            return None
        self._last = now
        return now - self._began


@contextmanager
def training_progress(console: Console, say: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
    """A callback for the progress of a training: a bar, or lines where the console is no terminal."""
    if not console.is_terminal:
        yield Lines(say).training
        return
    bar = Bar(TextColumn("training"), BarColumn(), TimeRemainingColumn(), console=console, transient=True)
    row = bar.add_task("training", total=1.0)

    def show(progress: Progress) -> None:
        bar.start()
        bar.update(row, completed=progress.done)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def task_progress(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Lines of progress while a task runs; each chain and each step of an exact scale may say one."""
    lines = Lines(say)
    with heartbeat(lambda: lines.task(name)):
        yield
