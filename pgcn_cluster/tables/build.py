"""Builds `tables/` from the manifests, commits and failures, at any moment of a run.

Tables hold the content of the records in the manifest's order, in parts of bounded size. Two builds from the same
records write the same bytes, so a table can be deleted and rebuilt. Images and metrics, which are nearly all of the
bytes, are copied from the attempts to their parts in slices of some hundred jobs, locally or as Ray tasks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from pgcn_cluster.ray_cluster.parallel_map import Spread, map_local
from pgcn_cluster.tables.parquet_writer import PartWriter, complete
from pgcn_jobs import layout
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Commit, Failure, committed, read_artifact, read_commit, read_failures
from pgcn_jobs.run_folder.edit_manifest import FOLDER as EDITS
from pgcn_jobs.run_folder.edit_manifest import EditEntry, read_edits
from pgcn_jobs.run_folder.hugging_face import write_card
from pgcn_jobs.run_folder.manifest import Entry, read_manifest
from pgcn_jobs.storage.store import Store

JOBS_PER_SLICE = 250
"""Jobs of one slice. It is part of the tables' layout: another number distributes the same rows to other parts."""


Row = Entry | EditEntry

RowNames = dict[str, str]
"""Identifying columns of a manifest row (`edit_id`, `image_id`, `uri`), which replace those of the job's result."""


@dataclass(frozen=True)
class RecordSlice:
    """Consecutive jobs of one kind in the order of their manifest, each with the rows that request it."""

    number: int
    kind: schemas.Kind
    jobs: dict[str, list[RowNames]]


@dataclass(frozen=True)
class BuiltSlice:
    """Result of a slice: rows of the small tables; parts written of the large tables, and numbers of rows in them."""

    kind: schemas.Kind
    results: pa.Table
    attempts: pa.Table
    parts: dict[str, list[str]]
    rows: dict[str, int]
    damaged: list[str]


@dataclass
class BuiltTables:
    """Result of a build: the number of rows of each table, and sentences about damaged records."""

    rows: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def build_tables(store: Store, spread: Spread = map_local) -> BuiltTables:
    """Build all tables. The manifest, the failures and the next parts of the small tables are in memory.

    A damaged record is left out and named in `problems`; its job counts as not done.
    """
    found = BuiltTables()
    entries = sorted(read_manifest(store).values(), key=lambda entry: entry.image_id)
    edits = sorted(read_edits(store).values(), key=lambda edit: edit.edit_id)
    asked = {schemas.TRAINING: _by_job(entries), schemas.EDIT: _by_job(edits)}
    by_job = asked[schemas.TRAINING] | asked[schemas.EDIT]
    done = committed(store)
    failures = read_failures(store, by_job)
    writers = {name: PartWriter(store, name) for name in schemas.TABLES}

    writers["manifest"].add_entries(entries)
    writers["manifest_edits"].add_entries(edits)
    for part in spread(partial(build_slice, store), _slices(asked, done)):
        writers[part.kind.results].add(part.results)
        writers["attempts"].add(part.attempts)
        for name, paths in part.parts.items():
            writers[name].adopt(paths, part.rows[name])
        for job in part.damaged:
            called = next(iter(_names(by_job[job][0]).values()))
            found.problems.append(f"job {job} ({called}): its commit or what it names is damaged")
            done.discard(job)
    for job, rows in by_job.items():
        for failure in failures.get(job, []):
            writers["attempts"].add_rows([_attempt_row(failure)])
            if job not in done:
                writers["failures"].add_rows(_failure_rows(failure, rows))
    for name, writer in writers.items():
        writer.finish()
        complete(store, name, writer.written)
        found.rows[name] = writer.rows
    write_card(store)
    return found


def _by_job(rows: Iterable[Row]) -> dict[str, list[Row]]:
    by_job: dict[str, list[Row]] = {}
    for row in rows:
        by_job.setdefault(row.job_id, []).append(row)
    return by_job


def _names(row: Row) -> RowNames:
    """The identifying columns of a manifest row, its own id first."""
    own = {"edit_id": row.edit_id} if isinstance(row, EditEntry) else {}
    return {**own, "image_id": row.image_id, "uri": row.uri}


