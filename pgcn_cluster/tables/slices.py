"""Slices of the tables: fixed ranges of manifest rows, and the records that the parts of each are built from.

Rows of a manifest are numbered through its parts, to which later ones are only added. A slice is a range of these
numbers, so new images make new slices, and a commit changes one slice.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pgcn_jobs import layout
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.manifest import damaged_part
from pgcn_jobs.storage.store import Store

ROWS_PER_SLICE = 250
"""Manifest rows of one slice. It is part of the tables' layout: another number gives the same rows to other parts."""

Positions = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

RowNames = dict[str, str]
"""Identifying columns of a manifest row (`edit_id`, `image_id`, `uri`), which replace those of the job's result."""


@dataclass(frozen=True)
class Records:
    """Sizes of a run's commits, by path, and of its failures, by job and path."""

    commits: Mapping[str, int]
    failures: Mapping[str, Mapping[str, int]]


def list_records(store: Store) -> Records:
    """The commits and failures of a run, from one listing of each."""
    failures: dict[str, dict[str, int]] = {}
    for path, size in store.list("failures").items():
        if match := layout.FAILURE.fullmatch(path):
            failures.setdefault(match[1], {})[path] = size
    return Records(store.list("commits"), failures)


@dataclass(frozen=True)
class RecordSlice:
    """All that the parts of a slice are built from.

    `rows`: its manifest rows, without those that later ones replace, long texts as dictionaries. `jobs`: each job with
    its first row here, and all rows that request it; `done` have a commit. `failures`: paths of the jobs' failures.
    """

    number: str
    kind: schemas.Kind
    rows: pa.Table
    jobs: dict[str, list[RowNames]]
    done: set[str]
    failures: list[str]


