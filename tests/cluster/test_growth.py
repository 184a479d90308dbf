"""A cluster that may grow does, as far as jobs wait, and shrinks when nobody does."""

import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import ray

from pgcn_cluster.ray_cluster.ray_pool import RayWorkerPool
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.scheduler.driver import Driver
from pgcn_cluster.scheduler.queue import Queue
from pgcn_cluster.scheduler.stopping import Limits, StopSignal
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_jobs.storage.store import Store
from tests.cluster.growing import AT_MOST, growing_cluster
from tests.cluster.machines import ROOT
from tests.cluster.running import wait_for
from tests.cluster.stubs import Slow
from tests.cluster.test_fleet import job

JOBS = 4 * AT_MOST


@pytest.fixture(scope="module")
def growing():
    with growing_cluster() as cluster:
        yield cluster


def drive(address, folder):
    """A driver on a cluster that may grow: how many jobs are done, failed and left."""
    here = Cluster(address)
    here.join()
    jobs, store = [job(str(index)) for index in range(JOBS)], Store(str(folder))
    display = SimpleNamespace(show=lambda snapshot: None, line=print, close=lambda: None)
    tracker = Tracker(store, display, jobs, 0, 0)
    pool = RayWorkerPool(None, None, jobs_per_worker=1000, grows=True, worker=Slow)
    Driver(Queue(jobs), pool, store, tracker, Limits()).drive(StopSignal())
    return tracker.counts


@pytest.mark.soak
@pytest.mark.timeout(150)
def test_it_grows_as_far_as_it_may_and_nothing_is_left_waiting(growing, tmp_path, capfd):
    most, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.5):
            most.append(growing.grown())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert drive(growing.address, tmp_path) == (JOBS, 0, 0)
        assert max(most) == AT_MOST
        wait_for(lambda: growing.waiting() == 0, timeout=10)
    finally:
        ended.set()
        watcher.join()
        ray.shutdown()
    said = capfd.readouterr()
    assert not re.search("error|cannot|infeasible", said.out + said.err, re.IGNORECASE), said
    wait_for(lambda: growing.grown() == 0, timeout=60)


@pytest.mark.soak
@pytest.mark.timeout(150)
def test_a_driver_that_is_killed_leaves_nothing_waiting(growing, tmp_path):
    code = "import sys; from tests.cluster.test_growth import drive; drive(*sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", code, growing.address, str(tmp_path)], cwd=ROOT)
    try:
        wait_for(lambda: growing.waiting() >= 2, process=process)
        time.sleep(2)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: growing.waiting() == 0, timeout=20)
    wait_for(lambda: growing.grown() == 0, timeout=60)
    time.sleep(3)
    assert (growing.waiting(), growing.grown()) == (0, 0)
