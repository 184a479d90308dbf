"""Ray that cannot be had, and what a person reads then."""

import pytest
import ray

from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.scheduler.local_machine import LocalMachine
from pgcn_cluster.scheduler.sockets import check_socket_path
from pgcn_jobs.common.failures import ConfigError
from tests.cluster.machines import short_folder
from tests.cluster.running import options, pgcn, write_photographs


def test_a_ray_that_cannot_start_is_a_sentence(tmp_path):
    """A file stands where Ray wants its folder."""
    images = write_photographs(tmp_path / "images", 1)
    with short_folder() as folder:
        (folder / "file").write_text("x")
        env = {"RAY_TMPDIR": str(folder / "file")}
        code, output = pgcn("run", images, "--out", tmp_path / "run", *options(), env=env)
    assert code == 2, output
    assert "A local Ray could not be started: " in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("address", "error", "sentence"),
    [
        (None, Exception("The node timed out.\nSee its log."), "A local Ray could not be started: The node timed out."),
        (None, Exception(), "A local Ray could not be started: Exception"),
        ("auto", Exception("No node info found."), "Ray at auto does not answer: No node info found."),
    ],
)
def test_ray_raises_bare_exceptions_which_are_sentences_too(monkeypatch, address, error, sentence):
    """As on a machine under load, which no test can make for sure."""

    def fails(**options):
        raise error

    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError) as caught:
        Cluster(address).join()
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("variable", "machine"), [("TMPDIR", Cluster(None)), ("RAY_TMPDIR", Cluster(None)), ("TMPDIR", LocalMachine(2))]
)
def test_a_folder_for_temporary_files_whose_path_is_too_long_for_sockets_is_named(monkeypatch, variable, machine):
    folder = f"/tmp/{'x' * 98}"
    for name in ("RAY_TMPDIR", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, folder)
    monkeypatch.setattr(ray, "init", None)  # it is not reached
    with pytest.raises(ConfigError, match=f"{variable} is 103 bytes long .*: set \\w+ to a shorter path") as caught:
        machine.join()
    assert folder in str(caught.value)
    assert caught.value.code == "temporary.folder"


def test_the_longest_path_of_a_folder_that_sockets_take(monkeypatch):
    monkeypatch.setenv("TMPDIR", "x" * 75)
    check_socket_path(["TMPDIR"], "y" * 32)
    with pytest.raises(ConfigError):
        check_socket_path(["TMPDIR"], "y" * 33)
