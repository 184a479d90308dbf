"""Images become jobs while others are still being looked at: a portion at a time, each with its part of the manifest.

The first portion closes soon after the first image was looked at, each later one after twice the time of the last, so
that a manifest has few parts. Images that are looked at at once are one portion, in the order of the command.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa

from pgcn_cluster.planning.looking import Looked, Looking, rows_of
from pgcn_cluster.planning.plan import Plan, Totals, record_refusals
from pgcn_cluster.planning.request import Prepared
from pgcn_cluster.planning.sort_jobs import JobDefaults, build_plan, read_history
from pgcn_cluster.scheduler.arrivals import Arrived
from pgcn_cluster.scheduler.queue import BREAKER
from pgcn_jobs.common.background import Background, ThreadBackground
from pgcn_jobs.common.codes import STORAGE_CODES, Code
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.inputs.source import Source
from pgcn_jobs.run_folder.commit import committed, remove_failures
from pgcn_jobs.run_folder.edit_manifest import EditEntry, add_edits, superseded
from pgcn_jobs.run_folder.manifest import PART_ROWS, Entry, add_to_manifest
from pgcn_jobs.storage.urls import is_web

FIRST_S = 5.0
"""Time from the first image that was looked at to the end of the first portion, s."""

SAID = 5
"""Most sentences about refused files of a portion."""

LONGEST_S = 60.0
"""Longest time of a portion, s."""


def make_plan(prepared: Prepared, *, retry: bool) -> Plan:
    """Look at all images and edits in this process, and sort them into jobs. Writes no manifest and no refusal."""
    looking = Looking(prepared, ThreadBackground, retry=retry)
    trouble = _Trouble()
    looked = trouble.watch(looking.begin())
    while looking.open:
        looked += trouble.watch(looking.looked(1.0))
    trouble.end()
    return _plan(prepared, looked, committed(prepared.store), set(), retry=retry)


class Intake:
    """The jobs of a command, as they become known (`pgcn_cluster.scheduler.arrivals.Arrivals`).

    `background` is called when there are images to be read.
    """

    def __init__(self, prepared: Prepared, background: Callable[[], Background], *, retry: bool) -> None:
        self.totals = Totals()
        self._prepared = prepared
        self._retry = retry
        self._looking = Looking(prepared, background, retry=retry)
        self._trouble = _Trouble()
        self._looked: list[Looked] = []
        self._done: set[str] | None = None
        self._unseen = len(prepared.sources)
        self._begun = False
        self._length_s = FIRST_S
        self._ends_at: float | None = None

    @property
    def open(self) -> bool:
        """True until all images are looked at, and `take` has returned their jobs."""
        return self._unseen > 0

    def begin(self) -> Arrived:
        """Look at images until there are jobs, or no more images."""
        parts: list[Arrived] = []
        try:
            self._note(self._looking.begin())
            while self.open and not any(part.jobs for part in parts):
                if (part := self._take(0.2)) is not None:
                    parts.append(part)
        except BaseException:
            self.close()
            raise
        self._begun = True
        return Arrived(
            [job for part in parts for job in part.jobs],
            sum(part.done for part in parts),
            sum(part.failed for part in parts),
            self._unseen,
            tuple(sentence for part in parts for sentence in part.said),
        )

    def take(self) -> Arrived | None:
        """The next portion, if it has ended. Raises `StoreError` where storage fails for image after image."""
        return self._take(0.0) if self.open else None

    def close(self) -> None:
        """Look at no further image."""
        self._looking.close()

    def _take(self, seconds: float) -> Arrived | None:
        if self._looking.open:
            self._note(self._looking.looked(seconds))
        if self._looking.open and not self._is_whole():
            return None
        if not self._looking.open:
            self._trouble.end()
        return self._end_portion()

    def _note(self, looked: list[Looked]) -> None:
        self._looked += self._trouble.watch(looked)
        if self._ends_at is None and self._looked:
            self._ends_at = time.monotonic() + self._length_s

    def _is_whole(self) -> bool:
        return len(self._looked) >= PART_ROWS or (self._ends_at is not None and time.monotonic() > self._ends_at)

    def _end_portion(self) -> Arrived:
        """Sort a portion's images into jobs, and write its parts of the manifest, and its refusals."""
        prepared, looked = self._prepared, self._looked
        self._length_s, self._ends_at, self._looked = min(2 * self._length_s, LONGEST_S), None, []
        self._unseen -= len(looked)
        if not self.open:
            self.close()
        if self._done is None:
            self._done = committed(prepared.store)
        plan = _plan(prepared, looked, self._done, self.totals.placed, retry=self._retry)
        add_to_manifest(prepared.store, plan.entries, prepared.known)
        add_edits(prepared.store, [*plan.superseded, *plan.edits], prepared.known_edits)
        pa.default_memory_pool().release_unused()  # memory of tables, which would be kept for as long as jobs take
        record_refusals(prepared.store, plan)
        for job in _read_at_last(prepared, plan):
            remove_failures(prepared.store, job)
        done, failed = self.totals.done, self.totals.failed
        self.totals.add(plan)
        said = _unreadable_now(plan)
        if self._begun and not self.open:
            said.append(f"All images are looked at: {self.totals.summary()}")
        return Arrived(
            list(plan.jobs.values()), self.totals.done - done, self.totals.failed - failed, self._unseen, tuple(said)
        )


