"""Garbage of a run: attempts that no commit names, checkpoints and previews of committed jobs, temporary files.

Objects that a commit names are never garbage, and neither are objects of a job with an unreadable commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from jobs import layout
from jobs.common.concurrent_map import concurrent_map
from jobs.run_folder.commit import Commit
from jobs.run_folder.newer_version import check_not_newer
from jobs.storage.store import Store

ATTEMPTS = "attempts that no commit names"
CHECKPOINTS = "checkpoints of committed jobs"
PREVIEWS = "previews of committed jobs"
TEMPORARIES = "temporary files of killed writers"


@dataclass
class Garbage:
    """Removable objects by kind, path → size in bytes; `left` has sentences about objects that are kept."""

    found: dict[str, dict[str, int]] = field(
        default_factory=lambda: {ATTEMPTS: {}, CHECKPOINTS: {}, PREVIEWS: {}, TEMPORARIES: {}}
    )
    left: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The paths of all removable objects."""
        return [path for objects in self.found.values() for path in objects]


@dataclass(frozen=True)
class _CommitRecords:
    """The commits of a run: `valid` by job, every artifact that any readable commit names, and unreadable ones."""

    valid: dict[str, Commit]
    named: set[str]
    unreadable: set[str]


def find_garbage(store: Store, older_than: timedelta, *, under_way: bool) -> Garbage:
    """Lists the removable objects of a run; removes nothing.

    Ages are by the clock of the storage: the clock of a driver or of this machine may be wrong. Attempts and temporary
    files are removable when they are older than `older_than`. While the run is `under_way`, attempts of jobs without a
    commit and temporary files are kept at any age: a worker may be writing them.

    Files under other names than a run's own are never listed. Raises `ConfigError` for a run that a newer version has
    written to: this version may not know the meaning of its records.
    """
    check_not_newer(store)
    before = (store.now() or datetime.now(UTC)) - older_than
    # Commits are read after the listing of the objects that they may name, so a commit made in between is seen.
    listed = {folder: store.list(folder) for folder in ("attempts", "checkpoints", "previews")}
    commits = _read_commits(store)
    attempts = _orphaned_attempts(listed["attempts"], commits, under_way=under_way)

    garbage = Garbage()
    garbage.found[ATTEMPTS] = _written_before(store, attempts, before)
    garbage.found[CHECKPOINTS] = _of_committed_jobs(listed["checkpoints"], layout.CHECKPOINT, commits)
    garbage.found[PREVIEWS] = _of_committed_jobs(listed["previews"], layout.PREVIEW, commits)
    if not under_way:
        garbage.found[TEMPORARIES] = _written_before(store, store.temporaries(), before)
    garbage.left = list(_kept_sentences(commits.unreadable, under_way=under_way))
    return garbage


def _read_commits(store: Store) -> _CommitRecords:
    def read(path: str) -> Commit | None:
        try:
            return Commit.model_validate_json(store.get(path))
        except (FileNotFoundError, ValidationError):
            return None

    paths = layout.matching(layout.COMMIT, store.list("commits"))
    jobs = [layout.job_of_commit(path) for path in paths]
    filed = dict(zip(jobs, concurrent_map(read, paths), strict=True))
    valid = {job: commit for job, commit in filed.items() if commit and commit.job_id == job}
    # Readers ignore a commit under another job's name, but the artifacts that it names are kept.
    named = {artifact.path for commit in filed.values() if commit for artifact in commit.artifacts}
    return _CommitRecords(valid, named, filed.keys() - valid.keys())


def _orphaned_attempts(sizes: Mapping[str, int], commits: _CommitRecords, *, under_way: bool) -> dict[str, int]:
    """Artifacts of attempts that no commit names, of any age."""
    found = {}
    for path, size in sizes.items():
        artifact = layout.ARTIFACT.fullmatch(path)
        if artifact is None or path in commits.named:
            continue
        job, attempt = artifact.groups()
        if _start_time(attempt) is None or job in commits.unreadable:
            continue
        commit = commits.valid.get(job)
        if not under_way if commit is None else commit.attempt != attempt:
            found[path] = size
    return found


def _of_committed_jobs(sizes: Mapping[str, int], pattern: re.Pattern[str], commits: _CommitRecords) -> dict[str, int]:
    """The objects of one pattern, whose first group is the job, that belong to committed jobs."""
    matches = ((path, pattern.fullmatch(path)) for path in sizes if path not in commits.named)
    return {path: sizes[path] for path, match in matches if match is not None and match[1] in commits.valid}


def _kept_sentences(unreadable: Iterable[str], *, under_way: bool) -> Iterable[str]:
    for job in sorted(unreadable):
        yield f"job {job}: its commit cannot be read"
    if under_way:
        yield "attempts of jobs without a commit: the run is under way"


def _start_time(attempt: str) -> datetime | None:
    """The start time in an attempt's name; None for a name of another form."""
    try:
        return datetime.strptime(attempt.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _written_before(store: Store, sizes: Mapping[str, int], before: datetime) -> dict[str, int]:
    """The objects modified before a moment, by the storage's clock; objects of unknown time are left out."""
    times = zip(sizes, concurrent_map(store.modified, sizes), strict=True)
    return {path: sizes[path] for path, moment in times if moment is not None and moment < before}
