"""`pgcn verify`, `gc` and `doctor`: checks and repair of runs and storage."""

from __future__ import annotations

from typing import Annotated

import typer

from pgcn_cluster.cli.arguments import AsJson, RunFolder, console
from pgcn_jobs.storage.store import Store


def verify(
    run: RunFolder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop damaged records, and build tables and gallery anew.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only, and read no artifact.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a run: its commits, their artifacts, its tables. Exit codes: 0 sound, 3 not sound."""
    from pgcn_cluster.maintenance.report import report_verification

    raise typer.Exit(report_verification(Store(run), console, quick=quick, mend=repair, as_json=as_json))


def gc(
    run: RunFolder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the garbage, and remove nothing.")] = False,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Minimum age of attempts, longer than any job takes: 36h, 7d.")
    ] = "24h",
) -> None:
    """Remove a run's garbage: never an object that a commit names."""
    from pgcn_cluster.maintenance.report import report_garbage

    report_garbage(Store(run), console, older_than=older_than, dry_run=dry_run)


def doctor(url: Annotated[str, typer.Argument(metavar="URL", help="A folder or bucket, as for --out.")]) -> None:
    """Test a storage, and print the consequences for a run. Exit codes: 0 usable, 2 not usable."""
    from pgcn_cluster.maintenance.report import report_storage

    raise typer.Exit(report_storage(url, console))
