"""`pgcn gather`, `gallery`, `query` and `export`: the tables of a run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from pgcn_cluster.cli.arguments import RunFolder, console
from pgcn_cluster.exit import Exit
from pgcn_cluster.monitor.status import require_run
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.storage.outputs import write_file
from pgcn_jobs.storage.store import Store


def gather(run: RunFolder) -> None:
    """Build the run's tables from its records, at any time. Exit codes: 0 done, 3 damaged records were left out."""
    from pgcn_cluster.tables.build import build_tables

    store = Store(run)
    require_run(store)
    found = build_tables(store)
    for name, rows in found.rows.items():
        console.print(f"{name}: {rows} rows", highlight=False)
    for problem in found.problems:
        console.print(f"Left out: {terminal_safe(problem)}.", highlight=False, markup=False)
    if found.problems:
        raise typer.Exit(Exit.SOME_FAILED)


def gallery(run: RunFolder) -> None:
    """Build the run's gallery from its tables."""
    from pgcn_cluster.gallery import build_gallery
    from pgcn_cluster.tables.build import build_tables, is_current, records_now

    store = Store(run)
    require_run(store)
    if not is_current(store, records_now(store)):
        build_tables(store)
    print(build_gallery(store))


def export(
    run: RunFolder,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="An empty folder or URL, or that of an earlier export.")],
) -> None:
    """Write the samples and their labels as images/, masks/ and metadata.csv, for a program that trains segmentation.

    The table has the share of each sample that is copied from its own image, and from any other image of the run.
    """
    from pgcn_cluster.export.export import export as write
    from pgcn_cluster.tables.build import build_tables, is_current, records_now

    store = Store(run)
    require_run(store)
    if not is_current(store, records_now(store)):
        build_tables(store)
    print(f"{write(store, out, _note)} pairs in {Store(out).url}")


def query(
    run: RunFolder,
    sql: Annotated[str, typer.Argument(metavar="SQL", help='As "SELECT image_id, copy FROM results".')],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="table, csv, json or parquet; by default by the ending of --out, else table."),
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write to this file or URL, not to stdout.")] = None,
) -> None:
    """Query the run's tables with SQL: manifest, results, samples, metrics, edits, pictures, failures, attempts.

    Of two columns with one name, as image_id, the second is called image_id_1.
    """
    from pgcn_cluster.tables.query import format_of, render
    from pgcn_cluster.tables.query import query as ask

    wanted = format_of(format_, out)
    data = render(ask(Store(run), sql, _note), wanted, console)
    if data is None:
        return
    if out is not None:
        write_file(out, data)
    else:
        sys.stdout.buffer.write(data)


def _note(text: str) -> None:
    """Print a note on stderr: a program may read the answer."""
    Console(stderr=True, soft_wrap=True).print(terminal_safe(text), highlight=False, markup=False)
