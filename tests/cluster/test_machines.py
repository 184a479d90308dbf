"""Runs on several machines that come and go: a real Ray of a head and raylets with their own resources."""

import re

import pytest

from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder.commit import committed, read_commit, read_failures
from pgcn_jobs.storage.store import Store
from tests.cluster.machines import machines_alone
from tests.cluster.network import own_network
from tests.cluster.running import checkpoints, options, start, wait_for, write_photographs

LONG = {"iterations": 225, "langevin_steps": 10, "langevin_steps_init": 10, "step_size": 0.1}
"""Some seconds an image."""

COUNT = 3


@pytest.fixture(scope="module")
def machines():
    with machines_alone() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("machines"), COUNT)


def begin(machines, images, run, checkpoint_seconds, *more):
    """A run on these machines."""
    command = ["run", images, "--out", run, *options(**LONG), "--checkpoint-seconds", checkpoint_seconds, *more]
    return start(*command, "--ray-address", machines.address, env=machines.env)


def under_way(process, run, count):
    """Wait until so many images have checkpoints."""
    wait_for(lambda: len(checkpoints(run)) >= count, process=process)


def ends(process, timeout=90):
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def resumed_at(store):
    """Scale and iteration of the checkpoints that finished jobs went on from."""
    found = []
    for job in committed(store):
        commit = read_commit(store, job)
        (log,) = [each.path for each in commit.artifacts if each.path.endswith("log.txt")]
        found += re.findall(r"from a checkpoint at scale (\d+), iteration (\d+)", store.get(log).decode())
    return [(int(scale), int(iteration)) for scale, iteration in found]


def failures(store):
    return [(str(each.failure), each.final) for found in read_failures(store).values() for each in found]


@pytest.mark.soak
def test_a_machine_that_joins_late_goes_on_alone_when_the_first_loses_its_power(machines, images, tmp_path):
    machines.leave_only()
    first = machines.add("first")
    run = tmp_path / "run"
    process = begin(machines, images, run, 0.2)
    under_way(process, run, 1)
    late = machines.add("late")
    wait_for(late.workers, process=process)
    under_way(process, run, 2)
    first.kill()
    ends(process)
    store = Store(str(run))
    assert len(committed(store)) == COUNT
    assert failures(store) == [("WORKER_LOST", False)], "the one job in its hands, once"
    assert len(resumed_at(store)) == 1, "it lost only the time since its last checkpoint"


@pytest.mark.soak
def test_a_machine_whose_network_is_cut_is_missed_and_its_job_goes_on_elsewhere(machines, images, tmp_path):
    """It trains on by itself, and may even commit: the folder is still there. Nobody hears of it."""
    run = tmp_path / "run"
    with own_network() as network:
        try:
            machines.leave_only()
            cut = machines.add("cut", network=network)
            process = begin(machines, images, run, 0.2)
            under_way(process, run, 1)
            machines.add("whole")
            network.cut()
            ends(process, timeout=200)  # Ray waits ten seconds for each of eight answers that do not come
            assert not cut.gone()
        finally:
            machines.leave_only()
    store = Store(str(run))
    assert len(committed(store)) == COUNT
    assert failures(store) == [("WORKER_LOST", False)]
    assert query(store, "SELECT count(*) AS n FROM results").to_pylist() == [{"n": COUNT}]


def test_a_machine_that_is_taken_back_with_notice_hands_its_job_back(machines, images, tmp_path):
    """The only one there is, as the next one joins."""
    machines.leave_only()
    going = machines.add("going")
    run = tmp_path / "run"
    # But for the ends of scales, checkpoints are written on notice.
    process = begin(machines, images, run, 600, "--limit", 2)
    wait_for(lambda: Store(str(run)).list("previews"), process=process)
    going.drain()
    machines.add("staying")
    wait_for(going.gone, timeout=25, process=process)  # Ray gives it 30 s: it went since it had nothing left
    ends(process)
    store = Store(str(run))
    assert len(committed(store)) == 2
    assert failures(store) == [("PREEMPTED", False)]
    ((scale, iteration),) = resumed_at(store)
    assert scale == 1
    assert iteration > 0, "it went on from the notice"
    assert query(store, "SELECT sum(resumes) AS n FROM results").to_pylist() == [{"n": 1}]
