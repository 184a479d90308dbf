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
    images, out, *, workers: int = 1, strike: Strike | None = None, env=None, size=SIZE, silence_s=600.0, **options
) -> tuple[int, str]:
    """A run over a batch: its exit code and output.

    With more than one worker, so many processes train, and `strike` is planted in them; else it is in this process.
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
        if strike and workers == 1:
            plant(strike, monkeypatch)
        try:
            ended = api.run(
                images, out, preset="draft", settings=settings, console=Console(file=said, soft_wrap=True),
                backend=machine, device="cpu", samples=1, size=("1x1",), checkpoint_seconds=0.1,
                silence_timeout=silence_s, retry_wait=BACKOFF_S, **options,
            )  # fmt: skip
        except JobError as error:  # as the command line has it
            return 2, f"{said.getvalue()}{error}"
    return int(ended.code), said.getvalue()


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
