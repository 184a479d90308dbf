"""Workers that die, hang, run out of memory or meet a bug: the command that is under way makes up for it."""

import pytest

from pgcn_jobs.run_folder.commit import read_failures
from tests.faults.points import Strike

LOST = ["an image is read", "mid-scale", "a checkpoint is written", "between the artifacts", "during the commit"]


def failures(batch):
    """Classes of failures that were no image's fault."""
    found = [each for those in read_failures(batch.store).values() for each in those]
    return [(str(each.failure), each.final) for each in found if each.failure != "INPUT"]


@pytest.mark.parametrize(
    ("act", "point", "failure"),
    [
        *[("SIGKILL", point, "WORKER_LOST") for point in [*LOST, "after the commit"]],
        ("killed for memory", "mid-scale", "HOST_OOM"),
        ("SIGTERM", "mid-scale", "PREEMPTED"),
        ("hangs", "an image is read", "TIMEOUT"),
        ("hangs", "during the commit", "TIMEOUT"),
    ],
)
def test_a_worker_that_is_lost_is_replaced(disk, table, tmp_path, act, point, failure):
    """Two workers, each a process; one is struck, once."""
    strike = Strike(act, point, tmp_path / "struck")
    name = "hangs for 4 s" if act == "hangs" else act
    with table.cell(f"worker: {name}", point) as cell:
        # A worker that is well is silent for seconds now and then, where the machine is busy.
        silence = {"silence_s": 4.0} if act == "hangs" else {}
        code, output = disk.run(workers=2, strike=strike, **silence)
        assert strike.struck
        assert code == 3, output
        assert failures(disk) == [(failure, False)], output
        disk.is_as_if_nothing_happened(cell)


@pytest.mark.parametrize(
    ("act", "point", "failure"),
    [
        ("CUDA out of memory", "mid-scale", "GPU_OOM"),
        ("CUDA error", "mid-scale", "WORKER_LOST"),
        ("out of memory", "an image is read", "HOST_OOM"),
        ("out of memory", "after samples, before commit", "HOST_OOM"),
        ("a bug", "between the artifacts", "BUG"),
        ("full disk", "a checkpoint is written", "STORE"),
        ("full disk", "during the commit", "STORE"),
    ],
)
def test_what_a_worker_raises_once_is_tried_again(disk, table, tmp_path, act, point, failure):
    strike = Strike(act, point, tmp_path / "struck")
    # Of a process whose GPU is lost, only another process can make up for.
    workers = 2 if act == "CUDA error" else 1
    with table.cell(f"worker: {act}", point) as cell:
        code, output = disk.run(strike=strike, workers=workers)
        assert strike.struck
        assert code == 3, output
        assert failures(disk) == [(failure, False)], output
        disk.is_as_if_nothing_happened(cell)


@pytest.mark.parametrize(
    "point",
    ["the manifest is written", "a refusal is written", "a checkpoint is written", "during the commit",
     "tables are built", "the gallery is built"],
)  # fmt: skip
def test_a_disk_that_stays_full_stops_the_run_and_it_goes_on_when_there_is_room(disk, table, tmp_path, point):
    strike = Strike("full disk", point, tmp_path / "struck", lasting=True)
    with table.cell("full disk, until there is room", point) as cell:
        code, output = disk.run(strike=strike)
        assert strike.struck
        assert code in (2, 4), output
        assert "the disk is full: free some space" in output
        assert "Traceback" not in output
        code, output = disk.run()
        assert code == 3, output
        disk.is_as_if_nothing_happened(cell)
