"""Builds the parts of one slice of the tables, in a task of its own: commits, artifacts and failures become rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pgcn_cluster.tables.parquet_writer import PartWriter
from pgcn_cluster.tables.slices import RecordSlice, RowNames
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Commit, Failure, read_artifact, read_commit, read_failures_at
from pgcn_jobs.storage.store import Store


@dataclass
class BuiltSlice:
    """Result of a slice: rows by table, sizes of the parts written, and jobs whose commit or artifacts are damaged."""

    number: str
    rows: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    damaged: list[tuple[str, str]] = field(default_factory=list)  # job, and the name of its request


def build_slice(store: Store, slice_: RecordSlice) -> BuiltSlice:
    """Read all records of a slice, and write its parts of all tables of its kind."""
    kind = slice_.kind
    names = (kind.manifest, kind.results, kind.pictures, *kind.more, "metrics", "attempts", "failures")
    writers = {name: PartWriter(store, name, slice_.number) for name in names}
    writers[kind.manifest].add(slice_.rows.cast(schemas.TABLES[kind.manifest]))
    done = _add_jobs(store, slice_, writers)
    _add_failures(store, slice_, done, writers)
    built = BuiltSlice(slice_.number)
    for name, writer in writers.items():
        writer.finish()
        built.rows[name] = writer.rows
        built.parts |= writer.written
    built.damaged = [
        (job, next(iter(slice_.jobs[job][0].values()))) for job in slice_.jobs if job in slice_.done - done
    ]
    return built


def _add_jobs(store: Store, slice_: RecordSlice, writers: Mapping[str, PartWriter]) -> set[str]:
    """Add the rows of all committed jobs, and return those that are not damaged."""
    kind = slice_.kind
    listed = [job for job in slice_.jobs if job in slice_.done]
    results: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    done = set()
    for job, read in zip(listed, concurrent_map(lambda job: _read_job(store, job, kind), listed), strict=True):
        rows = slice_.jobs[job]
        job_rows = None if read is None else _job_rows(read, kind, rows)
        if read is None or job_rows is None:
            continue
        result, tables = job_rows
        for name, data in tables.items():
            writers[name].add(data)
        results += [{**result, **names} for names in rows]
        attempts.append(_committed_row(read[0]))
        done.add(job)
    writers[kind.results].add_rows(results)
    writers["attempts"].add_rows(attempts)
    return done


def _add_failures(store: Store, slice_: RecordSlice, done: set[str], writers: Mapping[str, PartWriter]) -> None:
    """Add the failures of all jobs as attempts, and those of jobs that are not done as failures."""
    failures = [each for those in read_failures_at(store, slice_.failures).values() for each in those]
    failures = [failure for failure in failures if failure.job_id in slice_.jobs]
    writers["attempts"].add_rows([_attempt_row(failure) for failure in failures])
    lasting = [failure for failure in failures if failure.job_id not in done]
    writers["failures"].add_rows(
        [row for failure in lasting for row in _failure_rows(failure, slice_.jobs[failure.job_id])]
    )


def _read_job(store: Store, job: str, kind: schemas.Kind) -> tuple[Commit, dict[str, pa.Table]] | None:
    """A job's commit, and its tables by name; None if one of them is missing or damaged.

    Those of `kind.more` need not be there.
    """
    commit = read_commit(store, job)
    if commit is None or schemas.kind_of(commit.result) != kind:
        return None
    named = {artifact.path.rsplit("/", 1)[-1].removesuffix(".parquet"): artifact for artifact in commit.artifacts}
    wanted = (kind.pictures, "metrics", *(name for name in kind.more if name in named))
    try:
        return commit, {name: schemas.read_parquet(read_artifact(store, named[name])) for name in wanted}
    except (FileNotFoundError, KeyError, ValueError, pa.ArrowException):
        return None


def _job_rows(
    read: tuple[Commit, dict[str, pa.Table]], kind: schemas.Kind, rows: list[RowNames]
) -> tuple[dict[str, Any], dict[str, pa.Table]] | None:
    """A job's result, and the rows of its other tables by name; None if one does not fit its table."""
    commit, tables = read
    result = schemas.known_row(commit.result, schemas.TABLES[kind.results])
    try:
        schemas.table([result], schemas.TABLES[kind.results])
        found = {
            name: _named(data, schemas.TABLES[name], commit.result | rows[0])
            for name, data in tables.items()
            if name != "metrics"
        }
        found["metrics"] = schemas.known(tables["metrics"], schemas.METRICS).cast(schemas.METRICS)
    except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException):
        return None
    return result, found


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


def _failure_rows(failure: Failure, rows: list[RowNames]) -> list[dict[str, Any]]:
    told = failure.model_dump(mode="json", exclude={"wall_s"})
    return [{**told, **names} for names in rows]
