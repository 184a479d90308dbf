"""What nobody needs any more: attempts that another's commit has superseded, restart points of jobs that are done.

Nothing that a commit names is ever in it, and nothing of a job whose commit cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from jobs import layout
from jobs.common.concurrent_map import ahead
from jobs.run_folder.commit import Commit
from jobs.run_folder.newer_version import check_not_newer
from jobs.storage.store import Store

ATTEMPTS = "attempts that no commit names"
CHECKPOINTS = "restart points of committed jobs"
PREVIEWS = "previews of committed jobs"
TEMPORARIES = "unfinished files of killed writers"


@dataclass
class Garbage:
    """Objects that can go, by what they are: path → size. `left`: sentences about what was left alone."""

    found: dict[str, dict[str, int]] = field(
        default_factory=lambda: {ATTEMPTS: {}, CHECKPOINTS: {}, PREVIEWS: {}, TEMPORARIES: {}}
    )
    left: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """All of them."""
        return [path for objects in self.found.values() for path in objects]


def find_garbage(store: Store, older_than: timedelta, *, under_way: bool) -> Garbage:
    """What can go from a run; removes nothing.

    Ages are those of the storage's clock: the one of a driver or of this machine may be wrong. Attempts and unfinished
    files go when they are older than `older_than`. While the run is `under_way`, attempts of jobs without a commit stay
    however old they are, and so do unfinished files: somebody may be writing them.

    Files of other names than a run's own are no part of it. Raises `ConfigError` for a run that a newer version has
    written to: what its records say of these objects may not be known here.
    """
    check_not_newer(store)
    garbage = Garbage()
    before = (store.now() or datetime.now(UTC)) - older_than
    # Commits are read after what they may name was listed: a commit that comes in between is seen.
    listed = {folder: store.list(folder) for folder in ("attempts", "checkpoints", "previews")}
    filed = _read_commits(store)
    # A commit that lies under another job's name is believed by nobody, but what it names is kept.
    named = {artifact.path for commit in filed.values() if commit for artifact in commit.artifacts}
    commits = {job: commit for job, commit in filed.items() if commit and commit.job_id == job}
    unreadable = filed.keys() - commits.keys()

    for path, size in listed["attempts"].items():
        ours = layout.ARTIFACT.fullmatch(path)
        if ours is None:
            continue
        job, attempt = ours.groups()
        begun = _begun(attempt)
        if begun is None or path in named or job in unreadable:
            continue
        if job in commits and commits[job].attempt == attempt:
            continue
        if job in commits or not under_way:
            garbage.found[ATTEMPTS][path] = size
    garbage.found[ATTEMPTS] = _written_before(store, garbage.found[ATTEMPTS], before)
    for kind, folder, pattern in (
        (CHECKPOINTS, "checkpoints", layout.CHECKPOINT),
        (PREVIEWS, "previews", layout.PREVIEW),
    ):
        for path, size in listed[folder].items():
            ours = pattern.fullmatch(path)
            if ours is not None and ours[1] in commits and path not in named:
                garbage.found[kind][path] = size
    if not under_way:
        garbage.found[TEMPORARIES] = _written_before(store, store.temporaries(), before)

    garbage.left = [f"job {job} is left alone: its commit cannot be read" for job in sorted(unreadable)]
    if under_way:
        garbage.left.append("the run is under way: attempts of jobs without a commit are left alone")
    return garbage


def _read_commits(store: Store) -> Mapping[str, Commit | None]:
    """What lies under `commits/`, by the job that it is filed under; None where it cannot be read."""

    def read(path: str) -> Commit | None:
        try:
            return Commit.model_validate_json(store.get(path))
        except (FileNotFoundError, ValidationError):
            return None

    paths = layout.matching(layout.COMMIT, store.list("commits"))
    jobs = [layout.job_of_commit(path) for path in paths]
    return dict(zip(jobs, ahead(read, paths), strict=True))


def _begun(attempt: str) -> datetime | None:
    """When an attempt was begun, which its name starts with; None for a name that is not ours."""
    try:
        return datetime.strptime(attempt.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _written_before(store: Store, sizes: Mapping[str, int], before: datetime) -> dict[str, int]:
    """Those objects that the storage has had since before a moment, by its own clock; none of which it is not known."""
    times = zip(sizes, ahead(store.modified, sizes), strict=True)
    return {path: sizes[path] for path, moment in times if moment is not None and moment < before}
