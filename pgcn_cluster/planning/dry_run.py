"""`pgcn run --dry-run`: prints the plan of a run, with refusals and an estimate of the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pgcn.methods import method_of
from pgcn_cluster.monitor.snapshot import duration
from pgcn_cluster.planning.backend import backend_for
from pgcn_cluster.planning.estimate import measured_speed
from pgcn_cluster.planning.intake import make_plan
from pgcn_cluster.planning.plan import Plan, total
from pgcn_cluster.planning.request import Prepared, prepare
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.planning.sort_jobs import image_size
from pgcn_cluster.planning.work import work_of
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.run_folder.edit_manifest import EditEntry
from pgcn_jobs.run_folder.manifest import Entry
from pgcn_jobs.spec import JobSpec

LISTED_JOBS = 20
"""Images, and edits, that the printed plan lists one by one, beside those that are refused."""

Requested = TypeVar("Requested", Entry, EditEntry)


def dry_run(request: Request, console: Console) -> None:
    """Print the plan of a request. Writes nothing and starts no Ray. Raises `JobError` as the run does."""
    cluster = backend_for(request)
    try:
        prepared = prepare(request, cluster)
        prepared.check_belongs()
        plan = make_plan(prepared, retry=request.retry)
    finally:
        cluster.leave()
    for sentence in prepared.said:
        console.print(sentence, highlight=False)
    table = Table("image", "size", "trained at", "scales", "plan", box=None, header_style="bold")
    listed = _listed(plan, plan.entries)
    for entry in listed:
        size = (entry.height, entry.width) if entry.height and entry.width else None
        settings = entry.parsed_settings
        sizes = method_of(settings).plan(*size, settings).sizes if size and not entry.problem else []
        table.add_row(
            escape(terminal_safe(entry.image_id)),
            f"{entry.width}x{entry.height}" if size else "",
            f"{sizes[-1][1]}x{sizes[-1][0]}" if sizes else "",
            str(len(sizes) or ""),
            escape(terminal_safe(plan.fate(entry))),
        )
    console.print(table)
    _print_rest(console, len(plan.entries) - len(listed), "images")
    if plan.edits:
        edits = _listed(plan, plan.edits)
        console.print(_table_of(plan, edits))
        _print_rest(console, len(plan.edits) - len(edits), "edits")
    console.print(total(plan).summary(), highlight=False, markup=False)
    if plan.jobs:
        console.print(_estimate(prepared, plan), highlight=False)


def _listed(plan: Plan, requested: Sequence[Requested]) -> list[Requested]:
    """All that are refused, and then the first of the others."""
    refused = [each for each in requested if each.job_id in plan.refused]
    others = [each for each in requested if each.job_id not in plan.refused]
    return refused + others[:LISTED_JOBS]


def _print_rest(console: Console, count: int, what: str) -> None:
    if count:
        console.print(f"… and {count} more {what}", highlight=False)


def _table_of(plan: Plan, edits: Sequence[EditEntry]) -> Table:
    table = Table("edit", "task", "pyramid", "plan", box=None, header_style="bold")
    for edit in edits:
        pyramid = edit.image_id if edit.pyramid_run is None else f"{edit.image_id} in {edit.pyramid_run}"
        table.add_row(*(escape(terminal_safe(text)) for text in (edit.edit_id, edit.task, pyramid, plan.fate(edit))))
    return table


def _estimate(prepared: Prepared, plan: Plan) -> str:
    """The time of all trainings with their samples, from the speed of this machine in seconds of similar work."""
    entries = {entry.job_id: entry for entry in plan.entries}
    trainings = [(job.spec, image_size(entries[id])) for id, job in plan.jobs.items() if isinstance(job.spec, JobSpec)]
    if not trainings:
        return "No estimate of the time: nothing is trained."
    if prepared.device == "cuda" and not torch.cuda.is_available():
        return "No estimate of the time: jobs run on GPUs, and this machine, which measures the speed, has none."
    works = [work_of(spec.settings, spec.plan, size) for spec, size in trainings]
    largest, (spec, size) = max(zip(works, trainings, strict=True), key=lambda one: one[0].operations)
    threads = max(1, int(prepared.need.cpus))
    speed = measured_speed(size, spec.settings, prepared.device, threads)
    seconds = [speed.seconds(work) for work in works]
    training = sum(work.training for work in works) / speed.rate
    workers = "one job on a GPU" if prepared.device == "cuda" else f"one job on {threads} core{'s' * (threads > 1)}"
    return (
        f"About {duration(sum(seconds))} in all: {duration(training)} of training, {duration(sum(seconds) - training)} "
        f"to draw, measure and store samples. The largest image takes {duration(speed.seconds(largest))}. This is at "
        f"the speed of {workers} of this machine; divide by the number of concurrent jobs."
    )