def _slices(asked: dict[schemas.Kind, dict[str, list[Row]]], done: set[str]) -> Iterator[RecordSlice]:
    number = 0
    for kind, by_job in asked.items():
        listed = [job for job in by_job if job in done]  # including jobs that are found to be damaged later
        for at in range(0, len(listed), JOBS_PER_SLICE):
            jobs = listed[at : at + JOBS_PER_SLICE]
            yield RecordSlice(number, kind, {job: [_names(row) for row in by_job[job]] for job in jobs})
            number += 1


def build_slice(store: Store, slice_: RecordSlice) -> BuiltSlice:
    """Read the commits of a slice and their artifacts, and write its parts of images and metrics."""
    kind = slice_.kind
    writers = {name: PartWriter(store, name, slice_.number) for name in (kind.pictures, "metrics", *kind.more)}
    results: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    damaged: list[str] = []
    read = concurrent_map(lambda job: _read_job(store, job, kind), slice_.jobs)
    for (job, rows), (commit, tables) in zip(slice_.jobs.items(), read, strict=True):
        if commit is None or tables is None:
            damaged.append(job)
            continue
        result = schemas.known_row(commit.result, schemas.TABLES[kind.results])
        try:
            schemas.table([result], schemas.TABLES[kind.results])
            metrics = schemas.known(tables.pop("metrics"), schemas.METRICS).cast(schemas.METRICS)
            named = {name: _named(data, schemas.TABLES[name], commit.result | rows[0]) for name, data in tables.items()}
        except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException):
            damaged.append(job)
            continue
        for name, data in (named | {"metrics": metrics}).items():
            writers[name].add(data)
        results += [{**result, **names} for names in rows]
        attempts.append(_committed_row(commit))
    for writer in writers.values():
        writer.finish()
    return BuiltSlice(
        kind,
        schemas.table(results, schemas.TABLES[kind.results]),
        schemas.table(attempts, schemas.ATTEMPTS),
        {name: writer.written for name, writer in writers.items()},
        {name: writer.rows for name, writer in writers.items()},
        damaged,
    )


def _named(pictures: pa.Table, schema: pa.Schema, names: Mapping[str, Any]) -> pa.Table:
    """An attempt's images as rows of their table, which has the identifying columns of the job in front.

    Columns that an older version did not write are null.
    """
    pictures = schemas.known(pictures, schema)
    for name in schema.names:
        if name not in pictures.column_names:
            own = pa.array([names.get(name)] * pictures.num_rows, schema.field(name).type)
            pictures = pictures.append_column(name, own)
    return pictures.select(schema.names).cast(schema)


def is_current(store: Store, records: bytes) -> bool:
    """True if tables and gallery were built from these `records`, a fingerprint of `records_now`."""
    try:
        return store.get(layout.TABLES_BUILT) == records and store.exists("gallery/index.html")
    except FileNotFoundError:
        return False


def mark_current(store: Store, records: bytes) -> None:
    """Record that tables and gallery were built from these `records`."""
    store.put(layout.TABLES_BUILT, records)


def records_now(store: Store) -> bytes:
    """A fingerprint of the records that tables are built from: names and sizes of manifest parts, commits, failures."""
    listed = {
        folder: {path: size for path, size in store.list(folder).items() if layout.is_ours(path)}
        for folder in ("manifest", EDITS, "commits", "failures")
    }
    return json.dumps({"records": hashlib.sha256(json.dumps(listed).encode()).hexdigest()}).encode()


def _read_job(store: Store, job: str, kind: schemas.Kind) -> tuple[Commit | None, dict[str, pa.Table] | None]:
    """A job's commit, and its tables by name; None for each that is missing or damaged.

    Those of `kind.more` need not be there.
    """
    commit = read_commit(store, job)
    if commit is None or schemas.kind_of(commit.result) != kind:
        return None, None
    named = {artifact.path.rsplit("/", 1)[-1].removesuffix(".parquet"): artifact for artifact in commit.artifacts}
    wanted = [kind.pictures, "metrics", *(name for name in kind.more if name in named)]
    try:
        return commit, {name: schemas.read_parquet(read_artifact(store, named[name])) for name in wanted}
    except (FileNotFoundError, KeyError, ValueError, pa.ArrowException):
        return commit, None


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


def _failure_rows(failure: Failure, rows: list[Row]) -> list[dict[str, Any]]:
    told = failure.model_dump(mode="json", exclude={"wall_s"})
    return [{**told, **_names(row)} for row in rows]
