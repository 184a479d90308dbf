"""Fixtures for all tests: real servers, started once in a session, when a test first asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.servers import S3Server, juicefs_server, moto_server

NO_SHARED_RAY = {
    *("test_anomaly_maps.py", "test_apply.py", "test_comparisons.py", "test_connection.py", "test_estimate.py"),
    *("test_gallery.py", "test_gallery_browser.py", "test_growth.py", "test_intake.py", "test_local.py"),
    *("test_machines.py", "test_names_in_a_run.py", "test_novelty.py", "test_old_names.py", "test_one_image.py"),
    *("test_options.py", "test_query.py", "test_queue.py", "test_request.py", "test_run_options.py", "test_submit.py"),
    *("test_translate.py", "test_upkeep.py"),
}
"""Files of tests/cluster that start no Ray, or clusters of their own."""


def group_of(nodeid: str) -> str:
    """The tests that one process runs together: those of one file, or all that share a standing Ray."""
    path = Path(nodeid.partition("::")[0])
    return "ray" if path.parent.name == "cluster" and path.name not in NO_SHARED_RAY else str(path)


class GroupScheduling(LoadScopeScheduling):
    """Groups of tests to the processes of pytest-xdist, those with the most tests first.

    Its own `--dist loadgroup` writes names of groups into attributes that pytest 9.2 does not have any more, and
    distributes single tests instead, whose files' fixtures are then made in each process.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """The scheduler of `pytest -n 2`."""
    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def juicefs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with juicefs_server(tmp_path_factory.mktemp("juicefs")) as server:
        yield server


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Callable[[S3Server], str]:
    """Point the environment at a server for one test, and give a fresh URL on it."""

    def point(server: S3Server) -> str:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        return server.url

    return point


@pytest.fixture(params=["local", "moto", "juicefs"])
def place(request: pytest.FixtureRequest) -> str:
    """A fresh, empty place for a run: a folder that does not exist yet, or a prefix on each server."""
    if request.param == "local":
        return str(request.getfixturevalue("tmp_path") / "run")
    server: S3Server = request.getfixturevalue(request.param)
    return request.getfixturevalue("reach")(server)
