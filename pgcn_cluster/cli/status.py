"""`pgcn status` and `failures`: the state of a run, from its folder alone."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pgcn_cluster.cli.arguments import AsJson, RunFolder, console
from pgcn_cluster.monitor.snapshot import summary, view
from pgcn_cluster.monitor.status import Status, failed_for_good, require_run
from pgcn_cluster.monitor.status import status as read_status
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.run_folder.commit import Failure, committed
from pgcn_jobs.run_folder.edit_manifest import read_edits
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.storage.store import Store

REFRESH_S = 5


def status(
    run: RunFolder,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the progress live until the run ends.")] = False,
) -> None:
    """Print the state of a run, from its folder alone: also while it is active on another machine."""
    if as_json and watch:
        raise ConfigError(
            "--json prints the state once, and --watch goes on: give one of them.", code=Code.OPTION_VALUE
        )
    store = Store(run)
    current = read_status(store)
    if as_json:
        print(json.dumps(current.model_dump(mode="json"), indent=1))
        return
    if watch:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while current.progress is not None:
                live.update(view(current.progress), refresh=True)
                time.sleep(REFRESH_S)
                current = read_status(store)
    _print_status(current)


def _print_status(current: Status) -> None:
    methods = f"methods {', '.join(current.methods)}, " if len(current.methods) > 1 else ""
    console.print(
        terminal_safe(f"{current.run}: {current.state}, {methods}preset {current.preset}, begun {current.created_at}"),
        highlight=False,
        markup=False,
    )
    asked = [f"{current.images} images", *([f"{current.edits} edits"] if current.edits else [])]
    parts = [*asked, f"{current.done} done", f"{current.failed} failed", f"{current.waiting} left"]
    console.print(", ".join(parts), highlight=False)
    for name, count in current.failures.items():
        console.print(f"  {name}: {count}", highlight=False)
    if current.progress:
        console.print(summary(current.progress), highlight=False)
        console.print(view(current.progress))


def failures(run: RunFolder, as_json: AsJson = False) -> None:
    """List the failed and refused images and edits, with the reasons; as JSON, with tracebacks."""
    store = Store(run)
    require_run(store)
    found = _failures(store)
    if as_json:
        print(json.dumps([{key: name, **f.model_dump(mode="json")} for name, key, f in found], indent=1))
        return
    if not found:
        console.print("No image has failed.")
        return
    table = Table("image", "failure", "code", "reason", box=None, header_style="bold")
    for name, _, failure in found:
        cells = (name, str(failure.failure), failure.code or "", failure.message)
        table.add_row(*(escape(terminal_safe(text)) for text in cells))
    console.print(table)
    console.print("`pgcn run` with the same options and --retry tries them again.", highlight=False)


def _failures(store: Store) -> list[tuple[str, str, Failure]]:
    """Each failed image or edit: its name, the name of its key, and its last failure."""
    images = {image_id: entry.job_id for image_id, entry in sorted(read_manifest(store).items())}
    edits = {edit_id: entry.job_id for edit_id, entry in sorted(read_edits(store).items())}
    failed = failed_for_good(store, {*images.values(), *edits.values()}, committed(store))
    return [
        (name, key, failed[job])
        for key, jobs in (("image_id", images), ("edit_id", edits))
        for name, job in jobs.items()
        if job in failed
    ]
