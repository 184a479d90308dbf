"""Run folders that others change: strangers' files, links, drivers with wrong clocks, other versions. For `make soak`.

Each cell kills the same command at random points meanwhile. `SOAK_SEED` repeats a choice of points.
"""

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from pgcn_cluster.maintenance.verify import verify
from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder.commit import committed, read_commit
from pgcn_jobs.storage.store import Store
from tests.cluster.others import newer, strangers, tree
from tests.cluster.running import ask, wait_for
from tests.faults.checks import is_whole
from tests.faults.command import run, start
from tests.faults.points import POINTS, Strike

pytestmark = pytest.mark.soak

SEED = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
FIXTURES = Path(__file__).parents[1] / "fixtures/v0_1"
MOMENTS = [name for name in POINTS if "edit" not in name]
TRAINING = MOMENTS[MOMENTS.index("an image is read") : MOMENTS.index("after the commit") + 1]
UPKEEP = ("verify --repair", "gc --older-than 0s", "gather", "gallery", "status", "failures")


@pytest.fixture
def dice(request):
    print(f"\nSOAK_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def killed(batch, folder, point, **options):
    """A command that dies at a point; one that does not get there ends by itself."""
    name = f"{point} {len(list(folder.iterdir()))}"
    strike = Strike("SIGKILL", point, folder / f"struck {name}")
    code, output = start(folder / f"log {name}", batch.images, batch.place, strike=strike, **options).wait()
    assert code in (-signal.SIGKILL, 3), output


def upkeep(place):
    """Code and output of each command that reads or writes a whole run."""
    found = {}
    for command in UPKEEP:
        name, *more = command.split()
        found[command] = ask(name, place, *more)
        assert "Traceback" not in found[command][1], found[command]
    return found


def test_files_of_strangers_survive_kills_and_upkeep(disk, table, dice, tmp_path):
    root = Path(disk.place)
    others = {}
    with table.cell("strangers' files", "every folder, with SIGKILL at random") as cell:
        for point in [dice.choice(TRAINING), *dice.sample(MOMENTS, 3)]:
            killed(disk, tmp_path, point)
            others |= strangers(root)
            for command, (code, output) in upkeep(disk.place).items():
                assert code == 0, (command, output)
        code, output = disk.run()
        assert code == 3, output
        upkeep(disk.place)
        assert {path: path.read_bytes() for path in others} == others
        for path in others:
            path.unlink()
        disk.is_as_if_nothing_happened(cell)


@pytest.mark.parametrize("folder", ["manifest", "attempts", "commits", "checkpoints", "failures", "tables", "gallery"])
def test_a_link_in_a_half_done_run_is_refused_until_it_is_gone(disk, table, dice, tmp_path, folder):
    with table.cell("link below the run", folder) as cell:
        killed(disk, tmp_path, "after the commit" if folder in ("tables", "gallery") else dice.choice(TRAINING))
        inside, outside = Path(disk.place) / folder, tmp_path / "outside"
        shutil.move(inside, outside) if inside.exists() else outside.mkdir()
        (outside / "mine.png").write_bytes(b"mine")
        before = tree(outside)
        inside.symlink_to(outside)
        code, output = disk.run()
        assert code in (2, 3, 4), output
        said = [(code, output), *upkeep(disk.place).values()]
        refused = [output for code, output in said if code != 0 and f"{folder} in it is a link" in output]
        assert refused, said
        assert not any("Traceback" in output for _, output in said), said
        assert tree(outside) == before
        inside.unlink()
        shutil.move(outside, inside)
        code, output = disk.run()
        assert code == 3, output
        assert (inside / "mine.png").read_bytes() == b"mine"
        (inside / "mine.png").unlink()
        disk.is_as_if_nothing_happened(cell)


@pytest.mark.parametrize("hours", [(1, -1, 0), (-1, 1, -1)])
def test_drivers_with_wrong_clocks_follow_each_other(disk, table, dice, tmp_path, hours):
    with table.cell("wrong clocks", f"drivers {hours} hours off, with SIGKILL at random") as cell:
        for offset in hours:
            killed(disk, tmp_path, dice.choice(MOMENTS), clock_offset_s=3600 * offset)
        code, output = disk.run(clock_offset_s=-3600 * hours[-1])
        assert code == 3, output
        disk.is_as_if_nothing_happened(cell)


@pytest.mark.parametrize("offset_s", [3600, -3600])
def test_a_live_driver_with_a_wrong_clock_is_not_repaired_under_its_hands(disk, table, tmp_path, offset_s):
    with table.cell("wrong clock of a live driver", f"{offset_s:+d} s") as cell:
        strike = Strike("hangs", "mid-scale", tmp_path / "hung", nth=2)
        live = start(tmp_path / "log", disk.images, disk.place, strike=strike, clock_offset_s=offset_s)
        try:
            wait_for(lambda: strike.struck and disk.store.exists("progress.json"))
            before = tree(Path(disk.place))
            (damaged,) = disk.store.list("failures")
            disk.store.put(damaged, b"{")
            code, output = ask("verify", disk.place, "--repair")
            assert code == 2 and "stop it" in output, output
            code, output = ask("gc", disk.place, "--older-than", "0s")
            assert disk.store.get(damaged) == b"{"
            disk.store.put(damaged, before[Path(damaged)])
            assert before.keys() <= tree(Path(disk.place)).keys(), output
        finally:
            live.process.kill()
            live.process.join()
        code, output = disk.run()
        assert code == 3, output
        disk.is_as_if_nothing_happened(cell)


@pytest.mark.parametrize("what", ["commits figure", "commits field", "manifest column", "failures field"])
def test_records_of_a_newer_version_in_a_run_that_goes_on(disk, table, dice, tmp_path, what):
    """Read, never removed, and never repaired; this version does the rest of the work."""
    with table.cell("mixed versions: newer", what) as cell:
        killed(disk, tmp_path, "after the commit")
        original = tree(Path(disk.place))
        newer(disk.store, what)
        theirs = {path: data for path, data in tree(Path(disk.place)).items() if original.get(path) != data}
        assert theirs
        for point in dice.sample(MOMENTS, 2):
            killed(disk, tmp_path, point)
        code, output = disk.run()
        assert code == 3, output
        disk.store.delete(["tables/built.json"])  # something to be repaired
        said = upkeep(disk.place)
        assert [command for command, (code, _) in said.items() if code] == list(UPKEEP[:2]), said
        assert "records of a newer pgcn than this" in said["verify --repair"][1]
        assert disk.run()[0] == 3
        now = tree(Path(disk.place))
        assert {path: now.get(path) for path in theirs} == theirs
        assert verify(disk.store, quick=False).sound
        for path in theirs:  # what this version would have written in their place
            disk.store.delete([str(path)])
            if path in original:
                disk.store.put(str(path), original[path])
        for path in original.keys() - theirs.keys():
            if str(path).startswith("manifest/"):
                disk.store.put(str(path), original[path])
        assert disk.run()[0] == 3
        disk.is_as_if_nothing_happened(cell)


SETTINGS = {"iterations": 400, "scales": 1, "max_size": 32, "min_size": 12, "iteration_growth": 1.2}
SETTINGS |= {"langevin_steps": 10, "langevin_steps_init": 10, "recovery_steps": 10, "noise_iterations": 25}
OLD = {"settings": {**SETTINGS, "pool_size": 64}, "sizes": ("1x1", "2x1")}
"""The options with which the fixture was begun."""


@pytest.mark.timeout(400)
def test_a_half_done_run_of_version_0_1_goes_on_under_kills(table, dice, tmp_path):
    """With the ids and settings that it had; what it has committed stays."""
    place, images = tmp_path / "run", tmp_path / "images"
    shutil.copytree(FIXTURES / "half_done", place)
    images.mkdir()
    for name in ("one.png", "two.png"):
        shutil.copy(FIXTURES / "images" / name, images)
    commits = {path.name: path.read_bytes() for path in (place / "commits").iterdir()}
    store = Store(str(place))
    with table.cell("mixed versions: 0.1", "a half-done run, with SIGKILL at random"):
        for life, point in enumerate(
            ["a checkpoint is written", dice.choice(["during the commit", "tables are built"])]
        ):
            strike = Strike("SIGKILL", point, tmp_path / f"struck-{life}")
            child = start(tmp_path / f"log-{life}", str(images), store.url, strike=strike, **OLD)
            code, output = child.wait(150)  # 400 iterations
            assert code == -signal.SIGKILL, output
            is_whole(store)
        code, output = run(str(images), store.url, **OLD)
        assert code == 0, output
        assert {name: (place / "commits" / name).read_bytes() for name in commits} == commits
        assert len(committed(store)) == len(list(images.iterdir()))
        assert all(read_commit(store, job) for job in committed(store))
        rows = query(store, "SELECT uri, resumes FROM results ORDER BY uri").to_pylist()
        assert [row["resumes"] > 0 for row in rows] == [False, True]
        report = verify(store, quick=False)
        assert report.sound, report.problems