class ManifestSlices:
    """The slices of one kind's manifest. Memory holds the names and job of each row, as columns, and one part."""

    def __init__(self, store: Store, kind: schemas.Kind, records: Records) -> None:
        """Raises `ConfigError` if a part is damaged."""
        self._store = store
        self._kind = kind
        self._records = records
        pattern = layout.MANIFEST_PART if kind is schemas.TRAINING else layout.EDITS_PART
        sizes = store.list(kind.manifest)
        self._parts = {path: sizes[path] for path in layout.matching(pattern, sizes)}
        self._long = "settings" if kind is schemas.TRAINING else "options"
        self._names_of = list(dict.fromkeys([kind.name, "image_id", "uri"]))
        found = [self._read(path, [*self._names_of, "job_id", "dropped"]) for path in self._parts]
        self._starts = np.cumsum([0, *(table.num_rows for table in found)])
        schema = schemas.TABLES[kind.manifest]
        kept = [name for name in [*self._names_of, "job_id", "dropped"] if name in schema.names]
        self._names = pa.concat_tables([pa.schema([schema.field(name) for name in kept]).empty_table(), *found])
        self._rows = _current(self._names)
        self._first, self._again = _requests(self._names["job_id"].take(self._rows), self._rows)
        self._open: tuple[int, pa.Table] | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The number of each slice that has rows, and a digest of the names and sizes of all records it depends on."""
        prefix = "" if self._kind is schemas.TRAINING else "edits-"
        for at in sorted(set((self._rows // ROWS_PER_SLICE).tolist())):
            yield f"{prefix}{at:05d}", self._digest(at)

    def load(self, number: str) -> RecordSlice:
        """The content of a slice; cheap where slices are loaded in order."""
        positions, jobs = self._jobs(int(number.removeprefix("edits-")))
        names = {job: self._names_at(self._again.get(first, [first])) for job, first in jobs.items()}
        ordered = dict(sorted(names.items(), key=lambda item: next(iter(item[1][0].values()))))
        return RecordSlice(
            number,
            self._kind,
            self._small(self._rows_at(positions).sort_by(self._kind.name)),
            ordered,
            {job for job in ordered if self._records.commits.get(layout.commit_path(job))},
            [path for job in ordered for path in sorted(self._records.failures.get(job, ()))],
        )

    def _jobs(self, at: int) -> tuple[Positions, dict[str, int]]:
        """The positions of a slice's rows, and the jobs first requested by them, each with that position."""
        low, high = np.searchsorted(self._rows, [at * ROWS_PER_SLICE, (at + 1) * ROWS_PER_SLICE])
        positions = self._rows[low:high]
        first = positions[self._first[low:high]]
        jobs = self._names["job_id"].take(first).to_pylist()
        return positions, dict(zip(jobs, first.tolist(), strict=True))

    def _digest(self, at: int) -> str:
        positions, jobs = self._jobs(at)
        # Parts are never changed: the name of one, with the hash of its bytes, stands for its rows.
        low, high = np.searchsorted(self._starts, [positions[0], positions[-1]], side="right")
        shown: list[Any] = [list(self._parts.items())[low - 1 : high], positions.tolist()]
        for job, first in jobs.items():
            again = self._names_at(self._again[first]) if first in self._again else None
            shown.append([job, self._records.commits.get(layout.commit_path(job)), again])
            shown.append(sorted(self._records.failures.get(job, {}).items()))
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:20]

    def _names_at(self, positions: list[int]) -> list[RowNames]:
        """The names of some rows, sorted."""
        rows: list[RowNames] = self._names.select(self._names_of).take(positions).to_pylist()
        return sorted(rows, key=lambda row: [value or "" for value in row.values()])

    def _rows_at(self, positions: Positions) -> pa.Table:
        """Whole rows of the manifest, as the table has them."""
        schema = schemas.TABLES[self._kind.manifest]
        found = []
        for part in np.unique(np.searchsorted(self._starts, positions, side="right") - 1).tolist():
            if self._open is None or self._open[0] != part:
                self._open = part, self._read(list(self._parts)[part], schema.names)
            here = positions[(positions >= self._starts[part]) & (positions < self._starts[part + 1])]
            found.append(self._open[1].take(here - self._starts[part]).cast(schema))
        return pa.concat_tables(found)

    def _small(self, rows: pa.Table) -> pa.Table:
        """The rows with one text for equal settings: Ray keeps what is small out of its shared memory."""
        return rows.set_column(rows.column_names.index(self._long), self._long, rows[self._long].dictionary_encode())

    def _read(self, path: str, columns: list[str]) -> pa.Table:
        """Columns of one part; null where the version that wrote it had none. Raises `ConfigError` if it is damaged."""
        schema = schemas.TABLES[self._kind.manifest]
        wanted = pa.schema([schema.field(name) for name in columns if name in schema.names])
        try:
            # Rows with the same settings, a kilobyte of text, share one.
            file = pq.ParquetFile(io.BytesIO(self._store.get(path)), read_dictionary=[self._long])
            table = file.read([name for name in wanted.names if name in file.schema_arrow.names])
            if missing := {self._kind.name, "uri", "job_id"} - set(file.schema_arrow.names):
                raise KeyError(f"no columns {sorted(missing)}")
            nothing = {name: pa.nulls(table.num_rows, wanted.field(name).type) for name in wanted.names}
            arrays = [table[name] if name in table.column_names else nothing[name] for name in wanted.names]
            return pa.table(arrays, names=wanted.names)
        except (KeyError, TypeError, ValueError, OSError, pa.ArrowException):
            raise damaged_part(self._store, path) from None


def _current(names: pa.Table) -> Positions:
    """The positions of rows that no later row of the same name replaces, and that do not drop their request."""
    codes = _codes(names.column(0))
    last = np.zeros(codes.max(initial=-1) + 1, dtype=np.int64)
    last[codes] = np.arange(len(codes))  # of equal codes the last one stays
    current = np.sort(last)
    if "dropped" in names.column_names:
        dropped = names["dropped"].take(current).fill_null(False).to_numpy()
        current = current[~dropped]
    return current


def _requests(jobs: pa.ChunkedArray, rows: Positions) -> tuple[Mask, dict[int, list[int]]]:
    """For each row, whether it is the first of its job; and the rows of jobs with several, by their first row."""
    codes = _codes(jobs)
    _, first, inverse, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    is_first = np.zeros(len(rows), dtype=np.bool_)
    is_first[first] = True
    again: dict[int, list[int]] = {}
    for at in np.flatnonzero(counts[inverse] > 1).tolist():
        again.setdefault(int(rows[first[inverse[at]]]), []).append(int(rows[at]))
    return is_first, again


def _codes(column: pa.ChunkedArray) -> Positions:
    """A number for each value: equal ones for equal values."""
    encoded = column.combine_chunks().dictionary_encode("encode")
    codes: Positions = encoded.indices.to_numpy().astype(np.int64)
    return codes
