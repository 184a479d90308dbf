"""The plan of a command: its images and edits with the jobs that are done, refused, failed before, or left to do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from pgcn_cluster.scheduler.queue import Job
from pgcn_jobs.common.clock import now
from pgcn_jobs.common.codes import STORAGE_CODES, Code
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.run_folder.commit import Failure, new_attempt, write_failure
from pgcn_jobs.run_folder.edit_manifest import EditEntry
from pgcn_jobs.run_folder.manifest import Entry
from pgcn_jobs.spec import EditSpec
from pgcn_jobs.storage.store import Store


@dataclass(frozen=True)
class Refusal:
    """A job that is not tried, with the reason: a failure to be recorded."""

    job_id: str
    failure: FailureClass
    code: str
    message: str


@dataclass
class Plan:
    """A command's images and edits, sorted by what happens to them; all but `entries` and `edits` once per job."""

    entries: list[Entry] = field(default_factory=list)
    edits: list[EditEntry] = field(default_factory=list)
    superseded: list[EditEntry] = field(default_factory=list)  # of an earlier command, replaced by edits of this one
    jobs: dict[str, Job] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # job id -> reason; not tried again without --retry
    refused: dict[str, Entry | EditEntry] = field(default_factory=dict)
    unrecorded: list[Refusal] = field(default_factory=list)  # without a failure in the bucket yet
    failed_before: set[str] = field(default_factory=set)  # jobs with a failure in the bucket, final or not

    def fate(self, entry: Entry | EditEntry) -> str:
        """In words, what happens to one image or edit."""
        job = entry.job_id
        if job in self.refused:
            return f"refused: {entry.problem}"
        if job in self.done:
            return "done"
        if job in self.failed:
            return f"failed before: {self.failed[job]}"
        first = self.jobs[job].label
        if isinstance(entry, EditEntry):
            return "to make" if first == entry.edit_id else f"the same as {first}"
        return "to train" if first == entry.image_id else f"the same bytes as {first}"


class Totals:
    """The numbers of all portions of a command."""

    def __init__(self) -> None:
        self.placed: set[str] = set()
        self.done = 0
        self._before = 0
        self._refused = 0
        self._images = 0
        self._edits = 0
        self._elsewhere = 0
        self._to_train = 0
        self._to_make = 0

    @property
    def failed(self) -> int:
        """Number of jobs refused, or failed before."""
        return self._before + self._refused

    def add(self, plan: Plan) -> None:
        """Count one portion's plan."""
        self._images += len(plan.entries)
        self._edits += len(plan.edits)
        self._elsewhere += sum(edit.pyramid_run is not None for edit in plan.edits)
        to_make = sum(isinstance(job.spec, EditSpec) for job in plan.jobs.values())
        self._to_make += to_make
        self._to_train += len(plan.jobs) - to_make
        self.done += len(plan.done)
        self._before += len(plan.failed)
        self._refused += len(plan.refused)
        self.placed |= {*plan.jobs, *plan.done, *plan.failed, *plan.refused}

    def summary(self) -> str:
        """One line: the numbers of images and edits, and of jobs done, to do, refused and failed before."""
        requested, jobs = self._images + self._edits, len(self.placed)
        parts = [
            f"{self._images} images",
            f"{self._edits} edits" if self._edits else "",
            f"{requested - jobs} the same as another" if jobs < requested else "",
            f"{self._to_train} to train" if self._to_train else "nothing left to train",
            (f"{self._to_make} to make" if self._to_make else "nothing left to make") if self._edits else "",
            f"{self._elsewhere} with pyramids of another run" if self._elsewhere else "",
            f"{self.done} done before" if self.done else "",
            f"{self._refused} refused (--retry looks again)" if self._refused else "",
            f"{self._before} failed before (--retry tries them again)" if self._before else "",
        ]
        return ", ".join(part for part in parts if part) + "."


def total(plan: Plan) -> Totals:
    """The numbers of a command with one portion."""
    totals = Totals()
    totals.add(plan)
    return totals


def record_refusals(store: Store, plan: Plan) -> None:
    """Write a failure for each job that is not tried and has no failure with this reason yet."""
    for refusal in plan.unrecorded:
        failure = Failure(
            job_id=refusal.job_id,
            attempt=new_attempt() if refusal.job_id in plan.failed_before else _first_refusal(refusal.message),
            failure=refusal.failure,
            code=refusal.code,
            final=True,
            message=refusal.message,
            failed_at=now(),
        )
        write_failure(store, failure)


def refusal_of(entry: Entry | EditEntry) -> Refusal:
    """The refusal of an image or edit that has a problem."""
    assert entry.problem is not None
    code = entry.problem_code or Code.IMAGE_UNREADABLE
    failure = FailureClass.STORE if code in STORAGE_CODES else FailureClass.INPUT
    return Refusal(entry.job_id, failure, code, entry.problem)


def _first_refusal(problem: str) -> str:
    """The attempt of a job's first refusal, before all others. It depends on the reason alone.

    Two drivers that refuse an image at once write one object, also where a listing does not show the other's yet.
    """
    return f"00000000T000000-{hashlib.sha256(problem.encode()).hexdigest()[:6]}"
