"""The gatherer: builds `tables/` from the manifest, commits and failures, at any moment of a run.

Tables are what the records say, in the manifest's order, in parts of bounded size: two gathers of the same
records write the same bytes, and a table can be deleted and built again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from jobs import schemas
from jobs.ahead import ahead
from jobs.commit import Commit, Failure, committed, read_artifact, read_commit, read_failures
from jobs.manifest import Entry, read_manifest
from jobs.store import Store

PART_BYTES = 64 * 1024**2
PART_ROWS = 100_000
ROWS_TOGETHER = 1000
BUILT = "tables/built.json"


class PartWriter:
    """Writes one table as `part-00000.parquet`, `part-00001.parquet`, …, each whole, each of bounded size."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._schema = schemas.TABLES[name]
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._pending = (0, 0)  # rows and bytes of `_tables`
        self._written: list[str] = []
        self.rows = 0

    def add(self, data: pa.Table) -> None:
        """Add rows; a part is written when enough have come."""
        self._tables.append(data)
        self._pending = self._pending[0] + data.num_rows, self._pending[1] + data.nbytes
        self.rows += data.num_rows
        if self._pending[0] >= PART_ROWS or self._pending[1] >= PART_BYTES:
            self._write()

    def add_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows given as mappings, kept together until they make a table worth having."""
        self._rows += rows
        if len(self._rows) >= ROWS_TOGETHER:
            self._make_table()

    def finish(self) -> None:
        """Write what is left (an empty part where there is nothing: the columns are there), remove what is stale."""
        self._make_table()
        if self._pending[0] or not self._written:
            self._write()
        existing = self._store.list(f"tables/{self._name}")
        self._store.delete([path for path in existing if path not in self._written])

    def _make_table(self) -> None:
        rows, self._rows = self._rows, []
        self.add(schemas.table(rows, self._schema))

    def _write(self) -> None:
        data = pa.concat_tables([self._schema.empty_table(), *self._tables])
        path = f"tables/{self._name}/part-{len(self._written):05d}.parquet"
        self._store.put(path, schemas.parquet_bytes(data))
        self._written.append(path)
        self._tables, self._pending = [], (0, 0)


@dataclass
class Gathered:
    """What a gather found: rows by table, and sentences about records that could not be believed."""

    rows: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def gather(store: Store) -> Gathered:
    """Build all tables. Holds the manifest and the failures, and otherwise one part and a few jobs in memory.

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
