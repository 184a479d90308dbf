"""`pgcn.run` without Ray, from its arguments to its exit code, with strikes planted where jobs run.

Jobs run in this process, or each worker in one of its own: the product's own pools. Nothing of it is replaced.
"""

from __future__ import annotations

import io
import multiprocessing
import sys
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import pytest
from rich.console import Console

import pgcn_jobs.common.clock
from pgcn_cluster import api
from pgcn_cluster.scheduler.local_machine import LocalMachine
from pgcn_cluster.scheduler.local_worker import PRELOADED, nothing
from pgcn_jobs.common.failures import JobError
from tests.cluster.running import TINY
from tests.faults.points import Strike, plant, plant_for_good

SIZE = {"max_size": 18, "iterations": 4}
BACKOFF_S = 0.1

_FORKS = multiprocessing.get_context("forkserver")


def run(
    images, out, *, workers: int = 1, strike: Strike | None = None, env=None, size=SIZE, silence_s=600.0,
    clock_offset_s=0, **options,
) -> tuple[int, str]:  # fmt: skip
    """A run over a batch: its exit code and output.

    With more than one worker, so many processes train, and `strike` is planted in them; else it is in this process.
    `clock_offset_s` sets this process's clock ahead, or behind where it is negative. `sizes` is what `--size` takes.
    """
    if workers > 1:
        _fork_server()
    machine = LocalMachine(
        workers,
        before=partial(plant_for_good, strike) if strike else nothing,
        oom_kills=lambda: int(strike is not None and strike.killed_for_memory),
    )
    said = io.StringIO()
    settings = {**TINY, **size, **options.pop("settings", {})}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        if clock_offset_s:
            monkeypatch.setattr(pgcn_jobs.common.clock, "time", OffsetClock(clock_offset_s))
        if strike and workers == 1:
            plant(strike, monkeypatch)
        try:
            ended = api.run(
                images, out, preset="draft", settings=settings, console=Console(file=said, soft_wrap=True),
                backend=machine, device="cpu", samples=1, size=options.pop("sizes", ("1x1",)), checkpoint_seconds=0.1,
                silence_timeout=silence_s, retry_wait=BACKOFF_S, **options,
            )  # fmt: skip
        except JobError as error:  # as the command line has it
            return 2, f"{said.getvalue()}{error}"
    return int(ended.code), said.getvalue()


@dataclass(frozen=True)
class OffsetClock:
    """The functions of `time` that the clock module uses, with another time of day. No other module is affected."""

    offset_s: int

    def time_ns(self) -> int:
        return time.time_ns() + self.offset_s * 1_000_000_000

    def gmtime(self, seconds: float | None = None) -> time.struct_time:
        return time.gmtime(self.time_ns() / 1e9 if seconds is None else seconds)

    def strftime(self, format: str, moment: time.struct_time) -> str:
        return time.strftime(format, moment)


@dataclass
class Child:
    """A command in a process of its own; its output is in a file, since it may be killed."""

    process: multiprocessing.process.BaseProcess
    log: Path
    began_at: float  # seconds since the epoch

    def wait(self, timeout: float = 60) -> tuple[int, str]:
        """Its exit code, minus the signal where one ended it, and output."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"the command took longer than {timeout} s:\n{self.log.read_text()}")
        code = self.process.exitcode
        assert code is not None
        return code, self.log.read_text()


def start(log: Path, images, out, *, strike: Strike | None = None, env=None, **options) -> Child:
    """The command in a process of its own, which trains too."""
    _fork_server()
    process = _FORKS.Process(target=_child, args=(log, images, out, strike, env, options))
    process.start()
    return Child(process, log, time.time())


def _child(log: Path, images, out, strike, env, options) -> None:
    log.touch()
    code, output = run(images, out, strike=strike, env=env, **options)
    log.write_text(output)
    sys.exit(code)


def _fork_server() -> None:
    """One for commands and workers, with all that they import: it is started at the first use, by whoever comes."""
    _FORKS.set_forkserver_preload(["tests.faults.command", *PRELOADED])
    forkserver.ensure_running()
