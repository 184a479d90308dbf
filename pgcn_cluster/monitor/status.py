"""State of a run, from its folder or bucket alone."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ValidationError

from pgcn_cluster.monitor.snapshot import Snapshot
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.layout import PROGRESS
from pgcn_jobs.run_folder.commit import Failure, committed, final_failures, read_failures
from pgcn_jobs.run_folder.edit_manifest import EditEntry, read_edits
from pgcn_jobs.run_folder.identity import RunIdentity, read_identity
from pgcn_jobs.run_folder.manifest import Entry, read_manifest
from pgcn_jobs.storage.store import Store

STALE_S = 60.0
"""Age of the progress record, seconds, from which on a run counts as stopped."""


class Status(BaseModel):
    """State of a run. Counts are of rows of the manifests: two images with the same bytes count twice."""

    run: str
    preset: str
    methods: list[str]
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
    """The run in this folder. Raises `ConfigError` if there is none."""
    identity = read_identity(store)
    if identity is None:
        raise ConfigError(
            f"There is no run in {store.url}: it has no run.json. Begin one with `pgcn run IMAGES --out`.",
            code=Code.RUN_MISSING,
        )
    return identity


def status(store: Store) -> Status:
    """The current state of the run. Raises `ConfigError` if there is none."""
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
        methods=sorted({entry.method for entry in images} | identity.methods.keys()),
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
    """The last failure of each of `jobs` that is not done and has no automatic retry left."""
    return final_failures(read_failures(store, jobs - done))


def under_way(store: Store, silent_s: float = STALE_S) -> Snapshot | None:
    """The last snapshot of the run's driver if it was written in the last `silent_s` seconds, else None.

    The age is measured by the storage's clock, since the driver's may be wrong. If the storage reports no times, the
    driver's timestamp and the clock of this machine are used. A timestamp far in the future counts as none.
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


def find_image(store: Store, wanted: str, method: str | None = None) -> Entry:
    """The manifest's row of an image: by `image_id`, job id or URI, or by a unique part of `image_id` or job id.

    With `method`, among the images that are trained with it. Raises `ConfigError` if none or several match.
    """
    entries = [entry for entry in read_manifest(store).values() if method in (None, entry.method)]
    by_name, by_job, by_uri = (
        [entry for entry in entries if wanted == getattr(entry, name)] for name in ("image_id", "job_id", "uri")
    )
    by_name = by_name or [entry for entry in entries if entry.image_id == f"{wanted}@{entry.method}"]
    near = (
        by_name
        or by_job
        or by_uri
        or [entry for entry in entries if wanted in entry.image_id or entry.job_id.startswith(wanted)]
    )
    if len({entry.job_id for entry in near}) == 1:
        return near[0]
    with_it = "" if method is None else f" and trained with the method {method}"
    if not near:
        raise ConfigError(
            f"No image of {store.url} is called {wanted!r}{with_it}. `pgcn status` counts them, `pgcn query` lists.",
            code=Code.RUN_IMAGE,
        )
    listed = ", ".join(entry.image_id for entry in near[:5])
    raise ConfigError(
        f"{len(near)} images of {store.url} fit {wanted!r}: {listed}{' …' if len(near) > 5 else ''}.",
        code=Code.RUN_IMAGE,
    )
