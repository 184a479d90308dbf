"""`pgcn gather`, `gallery` and `query`: the tables of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import RunFolder, console
from cluster.exit import Exit
from cluster.monitor.status import require_run
from jobs.common.failures import Code, ConfigError
from jobs.common.terminal_text import terminal_safe
from jobs.storage.store import Store


def gather(run: RunFolder) -> None:
    """Build the run's tables from its records, at any time. Exit codes: 0 done, 3 damaged records were left out."""
    from cluster.tables.build import gather as build

    store = Store(run)
    require_run(store)
    found = build(store)
    for name, rows in found.rows.items():
        console.print(f"{name}: {rows} rows", highlight=False)
    for problem in found.problems:
        console.print(f"Left out: {terminal_safe(problem)}.", highlight=False, markup=False)
    if found.problems:
        raise typer.Exit(Exit.SOME_FAILED)


def gallery(run: RunFolder) -> None:
    """Build the run's gallery from its tables."""
    from cluster.gallery import build_gallery
    from cluster.tables.build import gather as build_tables
    from cluster.tables.build import is_current, records_now

    store = Store(run)
    require_run(store)
    if not is_current(store, records_now(store)):
        build_tables(store)
    print(build_gallery(store))


def query(
    run: RunFolder,
    sql: Annotated[str, typer.Argument(metavar="SQL", help='As "SELECT image_id, copy FROM results".')],
    format_: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file, not to stdout.")] = None,
) -> None:
    """Query the run's tables with SQL: manifest, results, samples, metrics, edits, pictures, failures, attempts."""
    from cluster.tables.query import query as ask
    from cluster.tables.query import render

    data = render(ask(Store(run), sql), format_, console)
    if data is None:
        return
    if out is None:
        sys.stdout.buffer.write(data)
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"The file {out} cannot be written: {error.strerror}.", code=Code.OUTPUT_UNWRITABLE) from None
