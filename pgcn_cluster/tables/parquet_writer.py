"""Writer of the Parquet objects of one table's slice: parts of bounded size, each written whole."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pgcn_jobs import layout
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.hugging_face import with_features
from pgcn_jobs.storage.store import Store

PART_BYTES = 64 * 1024**2
PART_ROWS = 100_000


class PartWriter:
    """Writes one slice of one table in parts of bounded size.

    Slice 00007 is `part-00007.parquet` and, if larger than one part, `part-00007_001.parquet`, …: slices are written
    independently, and the names of their parts sort in the order of rows.
    """

    def __init__(self, store: Store, name: str, number: str) -> None:
        self._store = store
        self._name = name
        self._number = number
        self._schema = schemas.TABLES[name]
        self._tables: list[pa.Table] = []
        self._pending = (0, 0)  # rows and bytes of `_tables`
        self.written: dict[str, int] = {}  # sizes of the parts
        self.rows = 0

    def add(self, data: pa.Table) -> None:
        """Add rows; write a part when its size is reached."""
        self._tables.append(data)
        self._pending = self._pending[0] + data.num_rows, self._pending[1] + data.nbytes
        self.rows += data.num_rows
        if self._pending[0] >= PART_ROWS or self._pending[1] >= PART_BYTES:
            self._write()

    def add_rows(self, rows: list[dict[str, Any]]) -> None:
        """Add rows given as mappings."""
        self.add(schemas.table(rows, self._schema))

    def finish(self) -> None:
        """Write the remaining rows."""
        if self._pending[0]:
            self._write()

    def _write(self) -> None:
        data = pa.concat_tables([self._schema.empty_table(), *self._tables])
        count = len(self.written)
        path = layout.table_part(self._name, f"{self._number}_{count:03d}" if count else self._number)
        self.written[path] = write_part(self._store, path, data)
        self._tables, self._pending = [], (0, 0)


def write_part(store: Store, path: str, data: pa.Table) -> int:
    """Write one part, and return its size in bytes."""
    written = schemas.parquet_bytes(with_features(data))
    store.put(path, written)
    return len(written)
