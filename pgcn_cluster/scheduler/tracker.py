"""Progress of a run: counted, shown on a display, and kept in the run folder for `pgcn status`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from pgcn_cluster.monitor.display import Display
from pgcn_cluster.monitor.snapshot import Lane, Snapshot
from pgcn_cluster.scheduler.arrivals import Arrived
from pgcn_cluster.scheduler.lease import Lease
from pgcn_cluster.scheduler.meter import Kind, Meter, NoMeter
from pgcn_cluster.scheduler.queue import Job, Queue
from pgcn_cluster.scheduler.worker import Outcome
from pgcn_jobs.common.clock import now
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.layout import PROGRESS
from pgcn_jobs.spec import EditSpec
from pgcn_jobs.storage.store import Store

KEEP_EVERY_S = 10.0
"""Time between two writes of progress.json, s."""

RATE_WINDOW_S = 300.0
"""Time over which the pace is measured, s."""

_NO_METER = NoMeter()


def describe_model(metrics: Mapping[str, Any]) -> str:
    """The metrics of a pyramid's samples in few words: fidelity beside copying, which alone would win it."""
    shown = {"frechet_vgg33": "distance {:.3f}", "largest_piece": "largest copied piece {:.0%}"}
    shown |= {"in_place": "in place {:.0%}", "layout_diversity": "layout diversity {:.2f}"}
    return ", ".join(words.format(metrics[name]) for name, words in shown.items() if metrics.get(name) is not None)


def describe_edit(metrics: Mapping[str, Any]) -> str:
    """An edit's own metric beside its baseline, where there is one."""
    if metrics.get("metric") is None:
        return f"{metrics.get('width')}x{metrics.get('height')} px"
    return f"{metrics['metric']} {metrics['value']:.3g}, baseline {metrics['baseline']:.3g}"


def _kind(job: Job) -> Kind:
    return "edit" if isinstance(job.spec, EditSpec) else "pyramid"


class Tracker:
    """Counts the jobs of one run; `done` and `failed` are those settled by earlier commands.

    `meter` gets the numbers of this command. `unseen` is the number of images that are still to be looked at.
    """

    def __init__(
        self,
        store: Store,
        display: Display,
        jobs: list[Job],
        done: int,
        failed: int,
        meter: Meter = _NO_METER,
        unseen: int = 0,
    ) -> None:
        self._meter = meter
        self._store = store
        self._display = display
        self._images = len(jobs) + done + failed
        self._done = done
        self._failed = failed
        self._unseen = unseen
        self._work = sum(job.work for job in jobs)
        self._finished_work = 0.0
        self._found_work = 0.0  # work of earlier commands: checkpoints
        self._seen: set[str] = set()
        self._history: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)])
        self._kept_at = 0.0
        self._announced_previews = False
        self.committed_jobs: set[str] = set()

    def arrived(self, arrived: Arrived) -> None:
        """More images were looked at."""
        self._images += len(arrived.jobs) + arrived.done + arrived.failed
        self._done += arrived.done
        self._failed += arrived.failed
        self._unseen = arrived.unseen
        self._work += sum(job.work for job in arrived.jobs)
        for sentence in arrived.said:
            self._display.line(sentence)

    def began(self, job: Job) -> None:
        """A job was given to a worker."""
        self._display.line(job.label if isinstance(job.spec, EditSpec) else f"training {job.label}")

    def committed(self, job: Job, outcome: Outcome) -> None:
        """A job is done."""
        self._done += 1
        self.committed_jobs.add(job.spec.job_id)
        self._finished_work += job.work
        self._meter.done(_kind(job), outcome.wall_s)
        metrics = outcome.metrics or {}
        said = describe_edit(metrics) if isinstance(job.spec, EditSpec) else describe_model(metrics)
        caution = f"; look at it: {metrics['warning']}" if metrics.get("warning") else ""
        self._display.line(f"done {job.label} in {outcome.wall_s:.0f} s: {said}{caution}")

    def found_done(self, job: Job) -> None:
        """A waiting job was committed by another command on the same run."""
        self._done += 1
        self.committed_jobs.add(job.spec.job_id)
        self._finished_work += job.work
        self._found_work += job.work
        self._display.line(f"done by another command {job.label}")

    def returned(self, job: Job) -> None:
        """A job came back, untried or with its checkpoint."""
        self._display.line(f"handed back {job.label}; it goes on from its checkpoint")

    def failed(self, job: Job, outcome: Outcome, *, final: bool) -> None:
        """An attempt failed."""
        if final:
            self._failed += 1
            self._finished_work += job.work
            self._meter.failed(_kind(job))
        consequence = "failed" if final else "will try again"
        self._display.line(f"{consequence} {job.label} ({outcome.failure}): {outcome.message}")

    def tick(self, leases: list[Lease], queue: Queue) -> None:
        """Show the progress, and write it to the run folder from time to time."""
        snapshot = self._snapshot("running", leases, waiting=len(queue))
        self._meter.state(sum(len(lease.jobs) for lease in leases), len(queue))
        self._display.show(snapshot)
        if not self._announced_previews and any(lane.scale > 0 for lane in snapshot.lanes):
            self._announced_previews = True
            self._display.line(f"previews of images in training: {self._store.url}/previews")
        if time.monotonic() - self._kept_at > KEEP_EVERY_S:
            self._kept_at = time.monotonic()
            self._keep(snapshot)

    def end(self) -> None:
        """Write the last state of the run, and close the display."""
        left = self._images - self._done - self._failed
        self._keep(self._snapshot("ended", [], waiting=left))
        self._meter.state(0, left)
        self._display.close()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Jobs done, failed and left; an image that was not looked at counts as one."""
        return self._done, self._failed, self._images - self._done - self._failed + self._unseen

    def _keep(self, snapshot: Snapshot) -> None:
        try:
            self._store.put(PROGRESS, snapshot.model_dump_json().encode())
        except StoreError:
            # Nothing depends on progress.json: workers write results, and report where that fails.
            self._display.line("could not write progress.json; `pgcn status` is behind")

    def _snapshot(self, state: str, leases: list[Lease], waiting: int) -> Snapshot:
        lanes, under_way = [], 0.0
        self._seen &= {lease.attempts[0] for lease in leases}  # those that have ended are no longer needed
        making = [job.label for lease in leases for job in lease.jobs if isinstance(job.spec, EditSpec)]
        for lease in leases:
            progress = lease.heartbeat.progress if lease.heartbeat else None
            if progress is None:
                continue
            # Heartbeats report the progress of the training alone.
            work = sum(job.work - job.drawing for job in lease.jobs)
            under_way += work * progress.done
            assert lease.heartbeat is not None
            if lease.attempts[0] not in self._seen:
                self._seen.add(lease.attempts[0])
                # Far more than a few seconds of work at the first heartbeat: the job went on from a checkpoint.
                self._found_work += work * progress.done if progress.done > 0.1 else 0.0
            lanes += [
                Lane(
                    image_id=job.label,
                    scale=progress.scale,
                    scales=progress.scales,
                    iteration=progress.iteration,
                    iterations=progress.iterations,
                    rate=lease.heartbeat.rate,
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
            unseen=self._unseen,
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
        while len(self._history) > 2 and moment - self._history[0][0] > RATE_WINDOW_S:
            self._history.popleft()
        since, then = self._history[0]
        if moment - since < 10 or made <= then:
            return None
        return (self._work - work) * (moment - since) / (made - then)
