"""Memory of the driver alone, for numbers of images that a run here would take hours for.

    python -m benchmarks.driver_memory              # 10,000 and 100,000 images, each in a process of its own

All that the driver holds is real: images found, manifest rows, the queue, tables and gallery from their records. Work
of the cluster is left out: no image is read, no job runs, and tasks write only the rows that the gallery reads.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

import pgcn_cluster.launch  # all that a driver imports
from benchmarks.noop import result_row
from benchmarks.scale_driver import forget_peak, peak_mb
from pgcn.settings import Settings, make_settings
from pgcn_cluster.gallery import build_gallery
from pgcn_cluster.gallery.build import PageSlice
from pgcn_cluster.gallery.build_record import Built, BuiltJob
from pgcn_cluster.monitor.display import display_for
from pgcn_cluster.scheduler.queue import Job, Queue
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_cluster.scheduler.worker import Outcome
from pgcn_cluster.tables.build import build_tables
from pgcn_cluster.tables.build_slice import BuiltSlice
from pgcn_cluster.tables.parquet_writer import PartWriter
from pgcn_cluster.tables.slices import RecordSlice
from pgcn_jobs.inputs.source import Source
from pgcn_jobs.run_folder.commit import new_attempt
from pgcn_jobs.run_folder.manifest import Entry, RunDefaults, add_to_manifest
from pgcn_jobs.run_folder.schemas import MANIFEST
from pgcn_jobs.spec import JobSpec, SamplePlan
from pgcn_jobs.storage.store import Store

PRESET = "draft"
NEED = Resources(cpus=1)


def main() -> None:
    """Print the driver's peak memory in each step of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000], metavar="N")
    asked = parser.parse_args().images
    if len(asked) > 1:
        for count in asked:
            subprocess.run([sys.executable, "-m", "benchmarks.driver_memory", "--images", str(count)], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Store(folder), asked[0])


def measure(store: Store, count: int) -> None:
    """The steps of one run in order."""
    say(f"{count:,} images: imports with Ray {ray.__version__} and {pgcn_cluster.launch.__name__}")
    ask = RunDefaults(PRESET, {}, 0, SamplePlan(), 10**8)
    queue, tracker = plan(store, count, ask)
    commits = Path(store.location) / "commits"
    commits.mkdir()
    forget_peak()
    while queue.waiting(NEED):
        (job,) = queue.next(NEED)
        queue.succeeded(job)
        tracker.committed(job, Outcome(new_attempt(), "committed", 0.1, ""))
        (commits / f"{job.spec.job_id}.json").write_bytes(b"{}")
    say("jobs")
    build_tables(store, partial_spread(lambda item: slice_of(store, item)))
    say("build tables")
    build_gallery(store, spread=partial_spread(pages_of))
    say("build gallery")


def plan(store: Store, count: int, ask: RunDefaults) -> tuple[Queue, Tracker]:
    """Images, their manifest rows and their jobs, all at once in memory."""
    settings = make_settings(PRESET)
    sources = [source(index) for index in range(count)]
    say("find images")
    entries = [entry(one, settings) for one in sources]
    jobs = [Job(row.spec(one, ask), row.image_id, 1.0, NEED) for one, row in zip(sources, entries, strict=True)]
    say("plan")
    add_to_manifest(store, entries, {})
    say("write manifest")
    return Queue(jobs), Tracker(store, display_for(Console(quiet=True)), jobs, 0, 0)


def source(index: int) -> Source:
    """An image as a listing finds it."""
    name = f"{index // 1000:03d}/{index:07d}.png"
    return Source(name, f"images/{name}", f"/home/somebody/data/images/{name}", 2000, f"{time.time_ns()}")


def entry(source: Source, settings: Settings) -> Entry:
    """Its row, as a task of the cluster gives it back: a copy with text of its own."""
    sha256 = hashlib.sha256(source.uri.encode()).hexdigest()
    row: dict[str, Any] = dict.fromkeys(MANIFEST.names)
    row |= {name: getattr(source, name) for name in ("image_id", "uri", "place", "version")}
    row |= {"size_bytes": 2000, "format": "PNG", "width": 28, "height": 24, "seed": 0}
    made = Entry(**row | {"sha256": sha256, "job_id": sha256[:20], "settings": settings.model_dump_json()})
    copied: Entry = pickle.loads(pickle.dumps(made))
    return copied


def partial_spread(task: Callable[[Any], Any]) -> Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]:
    """A parallel map that calls `task` in place of what it is given."""
    return lambda call, items: map(task, items)


def slice_of(store: Store, slice_: RecordSlice) -> BuiltSlice:
    """A slice with its manifest rows and results alone."""
    settings, samples = make_settings(PRESET), SamplePlan()
    rows = [
        result_row(JobSpec(job, "", "", names[0]["uri"], PRESET, settings, 0, samples), new_attempt()) | names[0]
        for job, names in slice_.jobs.items()
    ]
    built = BuiltSlice(slice_.number)
    for name, add in (("manifest", slice_.rows.cast(MANIFEST)), ("results", rows)):
        writer = PartWriter(store, name, slice_.number)
        writer.add_rows(add) if name == "results" else writer.add(add)
        writer.finish()
        built.parts |= writer.written
        built.rows[name] = writer.rows
    return built


def pages_of(slice_: PageSlice) -> list[BuiltJob]:
    """Pages that are not written."""
    jobs = slice_.rows["job_id"].to_pylist()
    return [BuiltJob(job, slice_.folder, Built(job, 200, 100), True) for job in jobs]


def say(step: str) -> None:
    """Print the peak since the last step."""
    print(f"  {step:60}{peak_mb():6.0f} MB", flush=True)
    forget_peak()


if __name__ == "__main__":
    main()
