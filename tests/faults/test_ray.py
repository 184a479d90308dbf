"""Strikes at real Ray: its workers and drivers. For `make soak`."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from jobs.store import Store
from tests.cluster.machines import ray_cluster
from tests.cluster.running import checkpoints, options, start, wait_for, write_photographs
from tests.faults.checks import is_as_if_nothing_happened, rows
from tests.faults.command import SIZE, run

pytestmark = [pytest.mark.soak]

LONG = {**SIZE, "iterations": 60, "langevin_steps": 10, "langevin_steps_init": 10}
GOOD, BAD = 4, 1


@pytest.fixture(scope="module")
def machines(moto):
    """A head without cores, as on Kubernetes."""
    with ray_cluster(moto, job_server=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Images, the tables of a run over them that nobody disturbs, and its seconds on one core."""
    root = tmp_path_factory.mktemp("long")
    images = write_photographs(root / "images", GOOD)
    (images / "empty.png").write_bytes(b"")
    code, output = run(images, root / "run", size=LONG)
    assert code == 3, output
    return images, rows(Store(str(root / "run")))


class Batch:
    """A run on a cluster, and its machines."""

    def __init__(self, machines, undisturbed, place: Path) -> None:
        self.machines = machines
        self.images, self.undisturbed = undisturbed
        self.place = place
        self.store = Store(str(place))
        self.began = time.monotonic()

    def start(self, *more: str):
        command = ["run", self.images, "--out", self.place, *options(**LONG), "--checkpoint-seconds", "0.2"]
        return start(*command, "--ray-address", self.machines.address, *more, env=self.machines.env)

    def under_way(self, process, count: int = 1) -> None:
        """Wait until so many images have restart points."""
        wait_for(lambda: len(checkpoints(self.place)) >= count, process=process)

    def ends(self, process) -> str:
        try:
            output, _ = process.communicate(timeout=90)
        finally:
            process.kill()
        assert process.returncode == 3, output
        return output

    def check(self, cell, struck_at: float) -> None:
        """`lost_s`: from the strike to the first restart point or commit after it."""
        is_as_if_nothing_happened(self.store, self.undisturbed, GOOD, BAD)
        cell.lost_s = self.going_at - struck_at

    def going_on(self, process) -> None:
        """Wait until something is written again."""
        before = set(self.store.list("checkpoints")) | set(self.store.list("commits"))
        wait_for(
            lambda: (set(self.store.list("checkpoints")) | set(self.store.list("commits"))) - before, process=process
        )
        self.going_at = time.monotonic()


@pytest.fixture
def batch(machines, undisturbed, tmp_path):
    """One machine of one core, and a run to be begun on it."""
    machines.leave_only()
    machines.add(f"one-{tmp_path.name[-6:]}")
    return Batch(machines, undisturbed, tmp_path / "run")


def test_a_killed_worker(batch, table):
    with table.cell("Ray: worker, SIGKILL", "mid-run") as cell:
        process = batch.start()
        batch.under_way(process)
        at = time.monotonic()
        psutil.Process(wait_for(batch.machines.machines[-1].workers)[0]).kill()
        batch.going_on(process)
        assert "WORKER_LOST" in batch.ends(process)
        batch.check(cell, at)


def test_a_worker_that_hangs(batch, table):
    with table.cell("Ray: worker, SIGSTOP, 6 s of silence allowed", "mid-run") as cell:
        process = batch.start("--silence-timeout", "6")
        batch.under_way(process)
        at = time.monotonic()
        psutil.Process(wait_for(batch.machines.machines[-1].workers)[0]).suspend()
        batch.going_on(process)
        assert "TIMEOUT" in batch.ends(process)
        batch.check(cell, at)


def test_a_killed_driver(batch, table):
    with table.cell("Ray: driver, SIGKILL", "mid-run") as cell:
        process = batch.start()
        batch.under_way(process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        at = time.monotonic()
        process = batch.start()
        batch.going_on(process)
        batch.ends(process)
        batch.check(cell, at)
