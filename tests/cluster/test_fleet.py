"""Ray's worker pool on a real Ray, with workers that train nothing: every wait ends, and with an answer."""

import os
import threading
import time
import urllib.request
from collections import Counter
from functools import partial
from types import SimpleNamespace

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

import pgcn_cluster.ray_cluster.parallel_map
import pgcn_cluster.ray_cluster.ray_pool
import pgcn_cluster.scheduler.driver
from pgcn_cluster.monitor.display import display_for
from pgcn_cluster.planning.device import need_of
from pgcn_cluster.ray_cluster.nodes import Machines
from pgcn_cluster.ray_cluster.parallel_map import map_ray
from pgcn_cluster.ray_cluster.ray_background import RayBackground
from pgcn_cluster.ray_cluster.ray_meter import RayMeter
from pgcn_cluster.ray_cluster.ray_pool import RayWorkerPool
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.scheduler.driver import Driver
from pgcn_cluster.scheduler.meter import NoMeter
from pgcn_cluster.scheduler.queue import Job, Queue
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.stopping import Limits, StopSignal
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_jobs.run_folder.commit import new_attempt, publish
from pgcn_jobs.storage.store import Store
from tests.cluster.machines import standing_ray
from tests.cluster.running import wait_for
from tests.cluster.stubs import Broken, Holder, Stub

NEED = Resources(cpus=1)
NO_METER = NoMeter()


@pytest.fixture
def joined(ray_address):
    """The standing Ray, with two cores."""
    here = Cluster(ray_address)
    here.join()
    yield
    here.leave()


def job(name, need=NEED):
    """As light as its worker: a real specification would bring torch along."""
    return Job(SimpleNamespace(job_id=name), name, 1.0, need)


def drive(folder, jobs, worker=Stub, meter=NO_METER, **limits):
    """Drive some jobs to their end: the queue, and how many are done, failed and left."""
    store, queue = Store(str(folder)), Queue(jobs)
    tracker = Tracker(store, display_for(Console(quiet=True)), jobs, 0, 0, meter)
    pool = RayWorkerPool(None, None, jobs_per_worker=1000, worker=worker)
    Driver(queue, pool, store, tracker, Limits(**limits)).drive(StopSignal())
    assert not pool.workers
    return queue, tracker.counts


@pytest.mark.timeout(60)
def test_room_that_is_not_there_keeps_no_job_waiting(joined, tmp_path, monkeypatch):
    """Ray's table has a machine that died for some seconds more: a worker is started that never comes to life."""
    monkeypatch.setattr(pgcn_cluster.ray_cluster.ray_pool, "machines_now", lambda: Machines(({"CPU": 1.0},) * 3))
    queue, counts = drive(tmp_path, [job(str(index)) for index in range(8)])
    assert counts == (8, 0, 0)
    assert queue.stopped is None


def test_jobs_of_another_need_get_their_turn(joined, tmp_path):
    """Each need alone fills the cluster."""
    jobs = [job(str(index), Resources(cpus=1 + index % 2)) for index in range(6)]
    assert drive(tmp_path, jobs)[1] == (6, 0, 0)


def test_a_cluster_without_room_stops_the_run_with_a_sentence(joined, tmp_path):
    queue, counts = drive(tmp_path, [job("a", Resources(cpus=64))], startup_s=3)
    assert counts == (0, 0, 1)
    assert queue.stopped.startswith("No worker could start within 3 s.")


def test_what_another_driver_does_meanwhile_needs_no_worker_here(joined, tmp_path, monkeypatch):
    """All cores are the other's for longer than this one would wait."""
    monkeypatch.setattr(pgcn_cluster.scheduler.driver, "OTHERS_S", 1.0)
    holder = ray.remote(num_cpus=2)(Holder).remote()
    ray.get(holder.holds.remote(), timeout=30)
    jobs = [job(f"{index:020x}") for index in range(3)]

    def other():
        for one in jobs:
            time.sleep(1.5)
            publish(Store(str(tmp_path)), one.spec.job_id, new_attempt(), {}, {})

    thread = threading.Thread(target=other)
    thread.start()
    queue, counts = drive(tmp_path, jobs, startup_s=3.5)
    thread.join()
    ray.kill(holder)
    assert (counts, queue.stopped) == ((3, 0, 0), None)


