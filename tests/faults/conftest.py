"""The batch, what an undisturbed run leaves of it, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.storage.store import Store
from tests.cluster.running import photograph, png_bytes, write_photographs
from tests.faults.checks import Rows, is_as_if_nothing_happened, rows
from tests.faults.command import run
from tests.faults.proxy import FaultyServer, faulty
from tests.faults.table import Cell, Table
from tests.servers import S3Server

GOOD, BAD = 2, 1
TABLE = Table()
LIMIT_S = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.cells:
        terminalreporter.section("faults")
        for line in TABLE.lines():
            terminalreporter.write_line(line)


class Batch:
    """Images, good and bad, a fresh place for a run over them, and the commands given there so far."""

    def __init__(
        self,
        of: tuple[str, Rows, float],
        place: str,
        copy: Path,
        env: dict[str, str],
        edits: Mapping[str, Any] | None = None,
    ) -> None:
        self.images, self.undisturbed, self.plain_s = of
        self.edits = edits or {}
        self.place = place
        self.store = Store(place)
        self._copy = copy
        self.env = env
        self.spent_s = 0.0

    def run(self, **how) -> tuple[int, str]:
        """The command: always the same."""
        began = time.monotonic()
        try:
            return run(self.images, self.place, env=self.env, **self.edits, **how)
        finally:
            self.spent_s += time.monotonic() - began

    def is_as_if_nothing_happened(self, cell: Cell | None = None) -> None:
        """All is well, and one more command finds nothing to do: looked at in a copy of the run."""
        if cell:
            cell.lost_s = max(0.0, self.spent_s - self.plain_s)
        copy = copied(self.store, self._copy)
        times = 2 if self.edits else 1  # a model and an edit of each image
        is_as_if_nothing_happened(copy, self.undisturbed, times * GOOD, times * BAD)
        code, output = run(self.images, copy.url, env=self.env, **self.edits)
        assert code == 3, output
        assert f"{times * GOOD} done before, {times * BAD} refused" in output
        assert "nothing left to train" in output


def copied(store: Store, folder: Path) -> Store:
    """The run in a folder: a bucket behind a proxy is slow to be looked at from all sides."""
    copy = Store(str(folder))
    paths = list(store.list())
    for path, data in zip(paths, concurrent_map(store.get, paths), strict=True):
        copy.put(path, data)
    return copy


@pytest.fixture(scope="session")
def table() -> Table:
    return TABLE


@pytest.fixture(scope="session")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Rows, float]:
    """Images in a folder, the tables of an undisturbed run, and its seconds."""
    root = tmp_path_factory.mktemp("faults")
    write_photographs(root / "images", GOOD)
    (root / "images" / "empty.png").write_bytes(b"")
    return str(root / "images"), *_undisturbed(str(root / "images"), [str(root / name) for name in "ab"], root, {})


EDITS = {"task": "superres", "settings": {"factor": 2}}


@pytest.fixture(scope="session")
def edited(on_disk: tuple[str, Rows, float], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Rows, float]:
    """The same images, each with a task."""
    root = tmp_path_factory.mktemp("edited")
    return on_disk[0], *_undisturbed(on_disk[0], [str(root / "run")], root, {}, EDITS)


@pytest.fixture
def edits(edited: tuple[str, Rows, float], tmp_path: Path) -> Batch:
    """A run of models and edits in a folder."""
    return Batch(edited, str(tmp_path / "run"), tmp_path / "copy", {}, EDITS)


@pytest.fixture
def disk(on_disk: tuple[str, Rows, float], tmp_path: Path) -> Batch:
    """A run in a folder."""
    return Batch(on_disk, str(tmp_path / "run"), tmp_path / "copy", {})


@pytest.fixture(scope="session")
def proxy(moto: S3Server) -> Iterator[FaultyServer]:
    with faulty(moto) as server:
        yield server


@pytest.fixture(scope="session")
def in_bucket(proxy: FaultyServer, on_disk, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Rows, float]:
    """Images in a bucket, the tables of an undisturbed run there, and its seconds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in proxy.server.env.items():
            monkeypatch.setenv(name, value)
        url = proxy.server.url
        images = Store(url)
        for index in range(GOOD):
            images.put(f"photo-{index:02d}.png", png_bytes(photograph(index)))
        images.put("empty.png", b"")
        return url, *_undisturbed(url, [proxy.server.url], tmp_path_factory.mktemp("bucket"), proxy.server.env)


@pytest.fixture
def bucket(in_bucket: tuple[str, Rows, float], proxy: FaultyServer, reach, tmp_path: Path) -> Iterator[Batch]:
    """A run in a bucket behind the proxy, which is healed at the end."""
    proxy.heal()
    proxy.asked.clear()
    yield Batch(in_bucket, reach(proxy.server), tmp_path / "copy", proxy.server.env)
    proxy.heal()


def _undisturbed(
    images: str, places: list[str], folder: Path, env: dict[str, str], edits: Mapping[str, Any] | None = None
) -> tuple[Rows, float]:
    """The results of an undisturbed run, and the seconds of the last one: the first pays for imports."""
    for place in places:
        began = time.monotonic()
        code, output = run(images, place, env=env, **(edits or {}))
        seconds = time.monotonic() - began
        assert code == 3, output
    found = [rows(copied(Store(place), folder / f"copy-{index}")) for index, place in enumerate(places)]
    assert all(each == found[0] for each in found), "two undisturbed runs differ"
    return found[0], seconds
