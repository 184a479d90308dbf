"""Storage that fails: an S3 proxy that refuses, resets, is silent, cuts off, loses answers and lists what was."""

from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

import pgcn_jobs.inputs.source_bytes
import pgcn_jobs.storage.errors
import pgcn_jobs.storage.remote_folder
import pgcn_jobs.storage.urls
from pgcn_jobs.common.failures import POLICY, FailureClass
from tests.faults.points import PowerCut, Strike

# name → method, pattern of the address, how many such requests pass before
REQUESTS = {
    "images are listed": ("GET", r"list-type=2.*prefix={images}", 0),
    "images are examined": ("GET", r"{images}/photo-00\.png", 0),
    "an image is read": ("GET", r"{images}/photo-00\.png", 1),
    "the run begins": ("PUT", r"/run\.json", 0),
    "the manifest is written": ("PUT", r"/manifest/", 0),
    "a checkpoint is written": ("PUT", r"/checkpoints/", 0),
    "checkpoints are listed": ("GET", r"prefix=.*/checkpoints/", 0),
    "a checkpoint is read": ("GET", r"/checkpoints/.*\.safetensors", 0),
    "samples are written": ("PUT", r"/attempts/.*samples\.parquet", 0),
    "the commit is looked up": ("GET", r"/commits/[0-9a-f]+\.json", 0),
    "the commit is written": ("PUT", r"/commits/", 0),
    "checkpoints are removed": ("DELETE", r"/checkpoints/", 0),
    "samples are read": ("GET", r"/attempts/.*samples\.parquet", 0),
    "tables are written": ("PUT", r"/tables/results/", 0),
    "tables are read": ("GET", r"/tables/manifest/.*\.parquet", 0),
    "the gallery is written": ("PUT", r"/gallery/index\.html", 0),
}
READS = {name: request for name, request in REQUESTS.items() if request[0] == "GET"}
RESUMES = {"checkpoints are listed", "a checkpoint is read"}


def requests_of(batch, point):
    method, pattern, skip = REQUESTS[point]
    return method, pattern.replace("{images}", batch.images.rsplit("/", 1)[-1]), skip


