"""Planning: what a command asks for, what of it is done or refused, and what is left to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

from cluster.ray_cluster.parallel_map import map_ray
from cluster.scheduler.queue import Job, Resources
from jobs import layout
from jobs.common.clock import now
from jobs.common.failures import ConfigError, FailureClass, policy_of
from jobs.common.terminal_text import terminal_safe
from jobs.inputs.source import EditSource, Source
from jobs.run_folder.commit import (
    Failure,
    committed,
    damaged,
    final_failures,
    new_attempt,
    read_failures,
    withdraw,
    write_failure,
)
from jobs.run_folder.edit_manifest import EditEntry, check_edit, plan_edit
from jobs.run_folder.manifest import Entry, RunDefaults, plan_source, settings_of
from jobs.run_folder.newer_version import is_newer_commit
from jobs.spec import EditSpec, PyramidRef, reseeded
from jobs.storage.store import Store
from pgcn.imaging.scales import Size, scale_sizes
from pgcn.patchgencn.flops import training_operations
from pgcn.settings import Settings, SettingsError

CHUNK = 16
"""Images that one task looks at."""

Item = tuple[Source, Entry | None]

EditItem = tuple[Source, EditSource, Entry, EditEntry | None]
"""An edit, the image and its row, and the edit's own row from an earlier command."""


@dataclass(frozen=True)
class Refusal:
    """A job that is not tried, and why: a failure to be written."""

    job_id: str
    failure: FailureClass
    message: str


@dataclass
class Plan:
    """A command's images and edits, sorted into what follows; all but `entries` and `edits` by job, each once."""

    entries: list[Entry] = field(default_factory=list)
    edits: list[EditEntry] = field(default_factory=list)
    superseded: list[EditEntry] = field(default_factory=list)  # of an earlier command, asked for in another way now
    jobs: dict[str, Job] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # job id -> why; not tried again without --retry
    refused: dict[str, Entry | EditEntry] = field(default_factory=dict)
    unrecorded: list[Refusal] = field(default_factory=list)  # no failure in the bucket says so yet
    failed_before: set[str] = field(default_factory=set)  # jobs with a failure in the bucket, final or not
    committed: set[str] = field(default_factory=set)  # all jobs of the run that are, asked for now or not

    def fate(self, entry: Entry | EditEntry) -> str:
        """What follows for one image or edit, in words."""
        job = entry.job_id
        if job in self.refused:
            return f"refused: {entry.problem}"
        if job in self.done:
            return "done"
        if job in self.failed:
            return f"failed before: {self.failed[job]}"
        first = self.jobs[job].image_id
        if isinstance(entry, EditEntry):
            return "to make" if first == entry.edit_id else f"the same as {first}"
        return "to train" if first == entry.image_id else f"the same bytes as {first}"

    def summary(self) -> str:
        """One line: how many images and edits, and what is done, to do, refused and failed before."""
        jobs = len(self.jobs) + len(self.done) + len(self.failed) + len(self.refused)
        asked = len(self.entries) + len(self.edits)
        to_make = sum(isinstance(job.spec, EditSpec) for job in self.jobs.values())
        to_train = len(self.jobs) - to_make
        parts = [f"{len(self.entries)} images"]
        if self.edits:
            parts.append(f"{len(self.edits)} edits")
        if jobs < asked:
            parts.append(f"{asked - jobs} the same as another")
        parts.append(f"{to_train} to train" if to_train else "nothing left to train")
        if self.edits:
            parts.append(f"{to_make} to make" if to_make else "nothing left to make")
        elsewhere = sum(edit.pyramid_run is not None for edit in self.edits)
        if elsewhere:
            parts.append(f"{elsewhere} with models of another run")
        if self.done:
            parts.append(f"{len(self.done)} done before")
        if self.refused:
            parts.append(f"{len(self.refused)} refused (--retry looks again)")
        if self.failed:
            parts.append(f"{len(self.failed)} failed before (--retry tries them again)")
        return ", ".join(parts) + "."


def look_at(items: list[Item], ask: RunDefaults) -> list[Entry]:
    """Manifest rows of some images; `known` rows spare reading what storage says is unchanged."""
    return [plan_source(source, ask, known) for source, known in items]


def with_ray(items: list[Item], ask: RunDefaults) -> list[Entry]:
    """Look at all images in tasks of the cluster, so that reading and hashing cost the driver nothing."""
    chunks = [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]
    return [entry for chunk in map_ray(partial(look_at, ask=ask), chunks) for entry in chunk]


def look_at_edits(items: list[EditItem], ask: RunDefaults, elsewhere: Mapping[str, PyramidRef]) -> list[EditEntry]:
    """Rows of some edits."""
    return [plan_edit(*item[:3], elsewhere, item[3], ask.max_pixels) for item in items]


def edits_with_ray(items: list[EditItem], ask: RunDefaults, elsewhere: Mapping[str, PyramidRef]) -> list[EditEntry]:
    """Look at the pictures of all edits in tasks of the cluster."""
    chunks = [
        (part, {name: elsewhere[name] for name in {item[2].pyramid for item in part} & elsewhere.keys()})
        for part in (items[at : at + CHUNK] for at in range(0, len(items), CHUNK))
    ]
    return [entry for chunk in map_ray(partial(_look_at_part, ask=ask), chunks) for entry in chunk]


