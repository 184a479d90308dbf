"""A command that is killed at any moment: the same command does the rest."""

import signal

import pytest

from tests.faults.checks import is_whole
from tests.faults.command import start
from tests.faults.points import POINTS, Strike


@pytest.mark.parametrize("point", POINTS)
def test_a_command_killed_anywhere_is_gone_on_with(request, table, tmp_path, point):
    """Driver and worker at once, as when a machine loses its power."""
    disk = request.getfixturevalue("edits" if "edit" in point else "disk")
    strike = Strike("SIGKILL", point, tmp_path / "struck")
    with table.cell("SIGKILL, driver and worker", point) as cell:
        killed = start(tmp_path / "log", disk.images, disk.place, strike=strike, **disk.edits)
        code, output = killed.wait()
        assert code == -signal.SIGKILL, output
        assert strike.struck
        is_whole(disk.store)
        code, output = disk.run()
        assert code == 3, output
        disk.spent_s += strike.at - killed.began_at
        disk.is_as_if_nothing_happened(cell)


def test_two_commands_at_once_commit_each_job_once_and_both_end(disk, table, tmp_path):
    with table.cell("two drivers", "from the start") as cell:
        both = [start(tmp_path / f"log-{name}", disk.images, disk.place) for name in "ab"]
        for child in both:
            code, output = child.wait()
            assert code == 3, output
        disk.is_as_if_nothing_happened(cell)
