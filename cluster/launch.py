"""`pgcn run`, from its request to its exit code: plan, train, gather, show."""

from __future__ import annotations

import pyarrow as pa
from ray.exceptions import RayError
from rich.console import Console

from cluster.exit import Exit
from cluster.gallery.publish import finish
from cluster.monitor.display import display_for
from cluster.monitor.status import under_way
from cluster.planning.plan import record_refusals
from cluster.planning.request import make_plan, prepare
from cluster.planning.run_options import Request
from cluster.ray_cluster.parallel_map import map_auto
from cluster.ray_cluster.ray_pool import RayWorkerPool
from cluster.ray_cluster.session import Cluster, first_line
from cluster.scheduler.driver import Driver
from cluster.scheduler.queue import Queue
from cluster.scheduler.stopping import StopSignal
from cluster.scheduler.tracker import KEEP_EVERY_S, Tracker
from jobs.common.failures import StoreError
from jobs.common.terminal_text import terminal_safe
from jobs.run_folder.commit import committed
from jobs.run_folder.edit_manifest import add_edits
from jobs.run_folder.identity import open_run
from jobs.run_folder.manifest import add_to_manifest
from jobs.storage.store import Store
from jobs.training_job import ExecutionOptions


def run(request: Request, console: Console, stop: StopSignal) -> Exit:
    """Do what a request asks for; says on the way what happens. Raises `JobError` before anything is begun."""
    cluster = Cluster(request.ray_address)
    try:
        return _run(request, cluster, console, stop)
    finally:
        cluster.leave()


def _run(request: Request, cluster: Cluster, console: Console, stop: StopSignal) -> Exit:
    prepared = prepare(request, cluster)
    store = prepared.store
    store.check()
    for sentence in prepared.said:
        console.print(sentence, highlight=False)
    open_run(store, prepared.identity)
    if len(prepared.sources) > 1000:
        console.print(f"Looking at {len(prepared.sources)} images …", highlight=False)
    try:
        plan = make_plan(prepared, cluster, retry=request.retry)
        if plan.jobs:
            cluster.join()
            cluster.check_room(prepared.need)
    except RayError as error:
        return _stopped(console, f"The images could not be looked at on the cluster: {first_line(error)}")
    add_to_manifest(store, plan.entries, prepared.known)
    add_edits(store, [*plan.superseded, *plan.edits], prepared.known_edits)
    pa.default_memory_pool().release_unused()  # what building tables took would be kept, for as long as jobs take
    record_refusals(store, plan)
    console.print(plan.summary(), highlight=False, markup=False)

    jobs = list(plan.jobs.values())
    queue = Queue(jobs)
    if jobs and under_way(store, 2 * KEEP_EVERY_S):
        console.print("Another command was at work here a moment ago: this one begins elsewhere.", highlight=False)
        queue.rotate()
    tracker = Tracker(store, display_for(console), jobs, len(plan.done), len(plan.failed) + len(plan.refused))
    device = prepared.device
    del prepared, plan, jobs  # a kilobyte an image, which nobody needs any more
    grows = cluster.address is not None
    trouble = _train(store, device, request, queue, tracker, stop, grows=grows) if len(queue) else None
    tracker.end()
    done, failed, left = tracker.counts
    counts = f"{done} done, {failed} failed, {left} left. The same command goes on."
    if stop and left:
        # Whoever stops a run wants to be gone: `pgcn gather` builds tables of what is done.
        console.print(f"Interrupted: {counts}", highlight=False)
        return Exit.INTERRUPTED
    damaged: list[str] = []
    try:
        if trouble is None and tracker.committed_jobs - committed(store):
            trouble = f"Workers are done, but {store.url} has nothing of it: use a bucket, or a folder that all share."
        if trouble is None:
            damaged = finish(store, map_auto)
    except StoreError as error:
        trouble = str(error)
    except (RayError, ConnectionError) as error:
        trouble = f"Tables and gallery could not be built on the cluster: {first_line(error)}"
    trouble = trouble or queue.stopped
    if trouble is not None:
        code = _stopped(console, trouble)
        console.print(counts, highlight=False)
        return Exit.BAD_COMMAND if queue.stopped_by_settings else code
    if damaged:
        console.print("Left out of the tables; --retry trains them again:", highlight=False)
        for sentence in damaged:
            console.print(f"  {terminal_safe(sentence)}", highlight=False, markup=False)
    console.print(f"{done} done, {failed} failed." if failed else f"All {done} done.", highlight=False)
    return Exit.SOME_FAILED if failed or damaged else Exit.DONE


def _train(
    store: Store, device: str, request: Request, queue: Queue, tracker: Tracker, stop: StopSignal, *, grows: bool
) -> str | None:
    """Drive the queue; returns a sentence where the storage or the cluster does not let us."""
    conditions = ExecutionOptions(device, request.checkpoint_seconds, request.max_pixels)
    fleet = RayWorkerPool(store, conditions, jobs_per_worker=request.jobs_per_worker, grows=grows)
    try:
        with stop.listening():
            Driver(queue, fleet, store, tracker, request.limits, request.stack).drive(stop)
    except StoreError as error:
        return str(error)
    except (RayError, ConnectionError) as error:
        return f"The Ray cluster is gone: {first_line(error)}"
    return None


def _stopped(console: Console, trouble: str) -> Exit:
    console.print(f"The run was aborted. {terminal_safe(trouble)}", highlight=False, markup=False)
    return Exit.ABORTED
