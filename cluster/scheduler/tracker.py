"""How far a run is: counted here, shown on a display, and kept in the bucket for `pgcn status`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from cluster.monitor.display import Display
from cluster.monitor.snapshot import Lane, Snapshot
from cluster.scheduler.lease import Lease
from cluster.scheduler.queue import Job, Queue
from cluster.scheduler.worker import Outcome
from jobs.common.clock import now
from jobs.common.failures import StoreError
from jobs.layout import PROGRESS
from jobs.spec import EditSpec
from jobs.storage.store import Store

KEEP_EVERY_S = 10.0
WINDOW_S = 300.0


def said_of_model(figures: Mapping[str, Any]) -> str:
    """A model's figures in few words: fidelity beside copying."""
    return ", ".join(
        f"{name} {figures[key]:.3f}"
        for name, key in (("Fréchet", "frechet_vgg22"), ("copy", "copy"), ("diversity", "diversity"))
        if figures.get(key) is not None
    )


def said_of_edit(figures: Mapping[str, Any]) -> str:
    """An edit's own figure beside that of doing nothing, where there is one."""
    if figures.get("figure") is None:
        return f"{figures.get('width')}x{figures.get('height')} px"
    return f"{figures['figure']} {figures['value']:.3g}, {figures['nothing']:.3g} without the model"


class Tracker:
    """Counts what happens to the jobs of one run.

    `done` and `failed` are jobs settled before; `images` counts jobs, each once.
    """

    def __init__(self, store: Store, display: Display, jobs: list[Job], done: int, failed: int) -> None:
        self._store = store
        self._display = display
        self._images = len(jobs) + done + failed
        self._done = done
        self._failed = failed
        self._work = sum(job.work for job in jobs)
        self._finished_work = 0.0
        self._found_work = 0.0  # done before this run began: restart points
        self._seen: set[str] = set()
        self._history: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)])
        self._kept_at = 0.0
        self._said_previews = False
        self.committed_jobs: set[str] = set()

    def began(self, job: Job) -> None:
        """A job was given to a worker."""
        self._display.line(job.label if isinstance(job.spec, EditSpec) else f"training {job.label}")

    def committed(self, job: Job, outcome: Outcome) -> None:
        """A job is done."""
        self._done += 1
        self.committed_jobs.add(job.spec.job_id)
        self._finished_work += job.work
        figures = outcome.figures or {}
        measures = said_of_edit(figures) if isinstance(job.spec, EditSpec) else said_of_model(figures)
        caution = f"; look at it: {figures['warning']}" if figures.get("warning") else ""
        self._display.line(f"done {job.label} in {outcome.wall_s:.0f} s: {measures}{caution}")

    def found_done(self, job: Job) -> None:
        """Another command on the same run has done a job that waited here."""
        self._done += 1
        self.committed_jobs.add(job.spec.job_id)
        self._finished_work += job.work
        self._found_work += job.work
        self._display.line(f"done by another command {job.label}")

    def returned(self, job: Job) -> None:
        """A job came back untried or with its restart point."""
        self._display.line(f"handed back {job.label}; it goes on from its restart point")

    def failed(self, job: Job, outcome: Outcome, *, final: bool) -> None:
        """An attempt failed."""
        if final:
            self._failed += 1
            self._finished_work += job.work
        follows = "failed" if final else "will try again"
        self._display.line(f"{follows} {job.label} ({outcome.failure}): {outcome.message}")

    def tick(self, leases: list[Lease], queue: Queue) -> None:
        """Show how things are, and keep it in the bucket now and then."""
        snapshot = self._snapshot("running", leases, waiting=len(queue))
        self._display.show(snapshot)
        if not self._said_previews and any(lane.scale > 0 for lane in snapshot.lanes):
            self._said_previews = True
            self._display.line(f"first looks at images in training: {self._store.url}/previews")
        if time.monotonic() - self._kept_at > KEEP_EVERY_S:
            self._kept_at = time.monotonic()
            self._keep(snapshot)

    def end(self) -> None:
        """The run's last word."""
        left = self._images - self._done - self._failed
        self._keep(self._snapshot("ended", [], waiting=left))
        self._display.close()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Jobs done, failed and left."""
        return self._done, self._failed, self._images - self._done - self._failed

    def _keep(self, snapshot: Snapshot) -> None:
        try:
            self._store.put(PROGRESS, snapshot.model_dump_json().encode())
        except StoreError:
            # Progress is a courtesy: what matters is kept by the workers, and fails loudly there.
            self._display.line("could not write progress.json; `pgcn status` is behind")

    def _snapshot(self, state: str, leases: list[Lease], waiting: int) -> Snapshot:
        lanes, under_way = [], 0.0
        making = [job.label for lease in leases for job in lease.jobs if isinstance(job.spec, EditSpec)]
        for lease in leases:
            progress = lease.pulse.progress if lease.pulse else None
            if progress is None:
                continue
            work = sum(job.work for job in lease.jobs)
            under_way += work * progress.done
            assert lease.pulse is not None
            if lease.attempts[0] not in self._seen:
                self._seen.add(lease.attempts[0])
                # A first sight of far more than a few seconds of work: the job went on from a restart point.
                self._found_work += work * progress.done if progress.done > 0.1 else 0.0
            lanes += [
                Lane(
                    image_id=job.label,
                    scale=progress.scale,
                    scales=progress.scales,
                    iteration=progress.iteration,
                    iterations=progress.iterations,
                    rate=lease.pulse.rate,
                    done=progress.done,
                )
                for job in lease.jobs
            ]
        work = self._finished_work + under_way
        return Snapshot(
            state=state,
            updated_at=now(),
            images=self._images,
            done=self._done,
            failed=self._failed,
            waiting=waiting,
            lanes=tuple(lanes),
            making=tuple(making),
            share=min(1.0, work / self._work) if self._work else 1.0,
            eta_s=self._eta(work),
        )

    def _eta(self, work: float) -> float | None:
        """Seconds left at the pace of the last minutes; None for the first ten seconds of work."""
        moment = time.monotonic()
        made = work - self._found_work
        self._history.append((moment, made))
        while len(self._history) > 2 and moment - self._history[0][0] > WINDOW_S:
            self._history.popleft()
        since, then = self._history[0]
        if moment - since < 10 or made <= then:
            return None
        return (self._work - work) * (moment - since) / (made - then)
