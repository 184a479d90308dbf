"""One `pgcn run` with jobs that train nothing, in its own process; prints the cost of each step as a JSON line.

python -m benchmarks.scale_driver IMAGES RUN
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

import pgcn_cluster.gallery.publish
import pgcn_cluster.launch
import pgcn_cluster.planning.intake
from benchmarks.noop import NoOp
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.scheduler.stopping import StopSignal

STEPS: dict[str, tuple[Any, str]] = {
    "find images": (pgcn_cluster.launch, "prepare"),
    "write manifest": (pgcn_cluster.planning.intake, "add_to_manifest"),
    "look at images": (pgcn_cluster.launch, "_first_jobs"),
    "run jobs": (pgcn_cluster.launch, "_train"),
    "list commits": (pgcn_cluster.launch, "committed"),
    "check for changes": (pgcn_cluster.gallery.publish, "records_now"),
    "build tables": (pgcn_cluster.gallery.publish, "build_tables"),
    "build gallery": (pgcn_cluster.gallery.publish, "build_gallery"),
}
"""The steps of a run in order, each with the module and function that does it."""


@dataclass(frozen=True)
class Taken:
    """Cost of one step: wall seconds, CPU seconds of this process, and its peak memory, MB."""

    step: str
    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    """Run, and end with the run's own exit code."""
    images, out = sys.argv[1:]
    for step, (module, name) in STEPS.items():
        setattr(module, name, measured(step, getattr(module, name)))
    say(Taken("imports", since_start(), time.process_time(), peak_mb()))
    request = Request(images=[images], out=out, preset="draft", device="cpu", jobs_per_worker=10_000)
    code = pgcn_cluster.launch.run(request, Console(stderr=True), StopSignal(), Cluster(None, worker=NoOp))
    say(Taken("whole command", since_start(), time.process_time(), peak_mb()))
    sys.exit(int(code))


def since_start() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def measured(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, which also prints its cost."""

    def timed(*arguments: Any, **named: Any) -> Any:
        forget_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return call(*arguments, **named)
        finally:
            say(Taken(step, time.perf_counter() - wall, time.process_time() - cpu, peak_mb()))

    return timed


def say(taken: Taken) -> None:
    """Print one line for the parent process."""
    print(json.dumps(asdict(taken)), flush=True)


def forget_peak() -> None:
    """Reset the peak of memory (Linux; elsewhere it stays that of the whole process)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def peak_mb() -> float:
    """Peak resident memory since `forget_peak`, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
