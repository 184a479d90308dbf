"""SQL queries of a run's tables in a folder or bucket: DuckDB reads them through Arrow."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pgcn_cluster.monitor.status import require_run
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.run_folder.old_names import RENAMED
from pgcn_jobs.run_folder.schemas import LATER, TABLES, parquet_bytes
from pgcn_jobs.storage.store import Store

MAX_PRINTED_ROWS = 100
"""Largest number of rows of a printed table."""

UNBOUNDED_WIDTH = 100_000
"""Width in characters that no table reaches, for measuring the natural width of a table."""

FILE_FORMATS = ("csv", "json", "parquet")


def query(store: Store, sql: str, say: Callable[[str], None] = lambda sentence: None) -> pa.Table:
    """The answer to one SELECT over the tables of `schemas.TABLES`.

    Columns of an older version have their present names; where a query uses an older one, both names work. `say`
    receives a sentence for each renamed column. Only the columns and rows that the query needs are read. Raises
    `ConfigError` for an invalid query, and for missing or damaged tables.
    """
    require_run(store)
    with duckdb.connect(":memory:") as connection:
        for name in TABLES:
            data = store.parquet(f"tables/{name}")
            if data is None and name in LATER:
                connection.register(name, TABLES[name].empty_table())
                continue
            if data is None:
                raise ConfigError(
                    f"{store.url} has no tables yet. Build them with `pgcn gather {store.url}`.",
                    code=Code.TABLES_MISSING,
                )
            _register(connection, name, data)
        # A query may read the tables only: no files of this machine, no network.
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        try:
            answer = _ask(connection, sql, say)
            if answer is None:
                raise ConfigError("This SQL asks nothing: begin with SELECT.", code=Code.QUERY_INVALID)
            return _with_own_names(answer.to_arrow_table(), say)
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(
                f"The tables of {store.url} cannot be read ({error}): build them anew with `pgcn gather {store.url}`.",
                code=Code.RUN_DAMAGED,
            ) from None
        except duckdb.Error as error:
            lines = str(error).strip().splitlines()
            raise ConfigError(
                f"The query cannot be answered: {' '.join(line.strip() for line in lines[:2])}", code=Code.QUERY_INVALID
            ) from None


def _register(connection: duckdb.DuckDBPyConnection, name: str, data: ds.Dataset) -> None:
    """Make a stored table of any version a view with all present columns, null where the version wrote none."""
    if name not in RENAMED:
        connection.register(name, data)
        return
    connection.register(f"_{name}_stored", data)
    connection.register(f"_{name}_columns", TABLES[name].empty_table())
    old = {old: new for old, new in RENAMED[name].items() if old in data.schema.names}
    present = f"* EXCLUDE ({', '.join(old)}), {_aliases(old)}" if old else "*"
    # The present columns come first, then those of a newer version.
    connection.execute(
        f"CREATE TEMP VIEW _{name} AS SELECT * FROM _{name}_columns "  # noqa: S608
        f"UNION ALL BY NAME SELECT {present} FROM _{name}_stored"
    )
    connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM _{name}")  # noqa: S608


def _ask(connection: duckdb.DuckDBPyConnection, sql: str, say: Callable[[str], None]) -> duckdb.DuckDBPyRelation | None:
    """The answer. A query that needs columns under older names gets views that have them too."""
    try:
        return connection.sql(sql)
    except duckdb.BinderException as error:
        if not any(f'"{old}"' in str(error).lower() for names in RENAMED.values() for old in names):
            raise
    for name, names in RENAMED.items():
        columns = _aliases({new: old for old, new in names.items()})
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT *, {columns} FROM _{name}")  # noqa: S608
        for old, new in names.items():
            if re.search(rf"\b{old}\b", sql, re.IGNORECASE):
                say(f"The column {old} of {name} is now called {new}; the next version knows no {old}.")
    return connection.sql(sql)


def _aliases(names: Mapping[str, str]) -> str:
    return ", ".join(f"{column} AS {alias}" for column, alias in names.items())


def _with_own_names(answer: pa.Table, say: Callable[[str], None]) -> pa.Table:
    """The answer with unique column names: a second `x` becomes `x_1`, or the next free name."""
    names: list[str] = []
    for name in answer.column_names:
        own, number = name, 0
        while own in names or (number and own in answer.column_names):
            number += 1
            own = f"{name}_{number}"
        if number:
            say(f"The answer has the column {name} more than once: this one is called {own}.")
        names.append(own)
    return answer.rename_columns(names)


def format_of(format_name: str | None, out: str | None) -> str:
    """The format of an answer: the requested one, or that of the file's ending. Raises `ConfigError`."""
    if format_name is None:
        if out is None:
            return "table"
        ending = PurePosixPath(out).suffix.removeprefix(".").lower()
        if ending not in FILE_FORMATS:
            raise ConfigError(
                f"The file's name {out} does not say what to write: let it end in .csv, .json or .parquet, "
                "or give --format.",
                code=Code.OPTION_VALUE,
            )
        return ending
    if format_name not in ("table", *FILE_FORMATS):
        raise ConfigError(
            f"The format {format_name!r} is not one of table, csv, json, parquet.", code=Code.OPTION_VALUE
        )
    if format_name == "table" and out is not None:
        raise ConfigError(
            "A table is printed, not written to --out: give --format csv, json or parquet.", code=Code.OPTION_VALUE
        )
    return format_name


