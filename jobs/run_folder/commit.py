"""The commit: the one fact that a job is done.

An attempt writes its artifacts under its own name, once, and then one small object, `commits/<job>.json`, that
names the attempt, the size and sha256 of each artifact, and the result. Readers follow commits alone, so an
attempt that dies anywhere before leaves nothing that is believed. Two attempts of one job may both reach the
end: both are right, and the commit names one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from jobs import layout
from jobs.common.clock import stamps
from jobs.common.concurrent_map import ahead
from jobs.common.failures import FailureClass, class_called
from jobs.common.redact import redact
from jobs.storage.store import Store


class Artifact(BaseModel):
    """One object of an attempt: `path` is below the run."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    sha256: str


class Commit(BaseModel):
    """What `commits/<job>.json` holds. `result` has columns of `schemas.RESULTS`."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    attempt: str
    artifacts: tuple[Artifact, ...]
    result: dict[str, Any]


class Failure(BaseModel):
    """What `failures/<job>/<attempt>.json` holds. `final`: no attempt follows unless it is asked for."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    attempt: str
    failure: Annotated[FailureClass | str, AfterValidator(class_called)]  # text: a class of another version
    code: str | None = None  # of `jobs.common.failures.Code`; None in records of version 0.1
    final: bool
    message: str
    traceback: str = ""
    fingerprint: str = ""
    where: str = ""
    wall_s: float | None = None
    failed_at: str


def new_attempt() -> str:
    """A name for an attempt: sorts after every attempt that this process has read of, and is its own on any machine."""
    return f"{stamps.next()}{secrets.token_hex(3)}"


def publish(store: Store, job_id: str, attempt: str, files: Mapping[str, bytes], result: Mapping[str, Any]) -> Commit:
    """Write an attempt's artifacts, then commit it; returns the commit that stands, which may be another's."""
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
        # What stands there is no commit, so nobody reads it: ours takes its place.
        store.put(layout.commit_path(job_id), commit.model_dump_json(indent=1).encode())
        return commit
    return standing


def read_commit(store: Store, job_id: str) -> Commit | None:
    """The job's commit, or None where there is none that can be read as one."""
    try:
        commit = Commit.model_validate_json(store.get(layout.commit_path(job_id)))
    except (FileNotFoundError, ValidationError):
        return None
    return commit if commit.job_id == job_id else None


def committed(store: Store) -> set[str]:
    """Jobs that have a commit, by one listing."""
    return {
        layout.job_of_commit(path)
        for path, size in store.list("commits").items()
        if layout.COMMIT.fullmatch(path) and size > 0
    }


def read_artifact(store: Store, artifact: Artifact) -> bytes:
    """An artifact's bytes. Raises `ValueError` where they are not those that were committed."""
    data = store.get(artifact.path)
    if len(data) != artifact.size or hashlib.sha256(data).hexdigest() != artifact.sha256:
        raise ValueError(f"{artifact.path} is not what its commit says: it was damaged or changed after the commit")
    return data


def write_failure(store: Store, failure: Failure) -> None:
    """Keep one attempt's failure, without secrets or home paths."""
    failure = failure.model_copy(
        update={
            "message": redact(failure.message),
            "traceback": redact(failure.traceback),
            "where": redact(failure.where),
        }
    )
    store.put(layout.failure_path(failure.job_id, failure.attempt), failure.model_dump_json(indent=1).encode())


def read_failures(store: Store, jobs: Collection[str] | None = None) -> dict[str, list[Failure]]:
    """Failures that can be read, of all jobs or some, by job, in the order of their attempts."""
    listed = layout.matching(layout.FAILURE, store.list("failures"))
    paths = [path for path in listed if jobs is None or path.split("/")[1] in jobs]
    failures: dict[str, list[Failure]] = {}
    for failure in ahead(lambda path: read_failure(store, path), paths):
        if failure is not None:
            stamps.seen(failure.attempt)
            failures.setdefault(failure.job_id, []).append(failure)
    return failures


def final_failures(failures: Mapping[str, list[Failure]]) -> dict[str, Failure]:
    """The last failure of each job that will not be tried again by itself."""
    return {job: those[-1] for job, those in failures.items() if those[-1].final}


def read_failure(store: Store, path: str) -> Failure | None:
    """The failure in one object, or None where it cannot be read as one."""
    try:
        return Failure.model_validate_json(store.get(path))
    except (FileNotFoundError, ValidationError):
        return None


def damaged(store: Store, jobs: Collection[str]) -> set[str]:
    """Those of `jobs` whose commit cannot be read, or names artifacts that are gone or of another size."""
    sizes = store.list("attempts")

    def whole(job: str) -> bool:
        commit = read_commit(store, job)
        return commit is not None and all(sizes.get(a.path) == a.size for a in commit.artifacts)

    listed = list(jobs)
    return {job for job, good in zip(listed, ahead(whole, listed), strict=True) if not good}


def withdraw(store: Store, jobs: Collection[str]) -> None:
    """Remove the commits of damaged jobs, so that they run again."""
    store.delete([layout.commit_path(job) for job in jobs])
