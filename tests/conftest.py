"""Fixtures for all tests: real servers, started once in a session, when a test first asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import S3Server, juicefs_server, moto_server

CLUSTER = Path(__file__).parent / "cluster"
NO_RAY = {
    *("test_anomaly_maps.py", "test_apply.py", "test_comparisons.py", "test_connection.py", "test_estimate.py"),
    *("test_gallery.py", "test_gallery_browser.py", "test_intake.py", "test_names_in_a_run.py", "test_novelty.py"),
    *("test_old_names.py", "test_one_image.py", "test_options.py", "test_query.py", "test_queue.py", "test_request.py"),
    *("test_run_options.py", "test_translate.py", "test_upkeep.py"),
}
"""Files of tests/cluster that start no Ray."""


def group_of(path: Path) -> str:
    """The tests that one process runs together: all that use Ray, which wait for it most of the time; else a file."""
    return "ray" if path.parent == CLUSTER and path.name not in NO_RAY else str(path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for pytest-xdist (`--dist loadgroup`). The longest group, Ray's, comes first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
    items.sort(key=lambda item: group_of(item.path) != "ray")


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
