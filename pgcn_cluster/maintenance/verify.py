"""`pgcn verify`: verification of a run's records, tables and gallery, and their repair."""

from __future__ import annotations

from pydantic import BaseModel

from pgcn_cluster.gallery.build_record import forget
from pgcn_cluster.gallery.publish import publish
from pgcn_cluster.maintenance.compare_tables import differences
from pgcn_cluster.monitor.status import require_run, under_way
from pgcn_cluster.tables.build import is_current, records_now
from pgcn_cluster.tables.parts_record import forget_parts
from pgcn_jobs import layout
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder.commit import final_failures
from pgcn_jobs.run_folder.newer_version import check_not_newer
from pgcn_jobs.run_folder.verify import Problem, check_records
from pgcn_jobs.storage.store import Store


class VerifyReport(BaseModel):
    """Result of a verification. Counts are of jobs; `left` have neither a valid commit nor a final failure."""

    run: str
    images: int
    edits: int
    committed: int
    failed: int
    left: int
    problems: list[Problem]
    not_compared: str | None = None  # reason for which tables were not compared; None if they were

    @property
    def sound(self) -> bool:
        """True without problems; images may still be left to do."""
        return not self.problems


def verify(store: Store, *, quick: bool) -> VerifyReport:
    """Verify the whole run without writing. Raises `ConfigError` if there is none.

    With `quick`, only sizes of artifacts are compared, and the state of the tables is taken from `built.json`.
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
        report.not_compared = "Tables were not compared: the run is under way, and builds them at its end."
    elif report.problems:
        report.not_compared = "Tables were not compared: they are built from these damaged records."
    else:
        report.problems += _wrong_tables(store, quick=quick)
    return report


def repair(store: Store, report: VerifyReport) -> list[str]:
    """Remove damaged records, and rebuild tables and gallery; returns sentences on the remaining damage.

    Raises `ConfigError` while the run is under way, and for a run that a newer version has written to.
    """
    if under_way(store):
        raise ConfigError(
            f"{store.url} is under way: stop it, or wait for its end, and repair it then.", code=Code.RUN_ACTIVE
        )
    check_not_newer(store)
    # Without their build records, both are rebuilt from nothing.
    forget_parts(store)
    forget(store)
    dropped = {problem.drop for problem in report.problems if problem.drop}
    # A final failure from before the commit would count again, and prevent another attempt.
    jobs = {layout.job_of_commit(path) for path in layout.matching(layout.COMMIT, dropped)}
    filed = layout.matching(layout.FAILURE, store.list("failures")) if jobs else []
    failures = [path for path in filed if path.split("/")[1] in jobs]
    store.delete(failures)
    store.delete(sorted(dropped))
    return publish(store)


def _wrong_tables(store: Store, *, quick: bool) -> list[Problem]:
    """The problems of tables and gallery, for a run with valid records."""
    if not layout.matching(layout.TABLE_PART, store.list("tables")):
        return [Problem(sentence="There are no tables: they are built when a run ends, or by `pgcn gather`.")]
    sentences = [] if quick else differences(store)
    if not store.exists("gallery/index.html"):
        sentences.append("gallery/index.html is gone.")
    elif not sentences and not is_current(store, records_now(store)):
        sentences.append(
            f"{layout.TABLES_BUILT} does not name these records: tables or gallery may be older than they are."
        )
    return [Problem(sentence=sentence) for sentence in sentences]