def _read_at_last(prepared: Prepared, plan: Plan) -> list[str]:
    """Ids that stood for images and edits that storage failed to read in an earlier command, and reads now."""
    now: list[tuple[str, Entry | EditEntry | None]] = [
        *((entry.job_id, prepared.known.get(entry.image_id)) for entry in plan.entries),
        *((edit.job_id, prepared.known_edits.get(edit.edit_id)) for edit in plan.edits),
    ]
    return [
        before.job_id
        for job, before in now
        if before is not None and before.problem_code in STORAGE_CODES and before.job_id != job
    ]


def _unreadable_now(plan: Plan) -> list[str]:
    """Sentences on files that storage, or a web server, fails to read now: nothing is wrong with the files."""
    found = [f"refused {entry.problem}" for entry in plan.refused.values() if entry.problem_code in STORAGE_CODES]
    more = [f"and {len(found) - SAID} more: `pgcn failures` has all of them"] if len(found) > SAID else []
    return found[:SAID] + more


def _plan(prepared: Prepared, looked: list[Looked], done: set[str], placed: set[str], *, retry: bool) -> Plan:
    rows = rows_of(looked)
    history = read_history(prepared.store, rows.jobs, done, placed, retry=retry)
    plan = build_plan(rows, JobDefaults(prepared.ask, prepared.elsewhere, prepared.need), history)
    plan.superseded = superseded(prepared.known_edits, plan.edits, history.done)
    return plan


class _Trouble:
    """Tells storage that fails for one file, which is refused, from storage that fails for all of them."""

    def __init__(self) -> None:
        self._series: list[tuple[str | None, str | None]] = []
        self._any_sound = False

    def watch(self, looked: list[Looked]) -> list[Looked]:
        """The same images. Raises `StoreError` for a series of files that storage fails for."""
        for one in looked:
            own = [(one.entry.problem, one.entry.problem_code)]
            own += [(edit.problem, edit.problem_code) for _, _, edit in one.edits]
            failed = next((each for each in own if each[1] in STORAGE_CODES), None)
            if failed is None or _from_web(one.source):
                self._any_sound, self._series = True, []
            elif len(self._series) < BREAKER:
                self._series.append(failed)
        if len(self._series) >= BREAKER:
            self._raise()
        return looked

    def end(self) -> None:
        """Raises `StoreError` where storage failed for every file of the command."""
        if self._series and not self._any_sound:
            self._raise()

    def _raise(self) -> None:
        problem, code = self._series[0]
        raise StoreError(problem or "", code=None if code is None else Code(code))


def _from_web(source: Source) -> bool:
    """True where one of an image's files is on the web, whose servers are not the storage of all images."""
    files = [*source.with_others, *(other for edit in source.edits for other in edit.others)]
    return any(each is not None and is_web(each.location) for each in files)
