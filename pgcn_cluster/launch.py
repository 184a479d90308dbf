"""`pgcn run`, from its request to its exit code: plan, train, build tables and gallery, conclude."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from pgcn_cluster.exit import Exit
from pgcn_cluster.gallery.publish import publish
from pgcn_cluster.interrupts import INTERRUPTS
from pgcn_cluster.monitor.display import display_for
from pgcn_cluster.monitor.status import under_way
from pgcn_cluster.planning.backend import backend_for
from pgcn_cluster.planning.intake import Intake
from pgcn_cluster.planning.request import Prepared, prepare
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.ray_cluster.parallel_map import map_auto
from pgcn_cluster.scheduler.arrivals import Arrived
from pgcn_cluster.scheduler.driver import Driver
from pgcn_cluster.scheduler.meter import NoMeter
from pgcn_cluster.scheduler.queue import Queue
from pgcn_cluster.scheduler.stopping import StopSignal
from pgcn_cluster.scheduler.tracker import KEEP_EVERY_S, Tracker
from pgcn_cluster.scheduler.worker_pool import Backend, first_line
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.job_context import ExecutionOptions
from pgcn_jobs.run_folder.commit import committed
from pgcn_jobs.run_folder.identity import open_run
from pgcn_jobs.storage.store import Store


class _Abort(Exception):
    """The run cannot go on; the text is a sentence that says why."""


@dataclass(frozen=True)
class _Work:
    """All that training needs."""

    store: Store
    options: ExecutionOptions
    queue: Queue
    tracker: Tracker
    intake: Intake


def run(request: Request, console: Console, stop: StopSignal, backend: Backend | None = None) -> Exit:
    """Run a request to its end, on `backend` or the one that it names, and say on the way what happens.

    Raises `JobError` or `SettingsError` for a request that cannot be run, before anything is begun.
    """
    backend = backend or backend_for(request)
    try:
        with INTERRUPTS.at_once():  # the same command continues after any end of this one
            work = _begin(request, backend, console)
        problem = _train(work, request, backend, stop) if len(work.queue) or work.intake.open else None
        work.tracker.end()
        if stop and work.tracker.counts[2]:
            # Whoever stops a run wants it to end now: `pgcn gather` builds tables of what is done.
            console.print(f"Interrupted: {_counts(work.tracker)}", highlight=False)
            return Exit.INTERRUPTED
        return _conclude(work, problem, backend, console)
    except _Abort as abort:
        return _stopped(console, str(abort))
    finally:
        backend.leave()


def _begin(request: Request, backend: Backend, console: Console) -> _Work:
    """Plan the request, and write to the run folder what it asks for."""
    prepared = prepare(request, backend)
    prepared.store.check()
    for sentence in prepared.said:
        console.print(sentence, highlight=False)
    open_run(prepared.store, prepared.identity)
    if len(prepared.sources) > 1000:
        console.print(f"Looking at {len(prepared.sources)} images …", highlight=False)
    intake = Intake(prepared, backend.background, retry=request.retry)
    first = _first_jobs(intake, prepared, backend)
    for sentence in first.said:
        console.print(terminal_safe(sentence), highlight=False, markup=False)
    if intake.open:
        console.print(
            f"Training begins; {first.unseen} of {len(prepared.sources)} images are still to be looked at.",
            highlight=False,
        )
    else:
        console.print(intake.totals.summary(), highlight=False, markup=False)
    queue = Queue(first.jobs, request.limits.backoff_s)
    if first.jobs and under_way(prepared.store, 2 * KEEP_EVERY_S):
        console.print("Another command was at work here a moment ago: this one begins elsewhere.", highlight=False)
        queue.rotate()
    return _Work(
        store=prepared.store,
        options=ExecutionOptions(prepared.device, request.checkpoint_seconds, request.max_pixels),
        queue=queue,
        tracker=Tracker(
            prepared.store,
            display_for(console),
            first.jobs,
            first.done,
            first.failed,
            backend.meter(prepared.store.url) if first.jobs else NoMeter(),
            unseen=first.unseen,
        ),
        intake=intake,
    )


def _first_jobs(intake: Intake, prepared: Prepared, backend: Backend) -> Arrived:
    """The jobs of the first images looked at; all images are looked at where there are few, or none is to be trained.

    Raises `_Abort` where the cluster fails, and with the `StoreError`s of storage.
    """
    try:
        first = intake.begin()
        if first.jobs:
            backend.join()
            backend.check_room(prepared.need)
    except backend.errors as error:
        raise _Abort(f"The images could not be looked at on the cluster: {first_line(error)}") from error
    return first


def _train(work: _Work, request: Request, backend: Backend, stop: StopSignal) -> str | None:
    """Drive the queue to its end; returns a sentence where the storage or the cluster fails."""
    pool = backend.pool(work.store, work.options, request.jobs_per_worker)
    try:
        with stop.listening():
            Driver(work.queue, pool, work.store, work.tracker, request.limits, request.batch, work.intake).drive(stop)
    except StoreError as error:
        return str(error)
    except backend.errors as error:
        return f"The Ray cluster is gone: {first_line(error)}"
    finally:
        work.intake.close()
    return None


def _publish(work: _Work, backend: Backend) -> list[str]:
    """Build tables and gallery; returns sentences about damaged results. Raises `_Abort` where they cannot be built."""
    store = work.store
    try:
        if work.tracker.committed_jobs - committed(store):
            raise _Abort(
                f"Workers are done, but {store.url} has nothing of it: use a bucket, or a folder that all share."
            )
        return publish(store, map_auto)
    except StoreError as error:
        raise _Abort(str(error)) from error
    except backend.errors as error:
        raise _Abort(f"Tables and gallery could not be built on the cluster: {first_line(error)}") from error


def _conclude(work: _Work, problem: str | None, backend: Backend, console: Console) -> Exit:
    """Build tables and gallery where nothing is wrong, say how the run ended, and choose the exit code."""
    damaged: list[str] = []
    if problem is None:
        try:
            damaged = _publish(work, backend)
        except _Abort as abort:
            problem = str(abort)
    problem = problem or work.queue.stopped
    if problem is not None:
        code = _stopped(console, problem)
        console.print(_counts(work.tracker), highlight=False)
        return Exit.BAD_COMMAND if work.queue.stopped_by_settings else code
    if damaged:
        console.print("Left out of the tables; --retry trains them again:", highlight=False)
        for sentence in damaged:
            console.print(f"  {terminal_safe(sentence)}", highlight=False, markup=False)
    done, failed, _ = work.tracker.counts
    console.print(f"{done} done, {failed} failed." if failed else f"All {done} done.", highlight=False)
    return Exit.SOME_FAILED if failed or damaged else Exit.DONE


def _counts(tracker: Tracker) -> str:
    done, failed, left = tracker.counts
    return f"{done} done, {failed} failed, {left} left. The same command goes on."


def _stopped(console: Console, problem: str) -> Exit:
    console.print(f"The run was aborted. {terminal_safe(problem)}", highlight=False, markup=False)
    return Exit.ABORTED
