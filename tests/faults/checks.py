"""Invariants after every fault and a repetition of the command."""

from __future__ import annotations

import json
from datetime import timedelta

from pgcn.tensor_files import read_header, read_tensors
from pgcn_cluster.maintenance.verify import verify
from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Commit, committed, read_commit, read_failures
from pgcn_jobs.run_folder.edit_manifest import read_edits
from pgcn_jobs.run_folder.garbage import find_garbage
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.storage.store import Store

TIMING = {"attempt", "wall_s", "train_s", "resumes", "peak_memory_mb", "committed_at", "ended_at", "failed_at", "where"}
"""Columns that say when, where, how long and in how many tries: they differ from one run to the next."""

Rows = dict[str, list[str]]


def rows(store: Store) -> Rows:
    """Every table without timing columns, sorted; of the attempts, those that committed."""
    found = {}
    for name in schemas.TABLES:
        only = "WHERE state = 'committed'" if name == "attempts" else ""
        table = query(store, f"SELECT * FROM {name} {only}")
        table = table.drop_columns([column for column in table.column_names if column in TIMING])
        found[name] = sorted(map(str, table.to_pylist()))
    return found


def is_whole(store: Store) -> None:
    """Every object that a reader can see is a whole one, in the middle of whatever happened."""
    for path in store.list():
        data = store.get(path)
        name = path.rsplit("/", 1)[-1]
        if name.endswith(".parquet"):
            schemas.read_parquet(data)
        elif name.endswith(".safetensors"):
            assert read_tensors(data) is not None
            read_header(data)
        elif name.endswith(".json"):
            json.loads(data)
        elif name.endswith(".png"):
            assert data.endswith(b"IEND\xaeB`\x82"), path
        elif name.endswith(".html"):
            assert data.rstrip().endswith(b"</html>"), path


def is_as_if_nothing_happened(store: Store, undisturbed: Rows, good: int, bad: int) -> None:
    """One valid commit for each good image, one reason for each bad one, nothing believed that no commit names."""
    is_whole(store)
    report = verify(store, quick=False)
    assert report.sound, report.problems
    assert (report.committed, report.failed, report.left) == (good, bad, 0)
    jobs = {entry.job_id for entry in [*read_manifest(store).values(), *read_edits(store).values()]}
    commits = {job: read_commit(store, job) for job in committed(store)}
    assert len(commits) == good
    assert commits.keys() <= jobs
    assert all(isinstance(commit, Commit) for commit in commits.values())
    refused = [failures for job, failures in read_failures(store).items() if job not in commits]
    assert [len([each for each in failures if each.final]) for failures in refused] == [1] * bad
    assert all(failures[-1].message.endswith(".") for failures in refused)

    for kind in (schemas.TRAINING, schemas.EDIT):
        attempts = {each.attempt for each in commits.values() if each and schemas.kind_of(each.result) is kind}
        for table in (kind.results, kind.pictures):
            seen = {row["attempt"] for row in query(store, f"SELECT DISTINCT attempt FROM {table}").to_pylist()}
            assert seen == attempts, f"{table} has rows of an attempt that no commit names"
    now = rows(store)
    for table in schemas.TABLES:
        assert now[table] == undisturbed[table], f"the table {table} is not that of an undisturbed run"

    garbage = find_garbage(store, timedelta(0), under_way=False)
    store.delete(garbage.paths)
    assert verify(store, quick=False).sound, "something believed was garbage"
    assert not store.list("checkpoints") and not store.list("previews"), "checkpoints of jobs that are done"
