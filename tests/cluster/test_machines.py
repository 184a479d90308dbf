"""Several machines: a real cluster of raylets, into which they come, and from which they go, while a run is on."""

import subprocess
import sys
import time

import pytest

from cluster.query import query
from jobs.commit import committed, read_failures
from jobs.store import Store
from tests.cluster.machines import ROOT, ray_cluster
from tests.cluster.running import checkpoints, options, photograph, png_bytes, start, wait_for

LONG = {"iterations": 80, "langevin_steps": 10, "langevin_steps_init": 10}


@pytest.fixture(scope="module")
def cluster(moto):
    with ray_cluster(moto, job_server=False) as running:
        yield running


@pytest.fixture
def bucket(cluster, moto, reach):
    """Images in a bucket, and a place for a run."""
    url = reach(moto)
    for index in range(5):
        Store(url).put(f"photo-{index}.png", png_bytes(photograph(index)))
    return url


def begin(cluster, images, run, *more, **settings):
    arguments = ["run", images, "--out", run, "--ray-address", cluster.address, *options(**settings), *more]
    return start(*arguments, env=cluster.env)


def end(process):
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


def test_machines_come_and_go_and_the_run_ends_well(cluster, moto, bucket):
    run = moto.url
    first, second = cluster.add("first"), cluster.add("second")
    process = begin(cluster, bucket, run, "--checkpoint-seconds", "0.2", **{**LONG, "iterations": 200})
    wait_for(lambda: first.workers() and second.workers(), process=process)  # spread over both

    wait_for(lambda: len(checkpoints(run)) >= 2, process=process)
    first.kill()
    third = cluster.add("third")
    wait_for(third.workers, process=process)  # one that joins late gets work

    wait_for(second.workers, process=process)
    second.drain()
    code, output = end(process)
    assert code == 0, output
    assert second.process.wait(60) is not None, "a drained machine ends"
    store = Store(run)
    assert len(committed(store)) == 5
    failures = [failure for found in read_failures(store).values() for failure in found]
    assert [str(failure.failure) for failure in failures] == ["WORKER_LOST"], "of the machine that was killed alone"
    assert "handed back" in output, "by the machine that was drained"
    assert query(store, "SELECT sum(resumes) AS n FROM results").to_pylist()[0]["n"] >= 2
    cluster.leave_only()


def test_a_run_ends_on_the_machine_that_is_left(cluster, moto, bucket):
    """Lost while its worker starts: the job must not wait for a machine that nobody will bring."""
    run = moto.url
    left, lost = cluster.add("left"), cluster.add("lost")
    process = begin(cluster, bucket, run, "--limit", "2", **LONG)
    wait_for(lost.workers, process=process, every=0.02)
    lost.kill()
    code, output = end(process)
    assert code == 0, output
    assert len(committed(Store(run))) == 2
    assert left.workers() == []
    cluster.leave_only()


def test_two_drivers_on_one_run_commit_each_job_once_and_both_end(cluster, moto, bucket):
    moto.client().put_bucket_versioning(Bucket=moto.bucket, VersioningConfiguration={"Status": "Enabled"})
    run = moto.url
    cluster.add("shared", cpus=2)
    share = ["--limit", "3", "--cpus-per-job", "0.5"]  # room for four: the second driver tries one of the same jobs
    processes = [begin(cluster, bucket, run, *share, **LONG) for _ in range(2)]
    for code, output in map(end, processes):
        assert code == 0, output
        assert "3 done" in output, output
    prefix = f"{run.removeprefix(f's3://{moto.bucket}/')}/commits/"
    found = moto.client().list_object_versions(Bucket=moto.bucket, Prefix=prefix)
    written = [version["Key"] for version in found["Versions"]]
    assert len(written) == len(set(written)) == 3
    cluster.leave_only()


SHARES = """
import sys
from dataclasses import replace
from rich.console import Console
from cluster.connection import Cluster
from cluster.display import LogLines
from cluster.driver import Driver
from cluster.fleet import Fleet
from cluster.options import make_request
from cluster.progress import Tracker
from cluster.queue import Queue
from cluster.request import make_plan, need_of, prepare
from cluster.stopping import StopSignal
from jobs.run import Conditions
from tests.cluster.running import TINY

images, run, address = sys.argv[1:]
overrides = [f"{name}={value}" for name, value in TINY.items()]
request = make_request([images], {"out": run, "device": "cpu", "preset": "draft", "limit": 4}, overrides, None, {})
cluster = Cluster(address)
cluster.join()
prepared = replace(prepare(request, cluster), need=need_of("cuda", 1, 0.5))
jobs = list(make_plan(prepared, None, retry=False).jobs.values())
tracker = Tracker(prepared.store, LogLines(Console()), jobs, 0, 0)
fleet = Fleet(prepared.store, Conditions("cpu"), jobs_per_worker=100)
Driver(Queue(jobs), fleet, prepared.store, tracker, request.limits).drive(StopSignal())
"""


def test_half_a_gpu_for_a_job_puts_two_workers_on_it(cluster, moto, bucket):
    """The GPU is Ray's alone: what is placed on it computes on the CPU."""
    run = moto.url
    machine = cluster.add("gpu", cpus=4, gpus=1)
    script = subprocess.Popen(
        [sys.executable, "-c", SHARES, bucket, run, cluster.address], cwd=ROOT, env={**cluster.env}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    seen = 0
    while script.poll() is None:
        seen = max(seen, len(machine.workers()))
        time.sleep(0.1)
    output, _ = script.communicate()
    assert script.returncode == 0, output
    assert len(committed(Store(run))) == 4
    assert seen == 2
    cluster.leave_only()
