"""Order and age do not depend on the clocks of the machines that write: one may be ahead, another behind."""

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgcn_cluster.monitor.snapshot import Snapshot
from pgcn_cluster.monitor.status import under_way
from pgcn_jobs.common.clock import Timestamps
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.layout import PROGRESS
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Failure, final_failures, new_attempt, read_failures, write_failure
from pgcn_jobs.run_folder.edit_manifest import FOLDER
from pgcn_jobs.run_folder.manifest import Entry, add_to_manifest, read_manifest, write_parts
from pgcn_jobs.storage.store import Store

ROW = Entry("a.png", "a.png", "1" * 20, None, None, None, None, None, None, 0, "{}", None, None)
HOUR_NS = 3_600_000_000_000


def set_clock(monkeypatch, hours):
    """This machine's clock, from here on, so far from the right time."""
    moment = time.time_ns() if hours == 0 else time.time_ns() + hours * HOUR_NS
    monkeypatch.setattr("pgcn_jobs.common.clock.time.time_ns", lambda: moment)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


@pytest.mark.parametrize("hours", [1, 24 * 365 * 100])
def test_a_later_part_of_the_manifest_wins_whatever_the_clock_of_the_first_driver(store, monkeypatch, hours):
    with monkeypatch.context() as ahead:
        set_clock(ahead, hours)
        add_to_manifest(store, [ROW], {})
    for seed in (1, 2, 3):
        add_to_manifest(store, [replace(ROW, seed=seed)], read_manifest(store))
        assert read_manifest(store)["a.png"].seed == seed
    assert len(store.list("manifest")) == 4


def test_two_writers_in_one_moment_are_both_kept(store, monkeypatch):
    set_clock(monkeypatch, 0)
    listed = store.list
    monkeypatch.setattr(store, "list", lambda prefix="": {})  # neither sees the other's part
    rows = [replace(ROW, seed=1), replace(ROW, image_id="b.png"), replace(ROW, seed=2)]
    for row in rows:
        write_parts(store, "manifest", [row], schemas.MANIFEST)
    monkeypatch.setattr(store, "list", listed)
    assert len(store.list("manifest")) == 3
    found = read_manifest(store)
    assert found.keys() == {"a.png", "b.png"}
    assert found == read_manifest(store)
    add_to_manifest(store, [replace(ROW, seed=9)], found)
    assert read_manifest(store)["a.png"].seed == 9


def test_names_that_are_no_moment_and_the_last_moment_of_all_do_no_harm(store):
    store.put(f"{FOLDER}/part-99991399T999999-999-00000000.parquet", b"")
    timestamps = Timestamps()
    for name in (*store.list(FOLDER), "notes.txt", "part-99991231T235959-999-00000000.parquet"):
        timestamps.observe(name)
    assert timestamps.next() == timestamps.next() == "99991231T235959-000"


def test_the_last_failure_is_the_last_one_written(store, monkeypatch):
    def fail(*, final):
        told = {"failure": FailureClass.NUMERIC, "final": final, "message": "", "failed_at": ""}
        write_failure(store, Failure(job_id="a" * 20, attempt=new_attempt(), **told))

    monkeypatch.setattr("pgcn_jobs.run_folder.commit.attempt_timestamps", Timestamps())  # one driver, an hour ahead
    with monkeypatch.context() as ahead:
        set_clock(ahead, 1)
        fail(final=False)
    monkeypatch.setattr(
        "pgcn_jobs.run_folder.commit.attempt_timestamps", Timestamps()
    )  # and another one, which has read what there is
    read_failures(store)
    fail(final=True)
    assert final_failures(read_failures(store)).keys() == {"a" * 20}


def test_attempts_of_one_process_sort_also_where_its_clock_is_set_back(monkeypatch):
    monkeypatch.setattr("pgcn_jobs.run_folder.commit.attempt_timestamps", Timestamps())
    names = []
    for hours in (1, 0, 0):
        with monkeypatch.context() as clock:
            set_clock(clock, hours)
            names.append(new_attempt())
    assert names == sorted(names)


def say_progress(store, moment):
    """The progress record of a driver whose clock says `moment`."""
    snapshot = Snapshot(
        state="running", updated_at=f"{moment:%Y-%m-%dT%H:%M:%SZ}", images=1, done=0, failed=0, waiting=1
    )
    store.put(PROGRESS, snapshot.model_dump_json().encode())


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(minutes=-2), timedelta(hours=1), timedelta(days=400)])
def test_a_live_run_is_under_way_whatever_its_drivers_clock_says(place, skew):
    store = Store(place)
    say_progress(store, datetime.now(UTC) + skew)
    assert under_way(store) is not None


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(minutes=-2), timedelta(hours=1), timedelta(days=400)])
@pytest.mark.parametrize("written", [timedelta(hours=-1), timedelta(days=400)])
def test_a_run_is_over_that_the_storage_has_heard_nothing_of(tmp_path, store, skew, written):
    say_progress(store, datetime.now(UTC) + skew)
    moment = time.time() + written.total_seconds()
    os.utime(Path(tmp_path, PROGRESS), (moment, moment))
    assert under_way(store) is None


@pytest.mark.parametrize(("skew", "running"), [(timedelta(seconds=-5), True), (timedelta(days=400), False)])
def test_where_the_storage_tells_no_time_the_clock_here_has_to_do(store, monkeypatch, skew, running):
    say_progress(store, datetime.now(UTC) + skew)
    monkeypatch.setattr(store, "modified", lambda path: None)
    assert (under_way(store) is not None) == running


def test_a_moment_that_is_none_is_not_a_run_under_way(store, monkeypatch):
    store.put(
        PROGRESS,
        Snapshot(state="running", updated_at="x", images=1, done=0, failed=0, waiting=1).model_dump_json().encode(),
    )
    monkeypatch.setattr(store, "modified", lambda path: None)
    assert under_way(store) is None


def test_to_ask_for_the_time_leaves_nothing_behind(place):
    store = Store(place)
    assert store.now() is not None
    assert not store.list() and not store.temporaries()


@pytest.mark.parametrize(("skew", "running"), [(timedelta(seconds=-5), True), (timedelta(minutes=-5), False)])
def test_who_may_only_read_asks_the_clock_here(moto, reach, skew, running):
    reach(moto)
    bucket, client = f"only-read-{running}".lower(), moto.client()
    client.create_bucket(Bucket=bucket)
    say_progress(Store(f"s3://{bucket}/run"), datetime.now(UTC) + skew)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert Store(f"s3://{bucket}/run").now() is None
    assert (under_way(Store(f"s3://{bucket}/run")) is not None) == running
