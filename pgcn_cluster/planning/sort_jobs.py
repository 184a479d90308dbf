"""Sorting of a command's images and edits into jobs that are done, refused, failed before, or left to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from pgcn.imaging.scales import Size
from pgcn.method_settings import MethodSettings
from pgcn.methods import method_of
from pgcn_cluster.planning.plan import Plan, Refusal, refusal_of
from pgcn_cluster.planning.work import work_of
from pgcn_cluster.scheduler.queue import Job
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.tables.parts_record import forget_parts
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import FailureClass, policy_of
from pgcn_jobs.inputs.source import EditSource, Source
from pgcn_jobs.run_folder.commit import Failure, damaged, final_failures, read_failures, withdraw
from pgcn_jobs.run_folder.edit_manifest import EditEntry
from pgcn_jobs.run_folder.manifest import Entry, RunDefaults, channel_count
from pgcn_jobs.run_folder.newer_version import is_newer_commit
from pgcn_jobs.spec import JobSpec, PyramidRef, SamplePlan, reseeded
from pgcn_jobs.storage.store import Store

EditRow = tuple[Source, EditSource, EditEntry]


@dataclass(frozen=True)
class Rows:
    """A command's images, by `image_id`, and edits, each with its manifest row."""

    images: Mapping[str, tuple[Source, Entry]]
    edits: Sequence[EditRow]

    @property
    def jobs(self) -> set[str]:
        """The ids of all their jobs."""
        return {entry.job_id for _, entry in self.images.values()} | {entry.job_id for *_, entry in self.edits}


@dataclass(frozen=True)
class JobDefaults:
    """The parts of a job that its row does not have. `elsewhere`: pyramids of another run, by their names."""

    ask: RunDefaults
    elsewhere: Mapping[str, PyramidRef]
    need: Resources


@dataclass(frozen=True)
class History:
    """The records of earlier commands on the requested jobs.

    `done` has all committed jobs of the run. `broken` jobs had a damaged commit, which was withdrawn. `given_up` jobs
    failed for good and are not tried again. `placed` jobs are in the plan of another portion of this command.
    """

    done: set[str]
    broken: set[str]
    failures: Mapping[str, list[Failure]]
    final: Mapping[str, Failure]
    given_up: set[str]
    placed: Set[str]


def read_history(store: Store, requested: set[str], done: set[str], placed: set[str], *, retry: bool) -> History:
    """The history of the `requested` jobs, where `done` are committed.

    With `retry`, damaged commits are withdrawn, also from `done`, and no job is given up.
    """
    requested = requested - placed
    broken = {job for job in damaged(store, done & requested) if not is_newer_commit(store, job)} if retry else set()
    if broken:
        withdraw(store, broken)
        # New commits may have exactly the sizes of the old ones: tables would seem to be current.
        forget_parts(store)
    done -= broken
    failures = read_failures(store, requested - done)
    final = final_failures(failures)
    given_up = {job for job, failure in final.items() if not (retry or policy_of(failure.failure).again)}
    return History(done, broken, failures, final, given_up, placed)


def build_plan(rows: Rows, defaults: JobDefaults, history: History) -> Plan:
    """The plan for a command's images and edits.

    An image that is requested for its edits only is not trained where no edit needs it: they are done, or their
    pyramid is in another run.
    """
    plan = Plan(edits=[entry for *_, entry in rows.edits], failed_before=set(history.failures))
    needed = _images_needed(rows.edits, history)
    for image_id, (source, entry) in rows.images.items():
        settled = entry.problem is not None or entry.job_id in history.done | history.broken
        if source.wanted or settled or image_id in needed:
            _place_image(plan, source, entry, defaults, history)
    for row in rows.edits:
        _place_edit(plan, row, rows.images[row[0].image_id][1], defaults, history)
    plan.jobs = dict(sorted(plan.jobs.items(), key=lambda item: item[1].late))
    plan.unrecorded += _unrecorded(plan.refused.values(), history)
    return plan


