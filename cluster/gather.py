"""The gatherer: builds `tables/` from the manifest, commits and failures, at any moment of a run.

Tables are what the records say, in the manifest's order, in parts of bounded size: two gathers of the same
records write the same bytes, and a table can be deleted and built again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from jobs import schemas
from jobs.commit import Commit, Failure, committed, read_artifact, read_commit, read_failures
from jobs.manifest import Entry, read_manifest
from jobs.store import Store

PART_BYTES = 64 * 1024**2
PART_ROWS = 100_000
AHEAD = 16
"""Objects read at a time: storage answers slowly, and many at once."""

T = TypeVar("T")
R = TypeVar("R")


class PartWriter:
    """Writes one table as `part-00000.parquet`, `part-00001.parquet`, …, each whole, each of bounded size."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._schema = schemas.TABLES[name]
        self._pending: list[pa.Table] = []
        self._written: list[str] = []
        self.rows = 0

    def add(self, data: pa.Table) -> None:
        """Add rows; a part is written when enough have come."""
        self._pending.append(data)
        self.rows += data.num_rows
        if sum(t.nbytes for t in self._pending) >= PART_BYTES or sum(t.num_rows for t in self._pending) >= PART_ROWS:
            self._write()

    def add_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows given as mappings."""
        self.add(schemas.table(rows, self._schema))

    def finish(self) -> None:
        """Write what is left (an empty part where there is nothing: the columns are there), remove what is stale."""
        if self._pending or not self._written:
            self._write()
        existing = self._store.list(f"tables/{self._name}")
        self._store.delete([path for path in existing if path not in self._written])

    def _write(self) -> None:
        data = pa.concat_tables([self._schema.empty_table(), *self._pending])
        path = f"tables/{self._name}/part-{len(self._written):05d}.parquet"
        self._store.put(path, schemas.parquet_bytes(data))
        self._written.append(path)
        self._pending = []


@dataclass
class Gathered:
    """What a gather found: rows by table, and sentences about records that could not be believed."""

    rows: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def gather(store: Store) -> Gathered:
    """Build all tables. Holds the manifest, and otherwise one part and a few jobs in memory.

    A damaged record is left out and named in `problems`; its job counts as not done.
    """
    found = Gathered()
    entries = sorted(read_manifest(store).values(), key=lambda entry: entry.image_id)
    by_job: dict[str, list[Entry]] = {}
    for entry in entries:
        by_job.setdefault(entry.job_id, []).append(entry)
    failures = read_failures(store)
    done = committed(store)
    writers = {name: PartWriter(store, name) for name in schemas.TABLES}

    writers["manifest"].add_rows(asdict(entry) for entry in entries)
    read = [job for job in by_job if job in done]
    for job, (commit, tables) in zip(read, ahead(lambda job: _read_job(store, job), read), strict=True):
        if commit is None or tables is None:
            found.problems.append(f"job {job} ({by_job[job][0].image_id}): its commit or what it names is damaged")
            done.discard(job)
            continue
        _add_commit(writers, commit, tables, by_job[job])
    for job, images in by_job.items():
        for failure in failures.get(job, []):
            writers["attempts"].add_rows([_attempt_row(failure)])
            if job not in done:
                writers["failures"].add_rows(_failure_rows(failure, images))
    for name, writer in writers.items():
        writer.finish()
        found.rows[name] = writer.rows
    return found


def is_current(store: Store) -> bool:
    """Whether tables and gallery already show every image and every commit: by their counts."""
    tables = {name: store.parquet(f"tables/{name}") for name in ("manifest", "results")}
    if any(table is None for table in tables.values()) or not store.exists("gallery/index.html"):
        return False
    entries = read_manifest(store).values()
    done = committed(store)
    expected = {"manifest": len(entries), "results": sum(entry.job_id in done for entry in entries)}
    return all(table.count_rows() == expected[name] for name, table in tables.items() if table is not None)


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


def _add_commit(
    writers: dict[str, PartWriter], commit: Commit, tables: tuple[pa.Table, pa.Table], images: list[Entry]
) -> None:
    samples, metrics = tables
    writers["results"].add_rows({**commit.result, "image_id": entry.image_id, "uri": entry.uri} for entry in images)
    image_id = pa.array([images[0].image_id] * samples.num_rows, pa.string())
    writers["samples"].add(samples.add_column(0, "image_id", image_id).cast(schemas.TABLES["samples"]))
    writers["metrics"].add(metrics.cast(schemas.METRICS))
    writers["attempts"].add_rows(
        [
            {
                "job_id": commit.job_id,
                "attempt": commit.attempt,
                "state": "committed",
                "wall_s": commit.result.get("wall_s"),
                "ended_at": commit.result.get("committed_at"),
            }
        ]
    )


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


def ahead(call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`call` of each item, in order, with a few under way at a time: like `map`, for slow storage."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
