"""The images and edits of a run, read from its tables: done, failed and waiting."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pgcn_cluster.gallery.views.formatting import natural_order
from pgcn_jobs import layout
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.run_folder.old_names import read_part
from pgcn_jobs.run_folder.schemas import FAILURES, TABLES
from pgcn_jobs.storage.store import Store

log = logging.getLogger(__name__)

JOB_ID = re.compile(r"[0-9a-f]{8,64}")
ATTEMPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

SHARED = frozenset(
    {"preset", "method", "settings", "options", "task", "device", "algorithm", "pgcn_version", "torch_version"}
)
"""Columns of results with few different texts."""


class CatalogueEntry(NamedTuple):
    """One finished image, or edit: its name and the place of its job in `Catalogue.jobs`."""

    image_id: str
    job: int


class Failed(NamedTuple):
    """One image, or edit, without a result, and why."""

    image_id: str
    failure: str
    message: str
    failed_at: str | None


class Totals(NamedTuple):
    """The counts of a run."""

    done: int
    failed: int
    waiting: int

    @property
    def asked(self) -> int:
        """All that were asked for."""
        return sum(self)


class CatalogueTables(NamedTuple):
    """The tables of one kind of jobs: its requests, its results, and the column with their names."""

    manifest: str
    results: str
    name: str


IMAGES = CatalogueTables("manifest", "results", "image_id")
EDITS = CatalogueTables("manifest_edits", "edits", "edit_id")


@dataclass(frozen=True)
class Catalogue:
    """A run's images, or its edits, at one moment. The order depends on nothing but the tables' content.

    `entries` are sorted by name; `jobs` are rows of the results, each job once, in the order of the entries.
    Two entries name the same job where two files hold the same bytes.
    """

    run: Mapping[str, Any]
    jobs: pa.Table
    entries: list[CatalogueEntry]
    failed: list[Failed]
    waiting: int

    @property
    def totals(self) -> Totals:
        """The numbers of done, failed and waiting."""
        return Totals(len(self.entries), len(self.failed), self.waiting)

    def rows(self, start: int, end: int) -> pa.Table:
        """Some rows of the results, copied: a slice of a table carries the whole of it wherever it is sent."""
        rows = self.jobs.take(pa.array(range(start, end), pa.int64()))
        plain = pa.schema([(f.name, f.type.value_type if f.name in SHARED else f.type) for f in rows.schema])
        return _shared(rows.cast(plain))  # with the texts of these rows only

    def first_names(self) -> list[str]:
        """For every job, the first of the images or edits it stands for."""
        first: dict[int, str] = {}
        for entry in self.entries:
            first.setdefault(entry.job, entry.image_id)
        return [first[place] for place in range(self.jobs.num_rows)]

    def names(self) -> list[list[str]]:
        """For every job, the images or edits it stands for."""
        named: list[list[str]] = [[] for _ in range(self.jobs.num_rows)]
        for entry in self.entries:
            named[entry.job].append(entry.image_id)
        return named


def read_catalogue(store: Store, kind: CatalogueTables = IMAGES) -> Catalogue:
    """Read `run.json` and the tables of one kind and `failures`; any of them may be missing."""
    results = read_table(store, kind.results, TABLES[kind.results].names)
    asked = read_table(store, kind.manifest, [kind.name, "job_id", "problem"])
    failures = read_table(store, "failures", [n for n in FAILURES.names if n not in ("uri", "traceback")])

    row_of = _latest_rows(results, kind.name)
    done = set(zip(results[kind.name].take(pa.array(row_of.values(), pa.int64())).to_pylist(), row_of, strict=True))
    done |= {(row[kind.name], row["job_id"]) for row in rows_of(asked) if row["job_id"] in row_of}
    ordered = sorted(done, key=lambda pair: (natural_order(pair[0]), pair[1]))
    place = {job_id: new for new, job_id in enumerate(dict.fromkeys(job_id for _, job_id in ordered))}
    entries = [CatalogueEntry(name, place[job_id]) for name, job_id in ordered]

    finished = {name for name, _ in done}
    open_rows = (row for row in rows_of(asked) if row[kind.name] not in finished)
    wanted = {(row[kind.name], row["job_id"]): row["problem"] for row in open_rows}
    failed = _failed(wanted, _final(failures, kind), finished)
    waiting = len({name for name, _ in wanted} - {f.image_id for f in failed})
    rows = pa.array([row_of[job_id] for job_id in place], pa.int64())
    jobs = {}
    for column in results.column_names:  # one after another, so that memory holds no second table
        jobs[column] = results[column].take(rows)
        results = results.drop_columns([column])
    pa.default_memory_pool().release_unused()
    return Catalogue(_run_record(store), pa.table(jobs), entries, failed, waiting)


def read_table(store: Store, name: str, columns: list[str]) -> pa.Table:
    """Columns of a stored table; rows share equal texts of settings, which are a kilobyte, and the like."""
    schema = TABLES[name]
    paths = layout.matching(layout.TABLE_PART, store.list(f"tables/{name}"))
    # Decoded in one thread, since Arrow keeps memory for each.
    parts = (_shared(read_part(data, columns, schema)) for data in concurrent_map(store.get, paths))
    nothing = _shared(pa.schema([schema.field(column) for column in columns]).empty_table())
    return pa.concat_tables([nothing, *parts]).unify_dictionaries()


def _shared(table: pa.Table) -> pa.Table:
    for at, name in enumerate(table.column_names):
        if name in SHARED:
            table = table.set_column(at, name, table[name].dictionary_encode())
    return table


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows one after another: only one batch of them is ever Python objects."""
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _latest_rows(results: pa.Table, named: str) -> dict[str, int]:
    """The row of each job's latest commit. Rows whose ids could lead out of the gallery's folder are left out."""
    latest: dict[str, int] = {}
    keys = results.select(["job_id", "attempt", named])
    for i, row in enumerate(rows_of(keys)):
        job_id, attempt, name = row["job_id"] or "", row["attempt"] or "", row[named]
        if name is None or not JOB_ID.fullmatch(job_id) or not ATTEMPT.fullmatch(attempt):
            log.warning("The gallery leaves out a result with the ids %r and %r.", job_id, attempt)
            continue
        before = latest.get(job_id)
        if before is None or attempt >= results["attempt"][before].as_py():
            latest[job_id] = i
    return latest


