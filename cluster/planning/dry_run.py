"""`pgcn run --dry-run`: what would run, what is done, what is refused and why, and how long it may take."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.monitor.snapshot import duration
from cluster.planning.backend import backend_for
from cluster.planning.plan import Plan
from cluster.planning.request import Prepared, Request, make_plan, prepare
from jobs.common.terminal_text import terminal_safe
from jobs.spec import JobSpec
from pgcn.imaging.scales import scale_sizes
from pgcn.patchgencn.flops import measured_rate
from pgcn.settings import Settings

SHOWN = 20


def dry_run(request: Request, console: Console) -> None:
    """Show the plan of a request. Writes nothing and starts no Ray. Raises `JobError` as the run would."""
    cluster = backend_for(request)
    try:
        prepared = prepare(request, cluster)
        prepared.check_belongs()
        plan = make_plan(prepared, None, retry=request.retry)
    finally:
        cluster.leave()
    for sentence in prepared.said:
        console.print(sentence, highlight=False)
    table = Table("image", "size", "trained at", "scales", "what follows", box=None, header_style="bold")
    for entry in plan.entries[:SHOWN]:
        settings = Settings.model_validate_json(entry.settings)
        size = (entry.height, entry.width) if entry.height and entry.width else None
        sizes = scale_sizes(*size, settings) if size and not entry.problem else []
        table.add_row(
            escape(terminal_safe(entry.image_id)),
            f"{entry.width}x{entry.height}" if size else "",
            f"{sizes[-1][1]}x{sizes[-1][0]}" if sizes else "",
            str(len(sizes) or ""),
            escape(terminal_safe(plan.fate(entry))),
        )
    console.print(table)
    if len(plan.entries) > SHOWN:
        console.print(f"… and {len(plan.entries) - SHOWN} more images", highlight=False)
    if plan.edits:
        console.print(_edits(plan))
    if len(plan.edits) > SHOWN:
        console.print(f"… and {len(plan.edits) - SHOWN} more edits", highlight=False)
    console.print(plan.summary(), highlight=False, markup=False)
    if plan.jobs:
        console.print(_estimate(prepared, plan), highlight=False)


def _edits(plan: Plan) -> Table:
    table = Table("edit", "task", "model", "what follows", box=None, header_style="bold")
    for edit in plan.edits[:SHOWN]:
        model = edit.image_id if edit.pyramid_run is None else f"{edit.image_id} in {edit.pyramid_run}"
        table.add_row(*(escape(terminal_safe(text)) for text in (edit.edit_id, edit.task, model, plan.fate(edit))))
    return table


def _estimate(prepared: Prepared, plan: Plan) -> str:
    """Time for all jobs, from the speed of this machine in a second of work like theirs."""
    work = sum(job.work for job in plan.jobs.values())
    trainings = [(job, job.spec) for job in plan.jobs.values() if isinstance(job.spec, JobSpec)]
    if not trainings:
        return "No estimate of the time: nothing is trained."
    largest, spec = max(trainings, key=lambda training: training[0].work)
    entry = next(e for e in plan.entries if e.job_id == spec.job_id)
    assert entry.height is not None
    assert entry.width is not None
    size = scale_sizes(entry.height, entry.width, spec.settings)[-1]
    threads = max(1, int(prepared.need.cpus))
    if prepared.device == "cuda" and not torch.cuda.is_available():
        return "No estimate of the time: jobs would run on GPUs, and this machine, where it is measured, has none."
    rate = measured_rate(size, spec.settings, prepared.device, threads)
    workers = "one job on a GPU" if prepared.device == "cuda" else f"one job on {threads} core{'s' * (threads > 1)}"
    return (
        f"About {duration(work / rate)} of training in all, {duration(largest.work / rate)} for the largest image, "
        f"at the speed of {workers} of this machine; divide by the jobs that run side by side."
    )
