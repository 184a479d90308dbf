"""Writer of a table's Parquet objects: parts of bounded size, each written whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

import pyarrow as pa

from pgcn_jobs import layout
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.hugging_face import with_features
from pgcn_jobs.storage.store import Store

PART_BYTES = 64 * 1024**2
PART_ROWS = 100_000
ROWS_PER_BATCH = 1000


class PartWriter:
    """Writes one table, or one slice of it, in parts of bounded size.

    A whole table is `part-00000.parquet`, `part-00001.parquet`, …. Slice 7 is `part-00007.parquet` and, if larger than
    one part, `part-00007_001.parquet`, …: slices are written independently, and their names sort in the order of rows.
    """

    def __init__(self, store: Store, name: str, slice_number: int | None = None) -> None:
        self._store = store
        self._name = name
        self._slice = slice_number
        self._schema = schemas.TABLES[name]
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._pending = (0, 0)  # rows and bytes of `_tables`
        self.written: list[str] = []
        self.rows = 0

    def add(self, data: pa.Table) -> None:
        """Add rows; write a part when its size is reached."""
        self._tables.append(data)
        self._pending = self._pending[0] + data.num_rows, self._pending[1] + data.nbytes
        self.rows += data.num_rows
        if self._pending[0] >= PART_ROWS or self._pending[1] >= PART_BYTES:
            self._write()

    def add_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows given as mappings, which are converted in batches."""
        rows = iter(rows)
        while more := list(islice(rows, ROWS_PER_BATCH)):
            self._rows += more
            if len(self._rows) >= ROWS_PER_BATCH:
                self._make_table()

    def add_entries(self, entries: Iterable[object]) -> None:
        """Add rows given as objects, which are converted in batches."""
        entries = iter(entries)
        while more := list(islice(entries, ROWS_PER_BATCH)):
            self.add(schemas.table_of(more, self._schema))

    def adopt(self, paths: Iterable[str], rows: int) -> None:
        """Add parts that another writer has written."""
        self.written += paths
        self.rows += rows

    def finish(self) -> None:
        """Write the remaining rows."""
        if self._rows:
            self._make_table()
        if self._pending[0]:
            self._write()

    def _make_table(self) -> None:
        rows, self._rows = self._rows, []
        self.add(schemas.table(rows, self._schema))

    def _write(self) -> None:
        data = pa.concat_tables([self._schema.empty_table(), *self._tables])
        path = layout.table_part(self._name, self._number())
        self._store.put(path, schemas.parquet_bytes(with_features(data)))
        self.written.append(path)
        self._tables, self._pending = [], (0, 0)

    def _number(self) -> str:
        count = len(self.written)
        if self._slice is None:
            return f"{count:05d}"
        return f"{self._slice:05d}_{count:03d}" if count else f"{self._slice:05d}"


def complete(store: Store, name: str, written: Collection[str]) -> None:
    """Complete a table after its parts are `written`: add an empty part if there is none, and remove older parts."""
    if not written:
        written = [layout.table_part(name, "00000")]
        store.put(written[0], schemas.parquet_bytes(with_features(schemas.TABLES[name].empty_table())))
    kept = set(written)
    store.delete(
        [path for path in layout.matching(layout.TABLE_PART, store.list(f"tables/{name}")) if path not in kept]
    )