def _images_needed(edits: Iterable[EditRow], history: History) -> set[str]:
    """Images whose pyramid an edit is made with, in this command and from this run."""
    settled = history.done | history.given_up
    return {
        source.image_id
        for source, _, entry in edits
        if entry.problem is None and entry.pyramid_run is None and entry.job_id not in settled
    }


def _is_settled(plan: Plan, entry: Entry | EditEntry, history: History) -> bool:
    """True for a job that the plan has already, is refused or is done; the latter two are noted in the plan."""
    job = entry.job_id
    if job in history.placed:
        return True
    if entry.problem is not None:
        plan.refused[job] = entry
    elif job in history.done:
        plan.done.add(job)
    else:
        return False
    return True


def _place_image(plan: Plan, source: Source, entry: Entry, defaults: JobDefaults, history: History) -> None:
    job = entry.job_id
    plan.entries.append(entry)
    if _is_settled(plan, entry, history):
        return
    if job in history.given_up:
        plan.failed[job] = history.final[job].message
    elif job not in plan.jobs:
        spec = _training(entry.spec(source, defaults.ask), history)
        work = work_of(spec.settings, spec.plan, image_size(entry))
        shape = "" if entry.holes else _shape(spec.settings, image_size(entry), channel_count(entry.channels))
        late, drawing = job in history.failures, work.drawing
        plan.jobs[job] = Job(spec, entry.image_id, work.operations, defaults.need, shape, late=late, drawing=drawing)


def _training(spec: JobSpec, history: History) -> JobSpec:
    """The spec with another seed and step for each training of it that diverged: the same ones diverge again."""
    for failure in history.failures.get(spec.job_id, []):
        spec = reseeded(spec) if failure.failure is FailureClass.NUMERIC else spec
    return spec


def _place_edit(plan: Plan, row: EditRow, image: Entry, defaults: JobDefaults, history: History) -> None:
    source, edit, entry = row
    job, pyramid = entry.job_id, entry.pyramid_job if entry.pyramid_run is None else None
    if _is_settled(plan, entry, history):
        return
    if pyramid in plan.failed:
        plan.failed[job] = f"The pyramid of {entry.image_id} could not be trained: {plan.failed[pyramid]}"
        if job not in history.final:
            plan.unrecorded.append(Refusal(job, FailureClass.PYRAMID, Code.PYRAMID_FAILED, plan.failed[job]))
    elif job in history.given_up:
        plan.failed[job] = history.final[job].message
    elif job not in plan.jobs:
        after = pyramid if pyramid in plan.jobs or pyramid in history.placed else None
        spec = entry.spec(source, edit, defaults.elsewhere)
        late = job in history.failures
        plan.jobs[job] = Job(spec, entry.edit_id, _edit_work(image), defaults.need, after=after, late=late)


def _unrecorded(refused: Iterable[Entry | EditEntry], history: History) -> list[Refusal]:
    """Refusals without a failure in the bucket that has the same reason."""
    return [
        refusal_of(entry)
        for entry in refused
        if entry.job_id not in history.final or history.final[entry.job_id].message != entry.problem
    ]


def _edit_work(image: Entry) -> float:
    """The work of an edit, roughly: chains from every start scale cost as much as some iterations of all scales.

    Iterations on windows cost less than chains of the whole image, of which an edit has about eighteen. With exact
    detail it is as much as two drawings of the image.
    """
    settings, size = image.parsed_settings, image_size(image)
    work, plan = work_of(settings, SamplePlan(count=1, sizes=("1x1",)), size), method_of(settings).plan(*size, settings)
    learned = max(work.training * 10 * len(plan.learned) / plan.iterations, 6 * work.chains)
    return learned + work.drawing * 2 / 3


def image_size(entry: Entry) -> Size:
    """Height and width of an image that was read, px."""
    assert entry.height is not None
    assert entry.width is not None
    return entry.height, entry.width


@lru_cache(maxsize=1024)
def _shape(settings: MethodSettings, image: Size, channels: int) -> str:
    """`Job.shape`; cached, so that images of one size share one text. Empty where the method trains images alone."""
    batch = method_of(settings).plan(*image, settings).batch
    return "" if batch is None else f"{settings.method} {settings.model_dump_json()} {batch} {channels}"
