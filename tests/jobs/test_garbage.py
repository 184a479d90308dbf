"""Garbage collection of a run, over random trees: no object that a commit names is ever removed."""

import json
import multiprocessing
import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgcn_jobs.run_folder.commit import publish
from pgcn_jobs.run_folder.garbage import ATTEMPTS, CHECKPOINTS, PREVIEWS, TEMPORARIES, find_garbage
from pgcn_jobs.storage.store import Store

DAY = timedelta(hours=24)
NAMES = ["samples.parquet", "metrics.parquet", "log.txt"]
PROBE = f".{'0123456789abcdef' * 2}.tmp"
AGES = {"old": timedelta(days=3), "fresh": timedelta(minutes=5)}


def attempt_name(age, suffix="abc123"):
    return f"{datetime.now(UTC) - AGES[age]:%Y%m%dT%H%M%S}-{suffix}"


class AgedStore(Store):
    """Objects of an attempt were written when its name says: tests can set no time of a storage's own clock."""

    def modified(self, path):
        try:
            return datetime.strptime(path.split("/")[2][:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except (IndexError, ValueError):
            return super().modified(path)


def random_tree(rng):
    """Objects of a run at which much has gone wrong: path → bytes."""
    tree = {"run.json": b"{}", "manifest/part-1.parquet": b"m", "tables/results/part-00000.parquet": b"t"}
    jobs = [f"{rng.getrandbits(80):020x}" for _ in range(rng.randint(1, 5))]
    attempts = {}
    for job in jobs:
        names = [attempt_name(rng.choice(list(AGES)), f"{n:06x}") for n in range(rng.randint(0, 3))]
        attempts[job] = names + rng.sample(["not-ours", "20261399T999999-abc"], rng.randint(0, 2))
        for attempt in attempts[job]:
            for name in rng.sample([*NAMES, "deep/er"], rng.randint(0, 4)):
                tree[f"attempts/{job}/{attempt}/{name}"] = b"x" * rng.randint(0, 9)
        for number in range(rng.randint(0, 2)):
            tree[f"checkpoints/{job}/{number:06d}-{number:016x}.safetensors"] = b"c"
        if rng.random() < 0.5:
            tree[f"previews/{job}.png"] = b"p"
    tree["attempts/stray"] = tree["checkpoints/stray"] = b"s"
    anything = list(tree)
    for job in jobs:
        kind = rng.choice(["none", "whole", "whole", "part", "anything", "misfiled", "junk", "empty"])
        attempt = rng.choice([*attempts[job], attempt_name("old", "000099")])
        whose = rng.choice([other for other in [*jobs, "0" * 20] if other != job]) if kind == "misfiled" else job
        folder = f"attempts/{whose}/" if kind == "misfiled" else f"attempts/{job}/{attempt}/"
        own = [path for path in anything if path.startswith(folder)]
        named = {"part": own[:1], "anything": rng.sample(anything, 3)}.get(kind, own)
        commit = {
            "job_id": whose,
            "attempt": attempt,
            "artifacts": [{"path": path, "size": 1, "sha256": ""} for path in named],
            "result": {},
        }
        if kind != "none":
            data = {"junk": b'{"job_id": 1', "empty": b""}.get(kind, json.dumps(commit).encode())
            tree[f"commits/{job}.json"] = data
    return tree


def test_nothing_that_a_commit_names_is_ever_removed():
    seen = dict.fromkeys([ATTEMPTS, CHECKPOINTS, PREVIEWS], 0)
    for seed in range(100):
        rng = random.Random(seed)
        store = AgedStore(f"memory://sweep/{seed}")
        tree = random_tree(rng)
        for path, data in tree.items():
            store.put(path, data)
        under_way, limit = rng.random() < 0.3, rng.choice([timedelta(0), timedelta(hours=1), DAY])
        garbage = find_garbage(store, limit, under_way=under_way)
        check(tree, set(garbage.paths), under_way, limit, seed)
        seen = {kind: count + len(garbage.found[kind]) for kind, count in seen.items()}
        assert store.list().keys() == tree.keys(), "to look removes nothing"
    assert min(seen.values()) > 20, "the trees have something of every kind to remove"


def check(tree, removed, under_way, limit, seed):
    """The rules once more, in other words."""
    named, committed, unreadable = set(), {}, set()
    for path in (p for p in tree if p.startswith("commits/")):
        job = path.split("/")[1].removesuffix(".json")
        try:
            commit = json.loads(tree[path])
        except ValueError:
            unreadable.add(job)
            continue
        named |= {artifact["path"] for artifact in commit["artifacts"]}
        if commit["job_id"] == job:
            committed[job] = commit["attempt"]
        else:
            unreadable.add(job)
    assert not removed & named, seed
    assert all(path.split("/")[0] in ("attempts", "checkpoints", "previews") for path in removed), seed
    for path in tree:
        folder, job, *rest = path.split("/", 3) if "/" in path else (path, "")
        job = job.removesuffix(".png")
        may = path not in named and job not in unreadable
        if folder in ("checkpoints", "previews"):
            may = may and job in committed
        elif folder == "attempts" and rest and not rest[0].startswith(("not-ours", "202613")) and rest[1] in NAMES:
            may = may and committed.get(job) != rest[0] and (job in committed or not under_way)
            old = datetime.strptime(rest[0][:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) < datetime.now(UTC) - limit
            may = may and old
        else:
            may = False
        assert (path in removed) == may, (seed, path)


def test_a_superseded_attempt_on_every_storage(place):
    store = AgedStore(place)
    job, first, second = "a" * 20, attempt_name("old", "111111"), attempt_name("old", "222222")
    publish(store, job, first, {"log.txt": b"one"}, {})
    publish(store, job, second, {"log.txt": b"two!"}, {})
    store.put(f"checkpoints/{job}/000001-0123456789abcdef.safetensors", b"c")
    garbage = find_garbage(store, DAY, under_way=False)
    assert garbage.found[ATTEMPTS] == {f"attempts/{job}/{second}/log.txt": 4}
    assert garbage.found[CHECKPOINTS] == {f"checkpoints/{job}/000001-0123456789abcdef.safetensors": 1}
    store.delete(garbage.paths)
    assert list(store.list()) == [f"attempts/{job}/{first}/log.txt", f"commits/{job}.json"]


def test_the_age_of_an_attempt_is_told_by_the_storage_and_not_by_the_clock_of_its_driver(tmp_path):
    """Both were written a moment ago, by drivers whose clocks are years behind and ahead."""
    store, job = Store(str(tmp_path)), "a" * 20
    behind, ahead, old = (
        f"attempts/{job}/{day}T000000-000abcdef/log.txt" for day in ("20000101", "20990101", "20260101")
    )
    for path in (behind, ahead, old):
        store.put(path, b"x")
    moment = time.time() - 2 * DAY.total_seconds()
    os.utime(Path(tmp_path, old), (moment, moment))
    assert find_garbage(store, DAY, under_way=False).paths == [old]
    assert find_garbage(store, timedelta(days=-1), under_way=False).paths == sorted([behind, ahead, old])


def write_and_wait(store):
    os.fsync = lambda number: time.sleep(60)
    store.put(f"attempts/{'a' * 20}/20261128T101010-abcdef/samples.parquet", b"x" * 1000)


def test_what_a_killed_writer_leaves_is_found_when_it_is_old(tmp_path):
    store = Store(str(tmp_path))
    process = multiprocessing.get_context("fork").Process(target=write_and_wait, args=(store,))
    process.start()
    until = time.monotonic() + 30
    while not store.temporaries() and time.monotonic() < until:
        time.sleep(0.02)
    assert store.list() == {}
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / PROBE).write_bytes(b"in a folder that is not ours")
    ((path, _),) = store.temporaries().items()
    assert find_garbage(store, DAY, under_way=False).paths == [], "it may be under way"
    old = time.time() - 2 * DAY.total_seconds()
    os.utime(Path(tmp_path, path), (old, old))
    assert find_garbage(store, DAY, under_way=True).paths == []
    garbage = find_garbage(store, DAY, under_way=False)
    assert list(garbage.found[TEMPORARIES]) == [path]
    store.delete(garbage.paths)
    assert not store.temporaries()


@pytest.mark.parametrize("name", ["moto", "juicefs"])
def test_a_probe_left_in_a_bucket_is_seen(request, reach, name):
    store = Store(reach(request.getfixturevalue(name)))
    store.put(PROBE, b"probe")
    assert store.temporaries() == {PROBE: 5}
    moment = store.modified(PROBE)
    assert moment is not None
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=30)
    assert store.modified("nothing") is None
    assert find_garbage(store, timedelta(days=-1), under_way=False).paths == [PROBE]