def test_workers_that_cannot_start_stop_the_run_and_are_nobodys_failure(joined, tmp_path):
    queue, counts = drive(tmp_path, [job("a")], worker=Broken)
    assert counts == (0, 0, 1)
    assert queue.stopped == "Workers cannot start: RuntimeError: planted"


def test_pieces_are_done_here_where_others_hold_all_cores(joined, monkeypatch):
    monkeypatch.setattr(pgcn_cluster.ray_cluster.parallel_map, "PATIENCE_S", 1.0)
    holder = ray.remote(num_cpus=2)(Holder).remote()
    ray.get(holder.holds.remote(), timeout=30)
    assert list(map_ray(partial(pow, 2), range(12))) == [2**n for n in range(12)]
    ray.kill(holder)


def ends_elsewhere(here):
    """Ends its process, if that is not the test's."""
    if os.getpid() != here:
        os._exit(1)
    return "here"


def test_images_are_looked_at_beside_workers_that_hold_all_cores_and_here_where_a_process_is_lost(joined):
    holder = ray.remote(num_cpus=2)(Holder).remote()
    ray.get(holder.holds.remote(), timeout=30)
    background, found = RayBackground(), {}
    for index in range(100):
        background.begin(index, partial(pow, 2, index))
    while background.open:
        found |= dict(background.results(60.0))
    assert found == {index: 2**index for index in range(100)}
    background.begin("lost", partial(ends_elsewhere, os.getpid()))
    while not (found := background.results(60.0)):
        pass
    assert found == [("lost", "here")]
    background.close()
    ray.kill(holder)


@pytest.fixture(scope="module")
def two_gpus():
    """A machine of two GPUs, as far as Ray knows."""
    with standing_ray(gpus=2) as address:
        here = Cluster(address)
        here.join()
        yield
        here.leave()


@pytest.mark.parametrize("each", [3, pytest.param(6, marks=pytest.mark.soak)])
def test_shares_of_a_gpu_place_just_as_many_workers_on_each(two_gpus, each):
    need = need_of("cuda", 0.1, round(1 / each, 5))
    pool = RayWorkerPool(None, None, jobs_per_worker=1, worker=Stub)
    pool.grow(need, waiting=100)
    assert len(pool.workers) == pool.capacity(need) == 2 * each
    until = time.monotonic() + 150
    while any(worker.first_heartbeat is not None for worker in pool.workers) and time.monotonic() < until:
        pool.wait(1.0)
    assert all(worker.first_heartbeat is None for worker in pool.workers), "one has no place"
    where = Counter(str(ray.get(worker.actor.gpus.remote(), timeout=30)) for worker in pool.workers)
    assert sorted(where.values()) == [each, each]
    pool.release([])
    assert not pool.workers


def served(run):
    """The numbers of a run that the machine serves to Prometheus, by name."""
    (machine,) = ray.nodes()
    address = f"http://{machine['NodeManagerAddress']}:{machine['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples if sample.labels.get("run") == run]
    return {sample.name: (sample.value, sample.labels.get("kind")) for sample in samples}


def test_prometheus_reads_the_numbers_of_a_run(joined, tmp_path):
    run = f"s3://bucket/{tmp_path.name}"
    meter = RayMeter(run)
    drive(tmp_path, [job("one"), job("two")], meter=meter)
    meter.state(2, 7)
    meter.failed("edit")
    wait_for(lambda: "ray_pgcn_jobs_failed_total" in served(run), timeout=30, every=0.3)
    found = served(run)
    assert found["ray_pgcn_jobs_done_total"][0] >= 2, "Ray may count twice what it sends again on a busy machine"
    assert found["ray_pgcn_jobs_failed_total"][1] == "edit"
    assert found["ray_pgcn_job_seconds_count"][0] >= 2
    assert found["ray_pgcn_jobs_running"] == (2, None)
    assert found["ray_pgcn_jobs_waiting"] == (7, None)
    assert found["ray_pgcn_images_per_hour"][0] > 0
