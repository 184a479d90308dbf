"""Strikes at real Ray: its workers, machines and drivers. For `make soak`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder.commit import committed, read_failures
from pgcn_jobs.storage.store import Store
from tests.cluster.machines import machines_alone, ray_cluster
from tests.cluster.running import at_start, checkpoints, options, start, wait_for, write_photographs
from tests.faults.checks import is_as_if_nothing_happened, rows
from tests.faults.command import SIZE, run

pytestmark = [pytest.mark.soak]

LONG = {**SIZE, "iterations": 150, "langevin_steps": 10, "langevin_steps_init": 10, "step_size": 0.1}
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
        self.undisturbed_of = undisturbed
        self.images, self.undisturbed = undisturbed
        self.place = place
        self.store = Store(str(place))
        self.began = time.monotonic()

    def start(self, *more: str, env=None):
        command = ["run", self.images, "--out", self.place, *options(**LONG), "--checkpoint-seconds", "0.2"]
        env = self.machines.env | (env or {})
        return start(*command, "--ray-address", self.machines.address, *more, env=env)

    def add(self, name: str):
        """One more machine of one core."""
        return self.machines.add(f"{name}-{self.place.parent.name[-6:]}")

    @property
    def only(self):
        """The machine that it began with."""
        return self.machines.machines[1]

    def resumes(self) -> int:
        """Number of jobs continued from checkpoints, by their results."""
        return query(self.store, "SELECT sum(resumes) AS n FROM results").to_pylist()[0]["n"]

    def reasons(self) -> list[str]:
        """Why attempts failed, but for the bad image."""
        found = [str(each.failure) for those in read_failures(self.store).values() for each in those]
        return sorted(each for each in found if each != "INPUT")

    def under_way(self, process, count: int = 1) -> None:
        """Wait until so many images have checkpoints."""
        wait_for(lambda: len(checkpoints(self.place)) >= count, process=process)

    def ends(self, process) -> str:
        try:
            output, _ = process.communicate(timeout=90)
        finally:
            process.kill()
        assert process.returncode == 3, output
        return output

    def check(self, cell, struck_at: float) -> None:
        """`lost_s`: from the strike to the first checkpoint or commit after it."""
        is_as_if_nothing_happened(self.store, self.undisturbed, GOOD, BAD)
        cell.lost_s = self.going_at - struck_at

    def going_on(self, process) -> None:
        """Wait until something is written again."""
        before = set(self.store.list("checkpoints")) | set(self.store.list("commits"))
        wait_for(
            lambda: (set(self.store.list("checkpoints")) | set(self.store.list("commits"))) - before, process=process
        )
        self.going_at = time.monotonic()

    def struck(self, cell, strike, *arguments, at_work: int = 1) -> str:
        """A run that is struck when so many images have checkpoints goes on, ends, and all is well: its output."""
        process = self.start(*arguments)
        self.under_way(process, at_work)
        at = time.monotonic()
        strike()
        self.going_on(process)
        output = self.ends(process)
        self.check(cell, at)
        return output


@pytest.fixture
def batch(machines, undisturbed, tmp_path):
    """One machine of one core, and a run to be begun on it."""
    machines.leave_only()
    batch = Batch(machines, undisturbed, tmp_path / "run")
    batch.add("one")
    return batch


def test_a_killed_worker(batch, table):
    with table.cell("Ray: worker, SIGKILL", "mid-run") as cell:
        output = batch.struck(cell, lambda: psutil.Process(wait_for(batch.machines.machines[-1].workers)[0]).kill())
        assert "WORKER_LOST" in output


def test_a_worker_that_hangs(batch, table):
    with table.cell("Ray: worker, SIGSTOP, 6 s of silence allowed", "mid-run") as cell:
        workers = batch.machines.machines[-1].workers
        output = batch.struck(cell, lambda: psutil.Process(wait_for(workers)[0]).suspend(), "--silence-timeout", "6")
        assert "TIMEOUT" in output


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


def test_the_only_machine_loses_its_power_and_another_joins(batch, table):
    with table.cell("Ray: the only machine, SIGKILL; another joins", "mid-run") as cell:
        batch.struck(cell, lambda: (batch.only.kill(), batch.add("two")))
        assert batch.reasons() == ["WORKER_LOST"]
        assert batch.resumes() >= 1, "it went on from a checkpoint"


def test_one_of_two_machines_loses_its_power(batch, table):
    """The other has all the work then, for as long as Ray still takes the first for alive."""
    batch.add("two")
    with table.cell("Ray: one of two machines, SIGKILL", "mid-run") as cell:
        batch.struck(cell, batch.only.kill, at_work=2)
        assert batch.reasons() == ["WORKER_LOST"]
        assert batch.resumes() >= 1


def test_a_raylet_is_killed_alone(batch, table):
    """Its workers end with it, and the rest of its machine stays."""
    with table.cell("Ray: raylet, SIGKILL", "mid-run") as cell:
        batch.add("two")
        batch.struck(cell, lambda: psutil.Process(*batch.only.named("raylet")).kill(), at_work=2)
        assert batch.resumes() >= 1


def test_a_machine_that_joins_late_gets_work(batch, table):
    with table.cell("Ray: a machine joins", "mid-run") as cell:
        process = batch.start()
        batch.under_way(process)
        late = batch.add("late")
        at = time.monotonic()
        wait_for(late.workers, process=process)
        batch.under_way(process, 2)  # there is one core elsewhere, so one of them is there
        batch.going_at = time.monotonic()
        batch.ends(process)
        batch.check(cell, at)
        assert not batch.reasons()


def test_a_machine_is_drained_by_its_signal(batch, table):
    with table.cell("Ray: machine, SIGTERM (drained)", "mid-run") as cell:
        batch.add("two")
        process = batch.start()
        batch.under_way(process, 2)
        at = time.monotonic()
        batch.only.drain()
        batch.going_on(process)
        wait_for(batch.only.gone, timeout=25)  # Ray gives it 30 s: it had nothing left to do
        batch.ends(process)
        batch.check(cell, at)
        assert batch.reasons() == ["PREEMPTED"]
        assert batch.resumes() >= 1


def test_a_machine_is_drained_by_a_notice(batch, table):
    """As the autoscaler passes on that a spot machine will be gone, here through Ray's own command."""
    with table.cell("Ray: machine, notice through Ray's drain", "mid-run") as cell:
        batch.add("two")

        def notice():
            node = batch.only.node_id()
            command = [str(Path(sys.executable).parent / "ray"), "drain-node", "--address", batch.machines.address]
            command += ["--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
            command += ["--reason-message", "spot", "--deadline-remaining-seconds", "60"]
            subprocess.run(command, env=os.environ | batch.machines.env, check=True, timeout=60)

        batch.struck(cell, notice, at_work=2)
        assert batch.reasons() == ["PREEMPTED"]
        assert batch.resumes() >= 1


def test_a_killed_driver_is_gone_on_with_from_another_machine(batch, table, tmp_path):
    """The first driver is of the head, the second of another machine's raylet."""
    with table.cell("Ray: driver, SIGKILL; again from another machine", "mid-run") as cell:
        process = batch.start()
        batch.under_way(process)
        process.kill()
        process.wait()
        at = time.monotonic()
        process = batch.start(env=of_machine(tmp_path / "plant", batch.only))
        batch.going_on(process)
        batch.ends(process)
        batch.check(cell, at)
        assert batch.resumes() >= 1


def test_a_driver_whose_own_machine_dies_ends_and_is_gone_on_with(batch, table, tmp_path):
    with table.cell("Ray: the driver's raylet, SIGKILL", "mid-run") as cell:
        other = batch.add("two")
        process = batch.start(env=of_machine(tmp_path / "plant", other))
        batch.under_way(process)
        other.kill()
        output, _ = process.communicate(timeout=90)
        assert process.returncode not in (None, 0, 3), output
        at = time.monotonic()
        process = batch.start()
        batch.going_on(process)
        batch.ends(process)
        batch.check(cell, at)


def test_the_head_dies_and_the_driver_ends(batch, table, tmp_path):
    """A head of its own: no other cell survives it."""
    with table.cell("Ray: the head, SIGKILL", "mid-run") as cell:
        with machines_alone() as machines:
            machines.add("one")
            here = Batch(machines, batch.undisturbed_of, batch.place)
            process = here.start()
            here.under_way(process)
            machines.machines[0].kill()
            output, _ = process.communicate(timeout=110)
            assert process.returncode not in (None, 0, 3), output
        at = time.monotonic()
        process = batch.start()
        batch.going_on(process)
        batch.ends(process)
        batch.check(cell, at)


def test_two_drivers_on_one_run_commit_no_job_twice_and_both_end(batch, table, tmp_path):
    with table.cell("Ray: two drivers", "from the start, on two machines"):
        other = batch.add("two")
        both = [batch.start(), batch.start(env=of_machine(tmp_path / "plant", other))]
        said = "".join(batch.ends(process) for process in both)
        assert len(committed(batch.store)) == GOOD
        assert len(re.findall("4 done, 1 failed", said)) == 2, said
        assert not batch.reasons()
        is_as_if_nothing_happened(batch.store, batch.undisturbed, GOOD, BAD)


def of_machine(folder: Path, machine) -> dict[str, str]:
    """Environment of a driver that belongs to a machine's raylet, where Ray would choose the head's."""
    choose = f"""
import ray
join = ray.init
ray.init = lambda **options: join(**options, _temp_dir={str(machine.folder)!r})
"""
    return at_start(folder, choose, "/bin/pgcn")
