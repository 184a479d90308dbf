"""`pgcn verify`: whether a run is what it says, from its bucket alone, and how it is mended."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from pydantic import BaseModel

from cluster.gallery.build_record import forget
from cluster.gallery.publish import finish
from cluster.monitor.status import require_run, under_way
from cluster.tables.build import BUILT, gather, is_current, records_now
from jobs import layout
from jobs.common.codes import Code
from jobs.common.failures import ConfigError
from jobs.run_folder import schemas
from jobs.run_folder.commit import final_failures
from jobs.run_folder.newer_version import check_not_newer
from jobs.run_folder.verify import Problem, check_records
from jobs.storage.store import Store


class VerifyReport(BaseModel):
    """What was found. Counts are of jobs in the manifest: `left` have neither a sound commit nor a final failure."""

    run: str
    images: int
    edits: int
    committed: int
    failed: int
    left: int
    problems: list[Problem]
    not_compared: str | None = None  # why tables were not looked at; None where they were

    @property
    def sound(self) -> bool:
        """Whether everything is what it says; images may still be left to do."""
        return not self.problems


def verify(store: Store, *, quick: bool) -> VerifyReport:
    """Look at the whole run and write nothing. Raises `ConfigError` where there is none.

    Where `quick`, only sizes are looked at, and `built.json` is believed about the tables.
    """
    require_run(store)
    records = check_records(store, quick=quick)
    jobs = set(records.jobs)
    failed = final_failures({job: those for job, those in records.failures.items() if job in jobs - records.committed})
    report = VerifyReport(
        run=store.url,
        images=len(records.entries),
        edits=len(records.edits),
        committed=len(jobs & records.committed),
        failed=len(failed),
        left=len(jobs - records.committed - set(failed)),
        problems=records.problems,
    )
    if under_way(store):
        report.not_compared = "The run is under way, and builds its tables at its end: they were not compared."
    elif report.problems:
        report.not_compared = "Tables are built from these records: they were not compared."
    else:
        report.problems += _wrong_tables(store, quick=quick)
    return report


def repair(store: Store, report: VerifyReport) -> list[str]:
    """Drop what is damaged, and build tables and gallery anew; returns sentences for what is still damaged.

    Raises `ConfigError` while the run is under way, and for one that a newer version has written to.
    """
    if under_way(store):
        raise ConfigError(
            f"{store.url} is under way: stop it, or wait for its end, and repair it then.", code=Code.RUN_ACTIVE
        )
    check_not_newer(store)
    # Without their records of what is current, both are built anew from nothing.
    store.delete([BUILT])
    forget(store)
    dropped = {problem.drop for problem in report.problems if problem.drop}
    # A job that failed for good before it was committed would count as failed again, and not be tried.
    jobs = {layout.job_of_commit(path) for path in layout.matching(layout.COMMIT, dropped)}
    filed = layout.matching(layout.FAILURE, store.list("failures")) if jobs else []
    failures = [path for path in filed if path.split("/")[1] in jobs]
    store.delete(failures)
    store.delete(sorted(dropped))
    return finish(store)


def _wrong_tables(store: Store, *, quick: bool) -> list[Problem]:
    """What is wrong with tables and gallery, of a run whose records are sound."""
    if not layout.matching(layout.TABLE_PART, store.list("tables")):
        return [Problem(sentence="There are no tables: they are built when a run ends, or by `pgcn gather`.")]
    sentences = [] if quick else _differences(store)
    if not store.exists("gallery/index.html"):
        sentences.append("gallery/index.html is gone.")
    elif not sentences and not is_current(store, records_now(store)):
        sentences.append(f"{BUILT} does not name these records: tables or gallery may be older than they are.")
    return [Problem(sentence=sentence) for sentence in sentences]


def _differences(store: Store) -> list[str]:
    rehearsal = _Rehearsal(store)
    gather(rehearsal)
    return rehearsal.differences


class _Rehearsal(Store):
    """The same folder for a gather that writes nothing: `differences` says what it would have changed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.location, store.options)
        self.url = store.url
        self.differences: list[str] = []

    def put(self, path: str, data: bytes) -> None:
        """Compare instead."""
        try:
            there = self.get(path)
        except FileNotFoundError:
            self.differences.append(f"{path} is gone.")
            return
        if there != data and not _same_rows(there, data):
            self.differences.append(f"{path} does not have the rows of manifest, commits and failures.")

    def delete(self, paths: Iterable[str]) -> None:
        """Name them instead."""
        self.differences += [f"{path} is left from an older build." for path in paths]


def _same_rows(there: bytes, data: bytes) -> bool:
    """Whether two Parquet objects hold the same table.

    Another version of the library writes other bytes; a newer version of this program writes more columns, and an
    older one lacks columns, which equals columns without values.
    """
    try:
        wanted = schemas.read_parquet(data)
        old = schemas.known(schemas.read_parquet(there), wanted.schema)
        empty = [name for name in wanted.column_names if wanted[name].null_count == wanted.num_rows]
        missing = [name for name in empty if name not in old.column_names]
        return bool(old.equals(wanted.drop_columns(missing)))
    except (OSError, ValueError, pa.ArrowException):
        return False
