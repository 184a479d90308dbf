"""`pgcn run` as a Python call."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pgcn_cluster.exit import Exit
from pgcn_cluster.launch import run as launch
from pgcn_cluster.planning.options import checked_request
from pgcn_cluster.scheduler.stopping import StopSignal
from pgcn_cluster.scheduler.worker_pool import Backend
from pgcn_jobs.storage.store import Store


@dataclass(frozen=True)
class RunResult:
    """The end of a run. `out` is its folder or URL; `code` the exit code that the command would have."""

    out: str
    code: Exit

    @property
    def ok(self) -> bool:
        """True where all images are done."""
        return self.code is Exit.DONE

    def results(self) -> list[dict[str, Any]]:
        """Rows of the table of results, one for each trained image; empty where it was not built."""
        rows = Store(self.out).read_parquet("tables/results", lambda data: data.to_table().to_pylist())
        return rows or []


def run(
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    local: bool = True,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    console: Console | None = None,
    backend: Backend | None = None,
    **options: Any,
) -> RunResult:
    """Train one generative model per image, draw samples, and build tables and a gallery in `out`.

    `local` runs on this machine without Ray, in this process (`workers=1`): in a notebook and under a debugger too.
    `workers=4` takes so many processes; a script then needs `if __name__ == "__main__":`. `settings` is what `--set`
    takes, and `options` are other options of `pgcn run` with `_` for `-`: `samples=2, size=("2x1",), task="superres"`.
    `backend` is a backend in place of the one that `local` names.

    An interrupt (Ctrl-C, or a notebook's stop button) lets jobs write checkpoints; the same call goes on from them.
    Raises `JobError` or `SettingsError` for a call that cannot be run.
    """
    listed = [images] if isinstance(images, str | Path) else list(images)
    if local and backend is None:
        options.setdefault("workers", 1)
    given = {"out": str(out), "local": local, "preset": preset, **options}
    request = checked_request([str(each) for each in listed], dict(settings or {}), given)
    # A second interrupt raises KeyboardInterrupt: it must not end a notebook's process.
    stop = StopSignal(second=signal.default_int_handler)
    return RunResult(request.out, launch(request, console or Console(), stop, backend))
