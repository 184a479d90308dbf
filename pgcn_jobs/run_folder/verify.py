"""Verification of a run's records: the manifest, commits with the artifacts that they name, and failures.

Tables are built from these records; `pgcn_cluster.maintenance.verify` compares them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from pgcn_jobs import layout
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Artifact, Commit, Failure, read_artifact, read_failure
from pgcn_jobs.run_folder.edit_manifest import FOLDER, EditEntry, read_edit_part
from pgcn_jobs.run_folder.manifest import Entry, read_part
from pgcn_jobs.storage.store import Store

T = TypeVar("T")


class Problem(BaseModel):
    """One fault of an object, as a sentence.

    `drop` is the object that a repair removes: its job then runs again. None if a rebuild of tables and gallery is the
    whole repair.
    """

    model_config = ConfigDict(frozen=True)

    sentence: str
    drop: str | None = None


@dataclass
class Records:
    """The valid records of a run, and the problems of the others."""

    entries: dict[str, Entry] = field(default_factory=dict)  # by image_id
    edits: dict[str, EditEntry] = field(default_factory=dict)  # by edit_id
    committed: set[str] = field(default_factory=set)  # jobs
    failures: dict[str, list[Failure]] = field(default_factory=dict)  # by job
    problems: list[Problem] = field(default_factory=list)

    @property
    def jobs(self) -> dict[str, str]:
        """The image or edit id of every requested job."""
        images = {entry.job_id: entry.image_id for entry in self.entries.values()}
        return images | {edit.job_id: edit.edit_id for edit in self.edits.values()}


def check_records(store: Store, *, quick: bool) -> Records:
    """Read every record of the run, and every artifact that a commit names.

    With `quick`, artifacts are not read: only their sizes in a listing are compared.
    """
    records = Records()
    _check_manifest(store, "manifest", read_part, records.entries, records)
    _check_manifest(store, FOLDER, read_edit_part, records.edits, records)
    _check_commits(store, records.jobs, records, quick=quick)
    _check_failures(store, records)
    return records


def _check_manifest(
    store: Store, folder: str, read: Callable[[Store, str], dict[str, T]], found: dict[str, T], records: Records
) -> None:
    pattern = layout.MANIFEST_PART if folder == "manifest" else layout.EDITS_PART
    for path in layout.matching(pattern, store.list(folder)):
        try:
            rows = read(store, path)
        except ConfigError:
            rows = None
        # A part's name ends in the hash of its content: a changed byte may leave it readable.
        if rows is None or not path.endswith(f"-{hashlib.sha256(store.get(path)).hexdigest()[:8]}.parquet"):
            what = "images" if folder == "manifest" else "edits"
            sentence = f"{path} is damaged: the {what} in it have to be asked for again."
            records.problems.append(Problem(sentence=sentence, drop=path))
        else:
            found |= rows


def _check_commits(store: Store, images: Mapping[str, str], records: Records, *, quick: bool) -> None:
    sizes = store.list("attempts")
    paths = layout.matching(layout.COMMIT, store.list("commits"))

    def faults(path: str) -> list[str]:
        return list(_commit_faults(store, path, images, sizes, quick=quick))

    for path, sentences in zip(paths, concurrent_map(faults, paths), strict=True):
        records.problems += [Problem(sentence=sentence, drop=path) for sentence in sentences]
        if not sentences:
            records.committed.add(layout.job_of_commit(path))


def _commit_faults(
    store: Store, path: str, images: Mapping[str, str], sizes: Mapping[str, int], *, quick: bool
) -> Iterator[str]:
    """Sentences about the faults of one commit and of its artifacts; none without a fault."""
    job = layout.job_of_commit(path)
    image = f" ({images[job]})" if job in images else ""
    try:
        commit = Commit.model_validate_json(store.get(path))
    except (FileNotFoundError, ValidationError):
        yield f"{path}{image} cannot be read as a commit."
        return
    if fault := _fault_of_commit(commit, job):
        yield f"{path}{image} {fault}."
        return
    for artifact in commit.artifacts:
        if fault := _fault_of_artifact(store, artifact, sizes.get(artifact.path), quick=quick):
            yield f"{artifact.path}{image} {fault}."


def _fault_of_commit(commit: Commit, job: str) -> str | None:
    """The fault of the commit filed under `job`, or None."""
    if commit.job_id != job:
        return f"is the commit of another job, {commit.job_id}"
    if (commit.result.get("job_id"), commit.result.get("attempt")) != (job, commit.attempt):
        return "holds the result of another attempt than the one it names"
    kind = schemas.kind_of(commit.result)
    try:
        schema = schemas.TABLES[kind.results]
        schemas.table([schemas.known_row(commit.result, schema)], schema)
    except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException):
        return f"holds a result that does not fit the {kind.results} table"
    folder = f"attempts/{job}/{commit.attempt}/"
    named = {artifact.path for artifact in commit.artifacts}
    for path in named:
        if not path.startswith(folder) or ".." in path.split("/"):
            return f"names {path}, which is not of its attempt"
    for name in (f"{kind.pictures}.parquet", "metrics.parquet"):  # without these, no tables can be built
        if folder + name not in named:
            return f"names no {name}"
    return None


def _fault_of_artifact(store: Store, artifact: Artifact, size: int | None, *, quick: bool) -> str | None:
    """The fault of one artifact, whose size in the listing is `size`; None without a fault."""
    if size is not None and size != artifact.size:
        return f"has {size} bytes, and its commit says {artifact.size}"
    if quick:
        return "is gone" if size is None else None
    for _ in range(2):  # a transfer error must not cost a training: the second read decides
        try:
            read_artifact(store, artifact)
        except FileNotFoundError:
            fault = "is gone"
        except ValueError:
            fault = "has other bytes than those that were committed"
        else:
            return None
    return fault


def _check_failures(store: Store, records: Records) -> None:
    paths = layout.matching(layout.FAILURE, store.list("failures"))
    for path, failure in zip(paths, concurrent_map(lambda path: read_failure(store, path), paths), strict=True):
        if failure is None:
            records.problems.append(Problem(sentence=f"{path} cannot be read as a failure.", drop=path))
        elif path != layout.failure_path(failure.job_id, failure.attempt):
            sentence = f"{path} is the failure of another attempt, {failure.job_id}/{failure.attempt}."
            records.problems.append(Problem(sentence=sentence, drop=path))
        else:
            records.failures.setdefault(failure.job_id, []).append(failure)