def _final(failures: pa.Table, kind: CatalogueTables) -> dict[str, Failed]:
    """The latest final failure of every job of a kind, by job_id; by name where it failed before it had one."""
    final: dict[str, Failed] = {}
    for row in sorted(rows_of(failures), key=lambda row: row["attempt"] or ""):
        if (row["edit_id"] is not None) != (kind is EDITS):
            continue
        key = row["job_id"] or row[kind.name]
        if row["final"] and key:
            name, message = row[kind.name] or key, row["message"] or ""
            final[key] = Failed(name, row["failure"] or "", message, row["failed_at"])
    return final


def _failed(
    wanted: Mapping[tuple[str, str | None], str | None], final: Mapping[str, Failed], finished: set[str]
) -> list[Failed]:
    """Every image without a result that no attempt is left for: refused by the manifest, or failed for good.

    What the manifest asks for decides. A failure that the manifest does not name is only shown where the image
    is in no row of it: the file may have been mended since, and is another job now.
    """
    asked = {image_id for image_id, _ in wanted}
    failed = {f.image_id: f for f in final.values() if f.image_id not in asked | finished}
    for (image_id, job_id), problem in wanted.items():
        known = final.get(job_id or image_id)
        if image_id in finished:
            continue
        if known is not None:
            failed[image_id] = known._replace(image_id=image_id)
        elif problem:
            failed[image_id] = Failed(image_id, FailureClass.INPUT, problem, None)
    return by_class(failed.values())


def by_class(failed: Iterable[Failed]) -> list[Failed]:
    """Failures class by class, and by name in each."""
    place: dict[str, int] = {name: i for i, name in enumerate(FailureClass)}
    return sorted(failed, key=lambda f: (place.get(f.failure, len(place)), f.failure, natural_order(f.image_id)))


def _run_record(store: Store) -> Mapping[str, Any]:
    try:
        record = json.loads(store.get("run.json"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def methods_of(catalogue: Catalogue) -> str:
    """The methods that made the finished images where there are several; "" for one."""
    used: Iterable[str | None] = catalogue.jobs["method"].unique().to_pylist()
    named = sorted({method for method in used if method})
    return ", ".join(named) if len(named) > 1 else ""


def preset_of(catalogue: Catalogue) -> str:
    """The presets that made the finished images, or the one that the run asks for; "" where neither says."""
    used: Iterable[str | None] = catalogue.jobs["preset"].unique().to_pylist()
    named = sorted({preset for preset in used if preset})
    if named:
        return ", ".join(named)
    settings = catalogue.run.get("settings")
    asked = catalogue.run.get("preset") or (settings.get("preset") if isinstance(settings, dict) else None)
    return asked if isinstance(asked, str) else ""
