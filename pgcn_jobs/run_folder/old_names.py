"""Columns of older versions under their present names: old run folders stay readable."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

RENAMED = {
    "results": {"stack": "batch"},
    "edits": {"figure": "metric", "nothing": "baseline"},
}
"""By table: the column of version 0.1, and its name since. No other table has a column of these names."""

FILLED = frozenset({"method"})
"""Columns that version 0.1 did not write, and that are filled when its records are read."""

_NOW = {old: new for names in RENAMED.values() for old, new in names.items()}


def current_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the results or edits of any version, under present names; a present name that is there wins.

    Results of version 0.1 name their method in `algorithm` alone.
    """
    method = {"method": str(row["algorithm"]).rpartition("-")[0]} if row.get("algorithm") else {}
    return method | {_NOW.get(name, name): value for name, value in row.items() if _NOW.get(name) not in row}


def current_table(data: pa.Table) -> pa.Table:
    """A table of any version under present names."""
    return data.rename_columns([_NOW.get(name, name) for name in data.column_names])


def is_old_name(name: str) -> bool:
    """True for the former name of a column that has been renamed since."""
    return name in _NOW


def read_columns(data: ds.Dataset, columns: Sequence[str], schema: pa.Schema, most: int | None = None) -> pa.Table:
    """Those `columns` of a stored table of any version, the first `most` rows or all of them, as `schema` has them.

    A column that the version did not write is null.
    """
    there = _stored(data.schema.names, columns)
    return _completed(data.to_table(columns=there) if most is None else data.head(most, columns=there), columns, schema)


def read_part(data: bytes, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    """The same of one Parquet object: many small parts as one dataset take ten times the memory of their rows."""
    file = pq.ParquetFile(io.BytesIO(data))
    return _completed(file.read(_stored(file.schema_arrow.names, columns), use_threads=False), columns, schema)


def _stored(names: list[str], columns: Sequence[str]) -> list[str]:
    return [stored for name in columns if (stored := name_in(names, name)) is not None]


def _completed(found: pa.Table, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    arrays = [
        pa.nulls(found.num_rows, schema.field(name).type) if stored is None else found[stored]
        for name, stored in ((name, name_in(found.column_names, name)) for name in columns)
    ]
    return pa.table(arrays, schema=pa.schema([schema.field(name) for name in columns]))


def name_in(columns: list[str], wanted: str) -> str | None:
    """The one of a table's `columns` that holds the column `wanted`; None where an older version had no such."""
    return next((name for name in columns if name == wanted or _NOW.get(name) == wanted), None)
