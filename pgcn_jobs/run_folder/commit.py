"""Commits and failures of jobs. The commit is the only record that a job is done.

An attempt writes its artifacts under its own name, once, and then one small object, `commits/<job>.json`, that
names the attempt, the size and sha256 of each artifact, and the result. Readers follow commits only, so they ignore
the artifacts of an attempt that ends before its commit. Two attempts of one job may both complete: both results are
valid, and the commit names one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from pgcn_jobs import layout
from pgcn_jobs.common.clock import attempt_timestamps
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.common.failures import FailureClass, class_called
from pgcn_jobs.common.redact import redact
from pgcn_jobs.run_folder.old_names import current_row
from pgcn_jobs.storage.store import Store


class Artifact(BaseModel):
    """One object of an attempt; `path` is relative to the run folder."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    sha256: str


class Commit(BaseModel):
    """Content of `commits/<job>.json`. `result` has columns of `schemas.RESULTS` or `EDITS`, under present names."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    attempt: str
    artifacts: tuple[Artifact, ...]
    result: Annotated[dict[str, Any], AfterValidator(current_row)]


class Failure(BaseModel):
    """Content of `failures/<job>/<attempt>.json`. `final`: no further attempt follows without --retry."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    attempt: str
    failure: Annotated[FailureClass | str, AfterValidator(class_called)]  # text: a class of another version
    code: str | None = None  # of `pgcn_jobs.common.failures.Code`; None in records of version 0.1
    final: bool
    message: str
    traceback: str = ""
    fingerprint: str = ""
    where: str = ""
    wall_s: float | None = None
    failed_at: str


def new_attempt() -> str:
    """A new attempt name: unique on all machines, and sorted after every attempt that this process has read."""
    return f"{attempt_timestamps.next()}{secrets.token_hex(3)}"


def publish(store: Store, job_id: str, attempt: str, files: Mapping[str, bytes], result: Mapping[str, Any]) -> Commit:
    """Write an attempt's artifacts, then commit it. Returns the job's valid commit, which may be another attempt's."""
    artifacts = []
    for name, data in files.items():
        path = layout.artifact_path(job_id, attempt, name)
        store.put(path, data)
        artifacts.append(Artifact(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
    commit = Commit(job_id=job_id, attempt=attempt, artifacts=tuple(artifacts), result=dict(result))
    if store.create(layout.commit_path(job_id), commit.model_dump_json(indent=1).encode()):
        return commit
    standing = read_commit(store, job_id)
    if standing is None:
        # The object at this path is no valid commit, and readers ignore it: this commit replaces it.
        store.put(layout.commit_path(job_id), commit.model_dump_json(indent=1).encode())
        return commit
    return standing


def read_commit(store: Store, job_id: str) -> Commit | None:
    """The job's commit, or None if it is missing or unreadable."""
    try:
        commit = Commit.model_validate_json(store.get(layout.commit_path(job_id)))
    except (FileNotFoundError, ValidationError):
        return None
    return commit if commit.job_id == job_id else None


def committed(store: Store) -> set[str]:
    """The jobs that have a commit, from one listing."""
    return {
        layout.job_of_commit(path)
        for path, size in store.list("commits").items()
        if layout.COMMIT.fullmatch(path) and size > 0
    }


def read_artifact(store: Store, artifact: Artifact) -> bytes:
    """An artifact's bytes. Raises `ValueError` if they differ from the committed size or hash."""
    data = store.get(artifact.path)
    if len(data) != artifact.size or hashlib.sha256(data).hexdigest() != artifact.sha256:
        raise ValueError(f"{artifact.path} is not what its commit says: it was damaged or changed after the commit")
    return data


def write_failure(store: Store, failure: Failure) -> None:
    """Write the record of one attempt's failure, without secrets or home paths."""
    failure = failure.model_copy(
        update={
            "message": redact(failure.message),
            "traceback": redact(failure.traceback),
            "where": redact(failure.where),
        }
    )
    store.put(layout.failure_path(failure.job_id, failure.attempt), failure.model_dump_json(indent=1).encode())


def read_failures(store: Store, jobs: Collection[str] | None = None) -> dict[str, list[Failure]]:
    """The readable failures of all jobs or of `jobs`, by job, in the order of their attempts."""
    listed = layout.matching(layout.FAILURE, store.list("failures"))
    return read_failures_at(store, [path for path in listed if jobs is None or path.split("/")[1] in jobs])


def read_failures_at(store: Store, paths: Iterable[str]) -> dict[str, list[Failure]]:
    """The readable failures of some records, by job, in the order of the paths."""
    failures: dict[str, list[Failure]] = {}
    for failure in concurrent_map(lambda path: read_failure(store, path), paths):
        if failure is not None:
            attempt_timestamps.observe(failure.attempt)
            failures.setdefault(failure.job_id, []).append(failure)
    return failures


def final_failures(failures: Mapping[str, list[Failure]]) -> dict[str, Failure]:
    """The last failure of each job that has no automatic retry left."""
    return {job: those[-1] for job, those in failures.items() if those[-1].final}


def remove_failures(store: Store, job_id: str) -> None:
    """Remove the failures of a job that stood for an image which could not be read."""
    store.delete(layout.matching(layout.FAILURE, store.list(f"failures/{job_id}")))


def read_failure(store: Store, path: str) -> Failure | None:
    """The failure in one object, or None if it is missing or unreadable."""
    try:
        return Failure.model_validate_json(store.get(path))
    except (FileNotFoundError, ValidationError):
        return None


def damaged(store: Store, jobs: Collection[str]) -> set[str]:
    """The jobs of `jobs` with an unreadable commit, or with artifacts that are missing or of another size."""
    sizes = store.list("attempts")

    def whole(job: str) -> bool:
        commit = read_commit(store, job)
        return commit is not None and all(sizes.get(a.path) == a.size for a in commit.artifacts)

    listed = list(jobs)
    return {job for job, good in zip(listed, concurrent_map(whole, listed), strict=True) if not good}


def withdraw(store: Store, jobs: Collection[str]) -> None:
    """Remove the commits of `jobs`, which are damaged, so that the jobs run again."""
    store.delete([layout.commit_path(job) for job in jobs])
