"""The plan of a command: its images and edits with the jobs that are done, refused, failed before, or left to do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from pgcn_cluster.scheduler.queue import Job
from pgcn_jobs.common.clock import now
from pgcn_jobs.common.codes import Code
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
    committed: set[str] = field(default_factory=set)  # all committed jobs of the run, requested now or not

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

    def summary(self) -> str:
        """One line: the numbers of images and edits, and of jobs done, to do, refused and failed before."""
        jobs = len(self.jobs) + len(self.done) + len(self.failed) + len(self.refused)
        requested = len(self.entries) + len(self.edits)
        to_make = sum(isinstance(job.spec, EditSpec) for job in self.jobs.values())
        to_train = len(self.jobs) - to_make
        elsewhere = sum(edit.pyramid_run is not None for edit in self.edits)
        parts = [
            f"{len(self.entries)} images",
            f"{len(self.edits)} edits" if self.edits else "",
            f"{requested - jobs} the same as another" if jobs < requested else "",
            f"{to_train} to train" if to_train else "nothing left to train",
            (f"{to_make} to make" if to_make else "nothing left to make") if self.edits else "",
            f"{elsewhere} with pyramids of another run" if elsewhere else "",
            f"{len(self.done)} done before" if self.done else "",
            f"{len(self.refused)} refused (--retry looks again)" if self.refused else "",
            f"{len(self.failed)} failed before (--retry tries them again)" if self.failed else "",
        ]
        return ", ".join(part for part in parts if part) + "."


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
    return Refusal(entry.job_id, FailureClass.INPUT, code, entry.problem)


def _first_refusal(problem: str) -> str:
    """The attempt of a job's first refusal, before all others. It depends on the reason alone.

    Two drivers that refuse an image at once write one object, also where a listing does not show the other's yet.
    """
    return f"00000000T000000-{hashlib.sha256(problem.encode()).hexdigest()[:6]}"
