"""Planning: what a command asks for, what of it is done or refused, and what is left to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial

from cluster.gather import BUILT
from cluster.queue import Job, Need
from cluster.spread import over_ray
from jobs.commit import (
    Failure,
    committed,
    damaged,
    final_failures,
    new_attempt,
    now,
    read_failures,
    withdraw,
    write_failure,
)
from jobs.failures import POLICY, ConfigError, FailureClass
from jobs.manifest import Ask, Entry, plan_source, settings_of
from jobs.sources import Source
from jobs.spec import reseeded
from jobs.store import Store
from jobs.text import visible
from pgcn.cost import training_operations
from pgcn.pyramid import Size, scale_sizes
from pgcn.settings import Settings, SettingsError

CHUNK = 16
"""Images that one task looks at."""

Item = tuple[Source, Entry | None]


@dataclass
class Plan:
    """A command's images, sorted into what follows; all but `entries` by job, each once."""

    entries: list[Entry] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # job id -> why; not tried again without --retry
    refused: dict[str, Entry] = field(default_factory=dict)
    unrecorded: list[Entry] = field(default_factory=list)  # refused, and no failure in the bucket says so yet
    failed_before: set[str] = field(default_factory=set)  # jobs with a failure in the bucket, final or not

    def fate(self, entry: Entry) -> str:
        """What follows for one image, in words."""
        job = entry.job_id
        if job in self.refused:
            return f"refused: {entry.problem}"
        if job in self.done:
            return "done"
        if job in self.failed:
            return f"failed before: {self.failed[job]}"
        first = self.jobs[job].image_id
        return "to train" if first == entry.image_id else f"the same bytes as {first}"

    def summary(self) -> str:
        """One line: how many images, and what is done, to do, refused and failed before."""
        jobs = len(self.jobs) + len(self.done) + len(self.failed) + len(self.refused)
        parts = [f"{len(self.entries)} images"]
        if jobs < len(self.entries):
            parts.append(f"{len(self.entries) - jobs} the same as another")
        parts.append(f"{len(self.jobs)} to train" if self.jobs else "nothing left to train")
        if self.done:
            parts.append(f"{len(self.done)} done before")
        if self.refused:
            parts.append(f"{len(self.refused)} refused (--retry looks again)")
        if self.failed:
            parts.append(f"{len(self.failed)} failed before (--retry tries them again)")
        return ", ".join(parts) + "."


def look_at(items: list[Item], ask: Ask) -> list[Entry]:
    """Manifest rows of some images; `known` rows spare reading what storage says is unchanged."""
    return [plan_source(source, ask, known) for source, known in items]


def with_ray(items: list[Item], ask: Ask) -> list[Entry]:
    """Look at all images in tasks of the cluster, so that reading and hashing cost the driver nothing."""
    chunks = [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]
    return [entry for chunk in over_ray(partial(look_at, ask=ask), chunks) for entry in chunk]


def check_overrides(sources: Iterable[Source], ask: Ask) -> None:
    """Raises `ConfigError` for a manifest row whose settings cannot be, before anything runs."""
    for source in sources:
        try:
            ask.settings(source)
        except SettingsError as error:
            raise ConfigError(f"The manifest's row for {visible(source.image_id)} cannot run. {error}") from None


def sort_out(store: Store, sources: list[Source], entries: list[Entry], ask: Ask, need: Need, *, retry: bool) -> Plan:
    """What is done, refused, failed before, and left, of `entries`, which belong to `sources` one by one."""
    done = committed(store)
    if retry:
        broken = damaged(store, done & {entry.job_id for entry in entries})
        if broken:
            withdraw(store, broken)
            # New commits may have the very sizes of the old ones, and tables would seem to be current.
            store.delete([BUILT])
        done -= broken
    before = read_failures(store, {entry.job_id for entry in entries} - done)
    failed = final_failures(before)
    plan = Plan(entries=entries, failed_before=set(before))
    for source, entry in zip(sources, entries, strict=True):
        job = entry.job_id
        if entry.problem is not None:
            plan.refused[job] = entry
        elif job in done:
            plan.done.add(job)
        elif job in failed and not retry and not POLICY[failed[job].failure].again:
            plan.failed[job] = failed[job].message
        elif job not in plan.jobs:
            spec = entry.spec(source.location, ask)
            for failure in before.get(job, []):
                # The same seed and step would diverge in the same way.
                spec = reseeded(spec) if failure.failure is FailureClass.NUMERIC else spec
            work, shape = _work_and_shape(spec.settings, tuple(trained_sizes(entry)))
            plan.jobs[job] = Job(spec, entry.image_id, work, need, shape)
    # Those that failed before come last: they must not keep the others from their turn.
    plan.jobs = dict(sorted(plan.jobs.items(), key=lambda item: item[0] in before))
    plan.unrecorded = [
        entry for job, entry in plan.refused.items() if job not in failed or failed[job].message != entry.problem
    ]
    return plan


def trained_sizes(entry: Entry) -> list[Size]:
    """The sizes of an image's pyramid."""
    assert entry.height is not None
    assert entry.width is not None
    return scale_sizes(entry.height, entry.width, settings_of(entry.settings))


@lru_cache(maxsize=1024)
def _work_and_shape(settings: Settings, sizes: tuple[Size, ...]) -> tuple[float, str]:
    """What `Job` calls so; kept, since a bucket's images often have few sizes, and then share one text too."""
    return training_operations(list(sizes), settings), f"{settings.model_dump_json()} {list(sizes)}"


def record_refusals(store: Store, plan: Plan) -> None:
    """Write an INPUT failure for each refused image that has none that says so yet."""
    for entry in plan.unrecorded:
        assert entry.problem is not None
        failure = Failure(
            job_id=entry.job_id,
            attempt=new_attempt() if entry.job_id in plan.failed_before else _first_refusal(entry.problem),
            failure=FailureClass.INPUT,
            final=True,
            message=entry.problem,
            failed_at=now(),
        )
        write_failure(store, failure)


def _first_refusal(problem: str) -> str:
    """The attempt that a first refusal is filed under, before all others: one name, and so one reason for an image,
    also where two drivers refuse it at once, or a listing does not show yet that another did.
    """
    return f"00000000T000000-{hashlib.sha256(problem.encode()).hexdigest()[:6]}"
