"""How a run stands, from its bucket alone."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ValidationError

from cluster.monitor.snapshot import Snapshot
from jobs.common.codes import Code
from jobs.common.failures import ConfigError
from jobs.layout import PROGRESS
from jobs.run_folder.commit import Failure, committed, final_failures, read_failures
from jobs.run_folder.edit_manifest import EditEntry, read_edits
from jobs.run_folder.identity import RunIdentity, read_identity
from jobs.run_folder.manifest import Entry, read_manifest
from jobs.storage.store import Store

STALE_S = 60.0
"""A run that has not written its progress for so long is not going on."""


class Status(BaseModel):
    """A run's state. Counts are of images in the manifest and edits: two of the same bytes count twice."""

    run: str
    preset: str
    created_at: str
    state: str  # "running", "complete", "incomplete"
    images: int
    edits: int
    done: int
    failed: int
    waiting: int
    failures: dict[str, int]
    progress: Snapshot | None


def require_run(store: Store) -> RunIdentity:
    """The run in this folder. Raises `ConfigError` where there is none."""
    identity = read_identity(store)
    if identity is None:
        raise ConfigError(
            f"There is no run in {store.url}: it has no run.json. Begin one with `pgcn run IMAGES --out`.",
            code=Code.RUN_MISSING,
        )
    return identity


def status(store: Store) -> Status:
    """How the run stands now. Raises `ConfigError` where there is none."""
    identity = require_run(store)
    images, edits = list(read_manifest(store).values()), list(read_edits(store).values())
    entries: list[Entry | EditEntry] = [*images, *edits]
    done = committed(store)
    failed = failed_for_good(store, {entry.job_id for entry in entries}, done)
    left = [entry for entry in entries if entry.job_id not in done and entry.job_id not in failed]
    classes = Counter(str(failed[e.job_id].failure) for e in entries if e.job_id in failed)
    progress = under_way(store)
    return Status(
        run=store.url,
        preset=identity.preset,
        created_at=identity.created_at,
        state="running" if progress else ("incomplete" if left else "complete"),
        images=len(images),
        edits=len(edits),
        done=sum(entry.job_id in done for entry in entries),
        failed=sum(classes.values()),
        waiting=len(left),
        failures=dict(sorted(classes.items())),
        progress=progress,
    )


def failed_for_good(store: Store, jobs: set[str], done: set[str]) -> dict[str, Failure]:
    """The last failure of each of some jobs that is not done and will not be tried again by itself."""
    return final_failures(read_failures(store, jobs - done))


def under_way(store: Store, silent_s: float = STALE_S) -> Snapshot | None:
    """What the run's driver last said, if it is still at it: it has said so in the last `silent_s`.

    Judged by the storage's clock, since the driver's may be ahead or behind; by the moment that the driver wrote, and
    the clock here, only where the storage does not tell. A moment in the future says nothing about a driver.
    """
    try:
        snapshot = Snapshot.model_validate_json(store.get(PROGRESS))
    except (FileNotFoundError, ValidationError):
        return None
    if snapshot.state != "running":
        return None
    age = store.age(PROGRESS)
    age = _age_here(snapshot) if age is None else age
    return snapshot if age is not None and abs(age.total_seconds()) < silent_s else None


def _age_here(snapshot: Snapshot) -> timedelta | None:
    try:
        written = datetime.fromisoformat(snapshot.updated_at)
    except ValueError:
        return None
    return datetime.now(UTC) - (written if written.tzinfo else written.replace(tzinfo=UTC))


def find_image(store: Store, wanted: str) -> Entry:
    """The manifest's row for an image: by its `image_id`, job id, or a part of either that only one has.

    Raises `ConfigError` where none or several fit.
    """
    entries = list(read_manifest(store).values())
    by_name, by_job, by_uri = (
        [entry for entry in entries if wanted == getattr(entry, name)] for name in ("image_id", "job_id", "uri")
    )
    near = (
        by_name
        or by_job
        or by_uri
        or [entry for entry in entries if wanted in entry.image_id or entry.job_id.startswith(wanted)]
    )
    if len({entry.job_id for entry in near}) == 1:
        return near[0]
    if not near:
        raise ConfigError(
            f"No image of {store.url} is called {wanted!r}. `pgcn status` counts them, `pgcn query` lists.",
            code=Code.RUN_IMAGE,
        )
    listed = ", ".join(entry.image_id for entry in near[:5])
    raise ConfigError(
        f"{len(near)} images of {store.url} fit {wanted!r}: {listed}{' …' if len(near) > 5 else ''}.",
        code=Code.RUN_IMAGE,
    )
