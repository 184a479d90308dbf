"""The gatherer: builds `tables/` from the manifest, commits and failures, at any moment of a run.

Tables are what the records say, in the manifest's order, in parts of bounded size: two gathers of the same
records write the same bytes, and a table can be deleted and built again. Samples and metrics, which are nearly all
of the bytes, go from the attempts to their parts in slices of some hundred jobs, wherever those are worked on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from cluster.parts import PartWriter, complete
from cluster.spread import Spread, here
from jobs import schemas
from jobs.ahead import ahead
from jobs.commit import Commit, Failure, committed, read_artifact, read_commit, read_failures
from jobs.manifest import Entry, read_manifest
from jobs.store import Store

SLICE = 250
"""Jobs of one slice. Part of the tables' layout: with another number, the same rows are in other parts."""

BUILT = "tables/built.json"


@dataclass(frozen=True)
class Slice:
    """Some jobs that follow each other in the manifest's order, each with its images: `image_id` and `uri`."""

    number: int
    jobs: dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Gathering:
    """What came of a slice: rows of the small tables, and parts written and rows in them of the large ones."""

    results: pa.Table
    attempts: pa.Table
    parts: dict[str, list[str]]
    rows: dict[str, int]
    damaged: list[str]


@dataclass
class Gathered:
    """What a gather found: rows by table, and sentences about records that could not be believed."""

    rows: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def gather(store: Store, spread: Spread = here) -> Gathered:
    """Build all tables. Holds the manifest, the failures and the small tables' next parts in memory.

    A damaged record is left out and named in `problems`; its job counts as not done.
    """
    found = Gathered()
    entries = sorted(read_manifest(store).values(), key=lambda entry: entry.image_id)
    by_job: dict[str, list[Entry]] = {}
    for entry in entries:
        by_job.setdefault(entry.job_id, []).append(entry)
    done = committed(store)
    failures = read_failures(store, by_job)
    writers = {name: PartWriter(store, name) for name in schemas.TABLES}

    writers["manifest"].add_rows(vars(entry) for entry in entries)
    for part in spread(partial(gather_slice, store), _slices(by_job, done)):
        writers["results"].add(part.results)
        writers["attempts"].add(part.attempts)
        for name, paths in part.parts.items():
            writers[name].adopt(paths, part.rows[name])
        for job in part.damaged:
            found.problems.append(f"job {job} ({by_job[job][0].image_id}): its commit or what it names is damaged")
            done.discard(job)
    for job, images in by_job.items():
        for failure in failures.get(job, []):
            writers["attempts"].add_rows([_attempt_row(failure)])
            if job not in done:
                writers["failures"].add_rows(_failure_rows(failure, images))
    for name, writer in writers.items():
        writer.finish()
        complete(store, name, writer.written)
        found.rows[name] = writer.rows
    return found


def _slices(by_job: dict[str, list[Entry]], done: set[str]) -> Iterator[Slice]:
    listed = [job for job in by_job if job in done]  # before any is found to be damaged
    for number, at in enumerate(range(0, len(listed), SLICE)):
        jobs = listed[at : at + SLICE]
        yield Slice(number, {job: [(entry.image_id, entry.uri) for entry in by_job[job]] for job in jobs})


def gather_slice(store: Store, slice_: Slice) -> Gathering:
    """Read some commits and what they name, and write their parts of samples and metrics."""
    writers = {name: PartWriter(store, name, slice_.number) for name in ("samples", "metrics")}
    results: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    damaged: list[str] = []
    read = ahead(lambda job: _read_job(store, job), slice_.jobs)
    for (job, images), (commit, tables) in zip(slice_.jobs.items(), read, strict=True):
        if commit is None or tables is None:
            damaged.append(job)
            continue
        samples, metrics = tables
        image_id = pa.array([images[0][0]] * samples.num_rows, pa.string())
        writers["samples"].add(samples.add_column(0, "image_id", image_id).cast(schemas.TABLES["samples"]))
        writers["metrics"].add(metrics.cast(schemas.METRICS))
        results += [{**commit.result, "image_id": name, "uri": uri} for name, uri in images]
        attempts.append(_committed_row(commit))
    for writer in writers.values():
        writer.finish()
    return Gathering(
        schemas.table(results, schemas.RESULTS),
        schemas.table(attempts, schemas.ATTEMPTS),
        {name: writer.written for name, writer in writers.items()},
        {name: writer.rows for name, writer in writers.items()},
        damaged,
    )


def is_current(store: Store, records: bytes) -> bool:
    """Whether tables and gallery show these `records`, as `records_now` gives them."""
    try:
        return store.get(BUILT) == records and store.exists("gallery/index.html")
    except FileNotFoundError:
        return False


def mark_current(store: Store, records: bytes) -> None:
    """Say that tables and gallery show these `records`."""
    store.put(BUILT, records)


def records_now(store: Store) -> bytes:
    """What tables are built from, as a fingerprint: names and sizes of every manifest part, commit and failure."""
    listed = {folder: store.list(folder) for folder in ("manifest", "commits", "failures")}
    return json.dumps({"records": hashlib.sha256(json.dumps(listed).encode()).hexdigest()}).encode()


def _read_job(store: Store, job: str) -> tuple[Commit | None, tuple[pa.Table, pa.Table] | None]:
    """A job's commit, and the samples and metrics it names; None for what is missing or damaged."""
    commit = read_commit(store, job)
    if commit is None:
        return None, None
    named = {artifact.path.rsplit("/", 1)[-1]: artifact for artifact in commit.artifacts}
    try:
        samples, metrics = (
            schemas.read_parquet(read_artifact(store, named[f"{name}.parquet"])) for name in ("samples", "metrics")
        )
    except (FileNotFoundError, KeyError, ValueError, pa.ArrowException):
        return commit, None
    return commit, (samples, metrics)


def _committed_row(commit: Commit) -> dict[str, Any]:
    return {
        "job_id": commit.job_id,
        "attempt": commit.attempt,
        "state": "committed",
        "wall_s": commit.result.get("wall_s"),
        "ended_at": commit.result.get("committed_at"),
    }


def _attempt_row(failure: Failure) -> dict[str, Any]:
    return {
        "job_id": failure.job_id,
        "attempt": failure.attempt,
        "state": "failed",
        "failure": failure.failure,
        "message": failure.message,
        "wall_s": failure.wall_s,
        "ended_at": failure.failed_at,
    }


def _failure_rows(failure: Failure, images: list[Entry]) -> list[dict[str, Any]]:
    row = failure.model_dump(mode="json", exclude={"wall_s"})
    return [{**row, "image_id": entry.image_id, "uri": entry.uri} for entry in images]
