"""Comparison of stored tables with those that a build from the same records makes, without a write."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import pyarrow as pa

from pgcn_cluster.tables.build import build_tables
from pgcn_jobs import layout
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.old_names import FILLED, current_table
from pgcn_jobs.storage.store import Store

OTHER_ROWS = "does not have the rows of manifest, commits and failures."


def differences(store: Store) -> list[str]:
    """Sentences on the differences: of each part; of whole tables where a version without a record wrote the parts."""
    if store.exists(layout.TABLES_PARTS):
        dry_run = _ComparedParts(store)
        build_tables(dry_run, anew=True)
        return dry_run.differences
    whole = _CountedRows(store, {name: _stored(store, name) for name in schemas.TABLES})
    build_tables(whole, anew=True)
    return [f"tables/{name} {OTHER_ROWS}" for name in schemas.TABLES if not whole.is_equal(name)]


class _ReadOnlyStore(Store):
    """The same folder for a build without writes."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.location, store.options)
        self.url = store.url

    def put(self, path: str, data: bytes) -> None:
        """Compare a part instead. The tables' card and the record of parts say nothing of the records."""
        if layout.TABLE_PART.fullmatch(path):
            self.compare(path, data)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove nothing."""

    def compare(self, path: str, data: bytes) -> None:
        """Compare the bytes of a part with what is stored."""
        raise NotImplementedError


class _ComparedParts(_ReadOnlyStore):
    """`differences` has a sentence for each change of a part that the build would make."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.differences: list[str] = []

    def compare(self, path: str, data: bytes) -> None:
        """Compare one part."""
        try:
            there = self.get(path)
        except FileNotFoundError:
            # An older version wrote none of the later tables, which have no rows of its jobs.
            later = path.startswith(tuple(f"tables/{name}/" for name in schemas.LATER))
            if not (later and schemas.read_parquet(data).num_rows == 0):
                self.differences.append(f"{path} is gone.")
            return
        if there != data and not _same_rows(there, data):
            self.differences.append(f"{path} {OTHER_ROWS}")

    def delete(self, paths: Iterable[str]) -> None:
        """Record the paths."""
        self.differences += [f"{path} is left from an older build." for path in paths]


class _Rows(Counter[bytes]):
    """Hashes of a stored table's rows, in any order, with the columns they are of; None where one is damaged."""

    columns: list[str] | None = None


class _CountedRows(_ReadOnlyStore):
    """Takes the rows of the build from those of the stored tables: nothing is left of equal ones."""

    def __init__(self, store: Store, tables: Mapping[str, _Rows]) -> None:
        super().__init__(store)
        self._tables = tables

    def compare(self, path: str, data: bytes) -> None:
        """Take the rows of one part."""
        rows = self._tables[path.split("/")[1]]
        if rows.columns is not None:
            built = schemas.read_parquet(data)
            without = built.drop_columns(rows.columns)
            if any(without[name].null_count < len(without) for name in without.column_names if name not in FILLED):
                rows.columns = None  # a value that is nowhere in the stored table
            else:
                rows.subtract(_hashes(built.select(rows.columns)))

    def is_equal(self, name: str) -> bool:
        """True if the stored table has the rows of the build."""
        rows = self._tables[name]
        return rows.columns is not None and not any(rows.values())


def _stored(store: Store, name: str) -> _Rows:
    """The rows of a stored table, under present names."""
    rows = _Rows()
    schema = schemas.TABLES[name]
    try:
        paths = layout.matching(layout.TABLE_PART, store.list(f"tables/{name}"))
        if not paths and name in schemas.LATER:
            rows.columns = list(schema.names)  # the version that built the tables had none of these
        for path in paths:
            part = schemas.known(current_table(schemas.read_parquet(store.get(path))), schema)
            columns = [name for name in schema.names if name in part.column_names]
            rows.columns = rows.columns or columns
            rows.update(_hashes(part.select(rows.columns)))
    except (OSError, ValueError, KeyError, pa.ArrowException):
        rows.columns = None
    return rows


def _hashes(data: pa.Table) -> list[bytes]:
    return [hashlib.sha256(repr(row).encode()).digest() for row in schemas.rows_of(data)]


def _same_rows(there: bytes, data: bytes) -> bool:
    """True if two Parquet objects hold the same table.

    Another version of the library writes other bytes. A newer version of this program writes more columns. An older
    one writes fewer, or under older names; missing columns equal columns without values, or filled from others.
    """
    try:
        wanted = schemas.read_parquet(data)
        old = schemas.known(current_table(schemas.read_parquet(there)), wanted.schema)
        empty = [name for name in wanted.column_names if name in FILLED or wanted[name].null_count == wanted.num_rows]
        compared = wanted.drop_columns([name for name in empty if name not in old.column_names])
        columns = compared.column_names
        return set(columns) <= set(old.column_names) and bool(old.select(columns).equals(compared))
    except (OSError, ValueError, pa.ArrowException):
        return False
