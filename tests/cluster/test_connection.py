"""Ray that cannot be had, and what a person reads then."""

import pytest
import ray

from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_jobs.common.failures import ConfigError
from tests.cluster.running import options, pgcn, write_photographs


def test_a_ray_that_cannot_start_is_a_sentence(tmp_path):
    """A file stands where Ray wants its folder."""
    images = write_photographs(tmp_path / "images", 1)
    (tmp_path / "file").write_text("x")
    env = {"RAY_TMPDIR": str(tmp_path / "file")}
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