@pytest.fixture
def impatient(monkeypatch):
    """Limits that are smaller, in the same arithmetic."""
    monkeypatch.setattr(pgcn_jobs.storage.urls, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setattr(pgcn_jobs.storage.urls, "REQUEST_ATTEMPTS", 1)
    monkeypatch.setattr(pgcn_jobs.storage.remote_folder, "PUT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(pgcn_jobs.storage.errors, "ATTEMPTS", 2)
    pgcn_jobs.inputs.source_bytes._opened.cache_clear()
    yield
    pgcn_jobs.inputs.source_bytes._opened.cache_clear()


WRITES = [point for point in REQUESTS if point not in READS]
PASSING = {
    "500": list(REQUESTS),
    "503 SlowDown": list(REQUESTS),
    "reset": list(REQUESTS),
    "cut body": list(READS),
    "lost answer": WRITES,
}


def mixed(turn):
    """For every point one of the faults that it can meet, another one at each turn."""
    faults = list(PASSING)
    cells = []
    for index, point in enumerate(REQUESTS):
        possible = [fault for fault in faults if point in PASSING[fault]]
        cells.append((possible[(index + turn) % len(possible)], point))
    return cells


RUNS = {
    "mixed": mixed(0),
    "mixed otherwise": mixed(2),
    **{fault: [(fault, point) for point in points] for fault, points in PASSING.items()},
}


def soaking(values, *names):
    """Parameters of which `names` are for `make soak`: they take the way of others, and `make test` has its limit."""
    return [pytest.param(value, marks=[pytest.mark.soak] if value in names else []) for value in values]


@pytest.mark.parametrize("name", soaking(RUNS, *PASSING))
def test_a_fault_that_passes_is_not_noticed(bucket, proxy, table, tmp_path, name):
    """At every point of one run, twice in a row: more than one layer alone makes up for."""
    rules = []
    with ExitStack() as cells:
        for fault, point in RUNS[name]:
            cell = cells.enter_context(table.cell(f"{fault}, transient", point))
            method, pattern, skip = requests_of(bucket, point)
            rules.append((point, cell, proxy.strike(fault, method, pattern, times=2, skip=skip)))
        with suppress(PowerCut):  # so that there is a checkpoint to be read
            bucket.run(strike=Strike("power cut", "mid-scale", tmp_path / "cut", nth=2))
        code, output = bucket.run()
        for point, cell, rule in rules:
            assert rule.struck == 2, (point, proxy.asked)
            cell.lost_s = rule.delay_s
        assert code == 3, output
        assert "2 done, 1 failed" in output
        bucket.is_as_if_nothing_happened()


SILENT = ["a checkpoint is written", "tables are read"]


def test_a_server_that_is_silent_for_once_is_asked_again(bucket, proxy, table, impatient):
    with ExitStack() as cells:
        cell = {point: cells.enter_context(table.cell("silence, transient", point)) for point in SILENT}
        rules = {}
        for point in cell:
            method, pattern, skip = requests_of(bucket, point)
            rules[point] = proxy.strike("silence", method, pattern, skip=skip)
        code, output = bucket.run()
        for point, rule in rules.items():
            assert rule.struck, (point, proxy.asked)
            cell[point].lost_s = rule.delay_s
        assert code == 3, output
        bucket.is_as_if_nothing_happened()


LASTING = {
    "images are examined": 3,
    "an image is read": 3,
    "a checkpoint is written": 3,
    "samples are written": 3,
    "the commit is written": 3,
    "samples are read": 4,
    "tables are read": 4,
}
"""The exit code of a command that cannot get past these points."""


@pytest.mark.parametrize(
    "point",
    soaking(LASTING, "an image is read", "a checkpoint is written", "samples are written", "samples are read"),
)
def test_a_fault_that_stays_ends_in_a_sentence_and_the_same_command_goes_on(
    bucket, proxy, table, impatient, monkeypatch, point
):
    """Longer than all retries; afterwards the same command, without --retry, does the rest."""
    monkeypatch.setitem(POLICY, FailureClass.STORE, replace(POLICY[FailureClass.STORE], retries=1))
    with table.cell("503 SlowDown, lasting", point) as cell:
        method, pattern, skip = requests_of(bucket, point)
        proxy.strike("503 SlowDown", method, pattern, times=None, skip=skip)
        code, output = bucket.run()
        assert code == LASTING[point], output
        assert "Traceback" not in output
        assert "overloaded or out of order (SlowDown): try again later" in output
        proxy.heal()
        code, output = bucket.run()
        assert code == 3, output
        bucket.is_as_if_nothing_happened(cell)


def test_a_server_that_is_gone_for_a_while(bucket, proxy, table, impatient):
    """In the middle of everything: nothing is answered any more, from a checkpoint on."""
    with table.cell("reset, lasting", "everything, after a checkpoint") as cell:
        proxy.strike("reset", ".*", "", times=None).after = "PUT .*/checkpoints/"
        code, output = bucket.run()
        assert code == 4, output
        assert "Traceback" not in output
        proxy.heal()
        code, output = bucket.run()
        assert code == 3, output
        bucket.is_as_if_nothing_happened(cell)


STALE = {
    "commits": "after the commit",
    "checkpoints": "after samples, before commit",
    "manifest": "mid-scale",
    "failures": "mid-scale",
}


@pytest.mark.parametrize("folder", soaking(STALE, "checkpoints", "manifest"))
def test_a_stale_listing_costs_time_and_nothing_else(bucket, proxy, table, tmp_path, folder):
    """A command is cut off; to the next one, listings of one folder are as they were before the first."""
    with table.cell("stale listing", folder) as cell:
        proxy.strike("stale listing", "GET", f"list-type=2.*prefix=.*/{folder}/", times=None)
        with pytest.raises(PowerCut):
            bucket.run(strike=Strike("power cut", STALE[folder], tmp_path / "cut"))
        code, output = bucket.run()
        assert code == (4 if folder == "commits" else 3), output
        assert "Traceback" not in output
        proxy.heal()
        code, output = bucket.run()
        assert code == 3, output
        bucket.is_as_if_nothing_happened(cell)
