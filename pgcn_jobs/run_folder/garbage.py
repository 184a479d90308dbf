"""Garbage of a run: attempts superseded by another's commit, and checkpoints and previews of committed jobs.

It never has an object that a commit names, or an object of a job whose commit is unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from pgcn_jobs import layout
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.run_folder.commit import Commit
from pgcn_jobs.run_folder.newer_version import check_not_newer
from pgcn_jobs.storage.store import Store

ATTEMPTS = "attempts that no commit names"
CHECKPOINTS = "checkpoints of committed jobs"
PREVIEWS = "previews of committed jobs"
TEMPORARIES = "temporary files of killed writers"


@dataclass
class Garbage:
    """Removable objects by their kind: path → size. `left`: sentences on objects that stay."""

    found: dict[str, dict[str, int]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The paths of all removable objects."""
        return [path for objects in self.found.values() for path in objects]


@dataclass(frozen=True)
class Committed:
    """The commits of a run: by their jobs, the paths that they name, and jobs whose commit is unreadable."""

    commits: Mapping[str, Commit]
    named: Set[str]
    unreadable: Set[str]


def find_garbage(store: Store, older_than: timedelta, *, under_way: bool) -> Garbage:
    """The garbage of a run; removes nothing.

    Ages are by the storage's clock: the clock of a driver or of this machine may be wrong. Attempts and temporary
    files are garbage when they are older than `older_than`. While the run is `under_way`, attempts of jobs without a
    commit stay however old they are, and so do temporary files: a worker may be writing them.

    Files with other names than a run's own are never garbage. Raises `ConfigError` for a run with records of a newer
    version, whose meaning is unknown here.
    """
    check_not_newer(store)
    before = (store.now() or datetime.now(UTC)) - older_than
    # Commits are read after the listing of the objects that they may name, so that no commit in between is missed.
    attempts, checkpoints, previews = (store.list(folder) for folder in ("attempts", "checkpoints", "previews"))
    committed = _read_committed(store)
    superseded = _superseded(attempts, committed, under_way=under_way)
    left = [f"job {job}: its commit cannot be read" for job in sorted(committed.unreadable)]
    if under_way:
        left.append("attempts of jobs without a commit: the run is under way")
    found = {
        ATTEMPTS: _written_before(store, superseded, before),
        CHECKPOINTS: _of_committed_jobs(checkpoints, layout.CHECKPOINT, committed),
        PREVIEWS: _of_committed_jobs(previews, layout.PREVIEW, committed),
        TEMPORARIES: {} if under_way else _written_before(store, store.temporaries(), before),
    }
    return Garbage(found, left)


def _read_committed(store: Store) -> Committed:
    filed = _read_commits(store)
    # A commit under another job's name is not valid, but the objects that it names are kept.
    named = {artifact.path for commit in filed.values() if commit for artifact in commit.artifacts}
    commits = {job: commit for job, commit in filed.items() if commit and commit.job_id == job}
    return Committed(commits, named, filed.keys() - commits.keys())


def _superseded(attempts: Mapping[str, int], committed: Committed, *, under_way: bool) -> dict[str, int]:
    """Objects of attempts that no commit names; while the run is `under_way`, of committed jobs only."""
    found = {}
    for path, size in attempts.items():
        ours = layout.ARTIFACT.fullmatch(path)
        if ours is None:
            continue
        job, attempt = ours.groups()
        if _begun(attempt) is None or path in committed.named or job in committed.unreadable:
            continue
        commit = committed.commits.get(job)
        if (commit is None and not under_way) or (commit is not None and commit.attempt != attempt):
            found[path] = size
    return found


def _of_committed_jobs(objects: Mapping[str, int], pattern: re.Pattern[str], committed: Committed) -> dict[str, int]:
    """Objects of this pattern that belong to committed jobs, and that no commit names."""
    matches = ((path, size, pattern.fullmatch(path)) for path, size in objects.items())
    return {
        path: size
        for path, size, ours in matches
        if ours is not None and ours[1] in committed.commits and path not in committed.named
    }


def _read_commits(store: Store) -> Mapping[str, Commit | None]:
    """The objects under `commits/`, by the job of their path; None for an unreadable one."""

    def read(path: str) -> Commit | None:
        try:
            return Commit.model_validate_json(store.get(path))
        except (FileNotFoundError, ValidationError):
            return None

    paths = layout.matching(layout.COMMIT, store.list("commits"))
    jobs = [layout.job_of_commit(path) for path in paths]
    return dict(zip(jobs, concurrent_map(read, paths), strict=True))


def _begun(attempt: str) -> datetime | None:
    """The moment when an attempt began, from its name; None for another name."""
    try:
        return datetime.strptime(attempt.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _written_before(store: Store, sizes: Mapping[str, int], before: datetime) -> dict[str, int]:
    """The objects modified before a moment, by the storage's clock; objects of unknown time are left out."""
    times = zip(sizes, concurrent_map(store.modified, sizes), strict=True)
    return {path: sizes[path] for path, moment in times if moment is not None and moment < before}
