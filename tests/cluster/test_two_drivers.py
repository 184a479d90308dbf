"""Two drivers on one run: each job is trained once, but for the few that both have begun."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

import pgcn_cluster.launch
import pgcn_cluster.ray_cluster.ray_pool
import pgcn_cluster.scheduler.driver
import pgcn_cluster.scheduler.queue
from pgcn_cluster.monitor.display import display_for
from pgcn_cluster.monitor.snapshot import Snapshot
from pgcn_cluster.ray_cluster.nodes import Machines
from pgcn_cluster.ray_cluster.ray_pool import RayWorkerPool
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.scheduler.driver import Driver
from pgcn_cluster.scheduler.queue import Queue
from pgcn_cluster.scheduler.stopping import Limits, StopSignal
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_jobs.common.clock import now
from pgcn_jobs.layout import PROGRESS
from pgcn_jobs.run_folder.commit import committed
from pgcn_jobs.run_folder.identity import open_run
from pgcn_jobs.storage.store import Store
from tests.cluster.running import write_photographs
from tests.cluster.stubs import Committer
from tests.cluster.test_fleet import job
from tests.faults.command import run

COUNT = 24


@pytest.fixture
def one_core_each(ray_address, monkeypatch):
    """The standing Ray has two cores: a worker for each of two drivers."""
    monkeypatch.setattr(pgcn_cluster.ray_cluster.ray_pool, "machines_now", lambda: Machines(({"CPU": 1.0},)))
    here = Cluster(ray_address)
    here.join()
    yield
    here.leave()


def trained(store):
    """Jobs, once for each time that they were trained."""
    return [path.split("/")[1] for path in store.list("attempts")]


def drive(store, jobs):
    """One driver to its end."""
    tracker = Tracker(store, display_for(Console(quiet=True)), jobs, 0, 0)
    pool = RayWorkerPool(store, None, jobs_per_worker=1000, worker=Committer)
    Driver(Queue(jobs), pool, store, tracker, Limits()).drive(StopSignal())
    assert tracker.counts == (len(jobs), 0, 0)


def test_two_drivers_that_begin_together_share_the_work(one_core_each, tmp_path):
    store = Store(str(tmp_path))
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(drive, store, [job(f"{n:020x}") for n in range(COUNT)]) for _ in "ab"]
        for one in both:
            one.result()
    assert len(committed(store)) == COUNT
    assert len(trained(store)) <= COUNT + COUNT // 3, "the first, and now and then one that both have begun"


def test_what_others_did_is_listed_now_and_then(tmp_path, monkeypatch):
    listings = []
    monkeypatch.setattr(pgcn_cluster.scheduler.driver, "committed", lambda store: listings.append(store) or set())
    store, queue = Store(str(tmp_path)), Queue([])
    driver = Driver(queue, None, store, Tracker(store, display_for(Console(quiet=True)), [], 0, 0), Limits())
    for _ in range(3):
        driver._others_seen = True
        driver._poll_other_drivers()
    assert len(listings) == 1


def test_a_driver_alone_keeps_to_the_order(one_core_each, tmp_path):
    store = Store(str(tmp_path))
    drive(store, [job(f"{n:020x}") for n in range(4)])
    by_time = sorted(store.list("attempts"), key=lambda path: store.modified(path))
    assert [path.split("/")[1] for path in by_time] == [f"{n:020x}" for n in range(4)]


@pytest.mark.parametrize(("state", "first"), [("running", "photo-02.png"), ("ended", "photo-00.png")])
def test_a_command_begins_elsewhere_where_another_is_at_work(tmp_path, monkeypatch, state, first):
    monkeypatch.setattr(pgcn_cluster.scheduler.queue.secrets, "randbelow", lambda count: count - 1)
    images, store = write_photographs(tmp_path / "images", 3), Store(str(tmp_path / "run"))
    said = Snapshot(state=state, updated_at=now(), images=3, done=0, failed=0, waiting=3)

    def with_progress(store, identity):
        standing = open_run(store, identity)
        store.put(PROGRESS, said.model_dump_json().encode())
        return standing

    monkeypatch.setattr(pgcn_cluster.launch, "open_run", with_progress)
    code, output = run(str(images), store.url)
    assert code == 0, output
    assert re.findall(r"training (\S+)", output)[0] == first, output
    assert ("Another command was at work here a moment ago" in output) == (state == "running")