def _look_at_part(part: tuple[list[EditItem], Mapping[str, PyramidRef]], ask: RunDefaults) -> list[EditEntry]:
    return look_at_edits(part[0], ask, part[1])


def check_asked(sources: Iterable[Source], ask: RunDefaults) -> None:
    """Raises `ConfigError` for settings and tasks that cannot be, before anything runs."""
    for source in sources:
        try:
            ask.settings(source)
        except SettingsError as error:
            raise ConfigError(f"The manifest's row for {terminal_safe(source.image_id)} cannot run. {error}") from None
        for edit in source.edits:
            check_edit(source, edit)


def build_plan(
    store: Store,
    images: Mapping[str, tuple[Source, Entry]],
    edits: Sequence[tuple[Source, EditSource, EditEntry]],
    ask: RunDefaults,
    elsewhere: Mapping[str, PyramidRef],
    need: Resources,
    *,
    retry: bool,
) -> Plan:
    """What is done, refused, failed before, and left, of images (by `image_id`) and of edits.

    An image that is only wanted for edits is not trained where none of them needs it: they are done, or their pyramid
    in `elsewhere`.
    """
    done = committed(store)
    asked = {entry.job_id for _, entry in images.values()} | {entry.job_id for *_, entry in edits}
    broken: set[str] = set()
    if retry:
        broken = {job for job in damaged(store, done & asked) if not is_newer_commit(store, job)}
        if broken:
            withdraw(store, broken)
            # New commits may have the very sizes of the old ones, and tables would seem to be current.
            store.delete([layout.TABLES_BUILT])
        done -= broken
    before = read_failures(store, asked - done)
    failed = final_failures(before)
    tried_again = {job for job, failure in failed.items() if retry or policy_of(failure.failure).again}
    plan = Plan(edits=[entry for *_, entry in edits], failed_before=set(before), committed=done)
    given_up = failed.keys() - tried_again
    needed = {
        source.image_id
        for source, _, entry in edits
        if entry.problem is None and entry.pyramid_run is None and entry.job_id not in done | given_up
    }
    for image_id, (source, entry) in images.items():
        job = entry.job_id
        if not source.wanted and image_id not in needed and job not in done | broken and entry.problem is None:
            continue
        plan.entries.append(entry)
        if entry.problem is not None:
            plan.refused[job] = entry
        elif job in done:
            plan.done.add(job)
        elif job in given_up:
            plan.failed[job] = failed[job].message
        elif job not in plan.jobs:
            spec = entry.spec(source, ask)
            for failure in before.get(job, []):
                # The same seed and step would diverge in the same way.
                spec = reseeded(spec) if failure.failure is FailureClass.NUMERIC else spec
            work, shape = _work_and_shape(spec.settings, tuple(trained_sizes(entry)))
            shape = "" if entry.holes else shape
            plan.jobs[job] = Job(spec, entry.image_id, work, need, shape, late=job in before)
    for source, edit, made in edits:
        job, pyramid = made.job_id, made.pyramid_job if made.pyramid_run is None else None
        if made.problem is not None:
            plan.refused[job] = made
        elif job in done:
            plan.done.add(job)
        elif pyramid in plan.failed:
            plan.failed[job] = f"The model of {made.image_id} could not be trained: {plan.failed[pyramid]}"
            if job not in failed:
                plan.unrecorded.append(Refusal(job, FailureClass.PYRAMID, plan.failed[job]))
        elif job in given_up:
            plan.failed[job] = failed[job].message
        elif job not in plan.jobs:
            after = pyramid if pyramid in plan.jobs else None
            work = _edit_work(images[source.image_id][1])
            made_spec = made.spec(source, edit, elsewhere)
            plan.jobs[job] = Job(made_spec, made.edit_id, work, need, after=after, late=job in before)
    plan.jobs = dict(sorted(plan.jobs.items(), key=lambda item: item[1].late))
    plan.unrecorded += [
        Refusal(job, FailureClass.INPUT, entry.problem)
        for job, entry in plan.refused.items()
        if entry.problem is not None and (job not in failed or failed[job].message != entry.problem)
    ]
    return plan


def _edit_work(image: Entry) -> float:
    """What `Job` calls so, roughly: chains from every start scale cost as much as some updates of all scales."""
    settings = settings_of(image.settings)
    return _work_and_shape(settings, tuple(trained_sizes(image)))[0] * 10 / settings.iterations


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
    """Write a failure for each job that is not tried and has none that says so yet."""
    for refusal in plan.unrecorded:
        failure = Failure(
            job_id=refusal.job_id,
            attempt=new_attempt() if refusal.job_id in plan.failed_before else _first_refusal(refusal.message),
            failure=refusal.failure,
            final=True,
            message=refusal.message,
            failed_at=now(),
        )
        write_failure(store, failure)


def _first_refusal(problem: str) -> str:
    """The attempt that a first refusal is filed under, before all others: one name, and so one reason for an image,
    also where two drivers refuse it at once, or a listing does not show yet that another did.
    """
    return f"00000000T000000-{hashlib.sha256(problem.encode()).hexdigest()[:6]}"