def render(answer: pa.Table, format_name: str, console: Console) -> bytes | None:
    """An answer as `csv`, `json` or `parquet` bytes; the format `table` is printed, and the result is None.

    JSON is one list of objects, with bytes in base64. Raises `ConfigError` for another format.
    """
    match format_name:
        case "table":
            _print(answer, console)
            return None
        case "csv":
            sink = io.BytesIO()
            pa_csv.write_csv(_plain(answer), sink)
            return sink.getvalue()
        case "json":
            return (json.dumps(answer.to_pylist(), default=_as_text, indent=1) + "\n").encode()
        case "parquet":
            return parquet_bytes(answer)
    raise ConfigError(f"The format {format_name!r} is not one of table, csv, json, parquet.", code=Code.OPTION_VALUE)


def _as_text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _plain(answer: pa.Table) -> pa.Table:
    """The answer with columns that CSV cannot hold (images, lists) as JSON text."""
    columns = []
    for column in answer.columns:
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            column = pa.array([None if v is None else json.dumps(v, default=_as_text) for v in column.to_pylist()])
        columns.append(column)
    return pa.table(columns, names=answer.column_names)


def _print(answer: pa.Table, console: Console) -> None:
    table = Table(box=None, header_style="bold")
    for name, column in zip(answer.column_names, answer.columns, strict=True):
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        table.add_column(escape(terminal_safe(name)), justify="right" if numeric else "left", overflow="fold")
    rows = [[_cell(value) for value in row.values()] for row in answer.slice(0, MAX_PRINTED_ROWS).to_pylist()]
    for row in rows:
        table.add_row(*row)
    if console.measure(table, options=console.options.update(width=UNBOUNDED_WIDTH)).maximum <= console.width:
        console.print(table)
    else:
        _print_records(answer.column_names, rows, console)
    if answer.num_rows > MAX_PRINTED_ROWS:
        console.print(f"… {answer.num_rows} rows; --format csv gives all of them", highlight=False)


def _print_records(names: list[str], rows: list[list[str]], console: Console) -> None:
    """Print one `column: value` a line, with an empty line between rows, for rows too wide for a table."""
    for number, row in enumerate(rows):
        if number:
            console.print()
        for name, value in zip(names, row, strict=True):
            console.print(f"{escape(terminal_safe(name))}: {value}", highlight=False)


def _cell(value: Any) -> str:
    match value:
        case None:
            return "–"
        case float():
            return f"{value:.4g}"
        case bytes():
            return f"<{len(value)} bytes>"
        case {"bytes": bytes() as data, "path": path}:
            return escape(terminal_safe(f"<{path}, {len(data)} bytes>"))
    return escape(terminal_safe(str(value)))
