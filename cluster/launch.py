"""`pgcn run`, from its request to its exit code: plan, train, gather, show."""

from __future__ import annotations

from enum import IntEnum

from ray.exceptions import RayError
from rich.console import Console

from cluster.connection import Cluster
from cluster.display import display_for
from cluster.driver import Driver
from cluster.fleet import Fleet
from cluster.gallery import build_gallery
from cluster.gather import gather, is_current
from cluster.plan import record_refusals
from cluster.progress import Tracker
from cluster.queue import Queue
from cluster.request import Request, make_plan, prepare
from cluster.stopping import StopSignal
from jobs.failures import StoreError
from jobs.identity import open_run
from jobs.manifest import add_to_manifest
from jobs.run import Conditions
from jobs.store import Store


class Exit(IntEnum):
    """What `pgcn run` answers to its shell."""

    DONE = 0
    BAD_COMMAND = 2
    SOME_FAILED = 3
    STOPPED = 4
    INTERRUPTED = 130


def run(request: Request, console: Console, stop: StopSignal) -> Exit:
    """Do what a request asks for; says on the way what happens. Raises `JobError` before anything is begun."""
    cluster = Cluster(request.ray_address)
    try:
        with stop.listening():
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
    plan = make_plan(prepared, cluster, retry=request.retry)
    add_to_manifest(store, plan.entries, prepared.known)
    record_refusals(store, plan)
    failed_before = len(plan.failed) + len(plan.refused)
    console.print(plan.summary(), highlight=False, markup=False)

    queue = Queue(plan.jobs.values())
    tracker = Tracker(store, display_for(console), list(plan.jobs.values()), len(plan.done), failed_before)
    trouble: str | None = None
    try:
        if plan.jobs:
            cluster.join()
            cluster.check_room(prepared.need)
            conditions = Conditions(prepared.device, request.checkpoint_seconds, request.max_pixels)
            fleet = Fleet(store, conditions, jobs_per_worker=request.jobs_per_worker)
            with stop.listening():
                Driver(queue, fleet, store, tracker, request.limits).drive(stop)
    except StoreError as error:
        trouble = str(error)
    except (RayError, ConnectionError) as error:
        trouble = f"The Ray cluster is gone: {str(error).strip().splitlines()[0]}"
    finally:
        tracker.end()
    if plan.jobs or plan.unrecorded or not is_current(store):
        trouble = trouble or _finish(store, console)
    return _verdict(queue, tracker, trouble, console, stop)


def _finish(store: Store, console: Console) -> str | None:
    """Build tables and gallery; returns a sentence where the storage does not let us."""
    try:
        found = gather(store)
        build_gallery(store)
    except StoreError as error:
        return str(error)
    for problem in found.problems:
        console.print(f"Left out of the tables: {problem}.", highlight=False, markup=False)
    return None


def _verdict(queue: Queue, tracker: Tracker, trouble: str | None, console: Console, stop: StopSignal) -> Exit:
    done, failed, left = tracker.counts
    if queue.stopped is not None or trouble is not None:
        console.print(f"The run stopped. {queue.stopped or trouble}", highlight=False, markup=False)
        console.print(f"{done} done, {failed} failed, {left} left. The same command goes on.", highlight=False)
        return Exit.BAD_COMMAND if queue.stopped_by_settings else Exit.STOPPED
    if stop and left:
        console.print(f"Interrupted: {done} done, {failed} failed, {left} left. The same command goes on.")
        return Exit.INTERRUPTED
    console.print(f"{done} done, {failed} failed." if failed else f"All {done} done.", highlight=False)
    return Exit.SOME_FAILED if failed else Exit.DONE
