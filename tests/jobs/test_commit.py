"""Commits, failures and checkpoints: readers follow valid ones only."""

import hashlib
import json
import time

import pytest
import torch

from pgcn_jobs.common.clock import now
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.run_folder.checkpoints import Checkpoints, remove_checkpoints
from pgcn_jobs.run_folder.commit import (
    Failure,
    committed,
    final_failures,
    new_attempt,
    publish,
    read_artifact,
    read_commit,
    read_failures,
    write_failure,
)
from pgcn_jobs.storage.store import Store

FIRST, SECOND, THIRD = (f"20260101T000000-aaaaa{n}" for n in range(3))
JOB = "0123456789abcdef0123"


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "run"))


def test_a_commit_names_every_artifact_with_its_size_and_hash(store):
    commit = publish(store, JOB, "a1", {"log.txt": b"hello", "samples.parquet": b"rows"}, {"patch_swd": 0.5})
    assert read_commit(store, JOB) == commit
    assert committed(store) == {JOB}
    log = commit.artifacts[0]
    assert (log.path, log.size, log.sha256) == (
        f"attempts/{JOB}/a1/log.txt",
        5,
        hashlib.sha256(b"hello").hexdigest(),
    )
    assert read_artifact(store, log) == b"hello"


def test_attempts_of_one_second_keep_their_order(store):
    """The last failure of a training that ends at once is still its final one."""
    attempts = []
    for final in (False, False, False, False, True):
        attempts.append(new_attempt())
        failure = Failure(
            job_id=JOB, attempt=attempts[-1], failure=FailureClass.NUMERIC, final=final, message="", failed_at=now()
        )
        write_failure(store, failure)
        time.sleep(0.002)
    assert [each.attempt for each in read_failures(store)[JOB]] == attempts
    assert final_failures(read_failures(store)).keys() == {JOB}


def test_of_two_attempts_the_first_commit_stands(store):
    first = publish(store, JOB, "a1", {"log.txt": b"one"}, {})
    assert publish(store, JOB, "a2", {"log.txt": b"two"}, {}) == first
    assert read_commit(store, JOB).attempt == "a1"


def test_an_attempt_that_dies_before_its_commit_is_not_believed(store, monkeypatch):
    def die(path, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "create", die)
    with pytest.raises(KeyboardInterrupt):
        publish(store, JOB, "a1", {"log.txt": b"one"}, {})
    assert committed(store) == set()
    assert read_commit(store, JOB) is None
    assert publish(Store(store.url), JOB, "a2", {"log.txt": b"two"}, {}).attempt == "a2"


@pytest.mark.parametrize("data", [b"", b"{", b'{"job_id": "another"}', b"[]"])
def test_what_is_no_commit_is_none_and_is_replaced(store, data):
    store.put(f"commits/{JOB}.json", data)
    assert read_commit(store, JOB) is None
    assert publish(store, JOB, "a1", {"log.txt": b"one"}, {}).attempt == "a1"
    assert read_commit(store, JOB).attempt == "a1"


def test_a_commit_of_another_job_is_not_this_ones(store):
    publish(store, JOB, "a1", {}, {})
    other = "f" * 20
    store.put(f"commits/{other}.json", store.get(f"commits/{JOB}.json"))
    assert read_commit(store, other) is None


@pytest.mark.parametrize("data", [b"hell", b"hallo"])
def test_an_artifact_that_changed_is_refused(store, data):
    commit = publish(store, JOB, "a1", {"log.txt": b"hello"}, {})
    store.put(commit.artifacts[0].path, data)
    with pytest.raises(ValueError, match="not what its commit says"):
        read_artifact(store, commit.artifacts[0])


def test_failures_are_kept_by_attempt_and_a_broken_record_is_passed_over(store):
    for attempt, final in ((FIRST, False), (SECOND, True)):
        write_failure(
            store,
            Failure(
                job_id=JOB,
                attempt=attempt,
                failure=FailureClass.NUMERIC,
                final=final,
                message="it diverged",
                failed_at="2026-01-01T00:00:00Z",
            ),
        )
    store.put(f"failures/{JOB}/{THIRD}.json", b'{"job_id": ')
    (both,) = read_failures(store).values()
    assert [(f.attempt, f.final) for f in both] == [(FIRST, False), (SECOND, True)]
    assert json.loads(store.get(f"failures/{JOB}/{SECOND}.json"))["failure"] == "NUMERIC"


def state(value):
    return {"w": torch.full((3,), float(value))}, {"iteration": str(value)}


def test_the_last_restart_point_is_the_one_that_counts_and_two_are_kept(store):
    begun = Checkpoints(store, JOB)
    assert begun.last() is None
    for value in range(5):
        begun.write(state(value))
    resumed = Checkpoints(store, JOB)
    for value in range(5, 12):
        resumed.write(state(value))
    tensors, where = Checkpoints(store, JOB).last()
    assert tensors["w"].tolist() == [11.0] * 3
    assert where == {"iteration": "11"}
    assert len(store.list(f"checkpoints/{JOB}")) == 2
    remove_checkpoints(store, JOB)
    assert store.list("checkpoints") == {}


def test_restart_points_of_two_attempts_at_once_are_all_whole_and_all_removed(store):
    """An attempt that was thought lost may still be at work."""
    one, two = Checkpoints(store, JOB), Checkpoints(store, JOB)
    for value in range(4):
        one.write(state(value))
        two.write(state(10 + value))
    assert Checkpoints(store, JOB).last()[1]["iteration"] in ("3", "13")
    remove_checkpoints(store, JOB)
    assert store.list("checkpoints") == {}


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"", lambda data: data[:-1] + b"\xff"])
def test_a_damaged_restart_point_is_passed_over_for_the_one_before(store, damage):
    for value in (1, 2):
        Checkpoints(store, JOB).write(state(value))
    newest = max(store.list(f"checkpoints/{JOB}"))
    store.put(newest, damage(store.get(newest)))
    resumed = Checkpoints(store, JOB)
    assert resumed.last()[1] == {"iteration": "1"}
    resumed.write(state(3))
    assert Checkpoints(store, JOB).last()[1] == {"iteration": "3"}
