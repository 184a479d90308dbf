"""The Python interface: heartbeats, and functions that other packages add."""

import subprocess
import sys

import pytest
import torch

import pgcn
from pgcn.exact import DetailSettings, ExactDetail
from pgcn.heartbeat import beat, heartbeat
from pgcn.method import ChainOptions

POINTS = "[pgcn.api]\nrun = extra_of_pgcn:run\n"


def test_every_chain_sends_a_heartbeat():
    pyramid, image = pgcn.example()
    beats = []
    with heartbeat(lambda: beats.append(1)):
        pyramid.refine(image, 1)
        assert len(beats) == 1
        pyramid.refine(image, 1, ChainOptions(steps=3, after=lambda x: x))
        assert len(beats) == 4, "one for each call of the dynamics"
        beats.clear()
        pyramid.sample(1)
        assert len(beats) == len(pyramid.sizes)
    beats.clear()
    pyramid.sample(1)
    assert not beats, "none outside"


@pytest.mark.parametrize("threads", [1, 2])
def test_every_band_of_an_exact_scale_sends_heartbeats(threads):
    size = (48, 40)
    beats = []
    exact = ExactDetail(torch.rand(1, 3, *size) * 2 - 1, [size], DetailSettings(band=40 * 8, exhaustive=0, settle=0))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with heartbeat(lambda: beats.append(1)):
            exact.patches(0)
            assert len(beats) == 6, "one for each band of the image's patches"
            beats.clear()
            fields = [exact.matches(torch.zeros(1, 3, *size), 0)]
            beats.clear()
            exact.refine(torch.rand(1, 3, *size) * 2 - 1, 0, fields=fields)
    finally:
        torch.set_num_threads(before)
    steps, passes = exact.settings.steps, exact.settings.passes
    assert len(beats) == steps * (1 + 6 + passes * 6 // threads), (
        "one a step, and one a band for each drawing and for each round of search"
    )


def test_a_training_sends_heartbeats_and_an_exception_in_one_ends_it():
    beats = []

    def stop():
        beats.append(1)
        if len(beats) == 5:
            raise KeyboardInterrupt

    settings = pgcn.make_settings("draft", {"max_size": 20, "min_size": 12, "scales": 2, "iterations": 4})
    with heartbeat(stop), pytest.raises(KeyboardInterrupt):
        pgcn.fit(torch.rand(1, 3, 16, 20) * 2 - 1, settings=settings)
    assert len(beats) == 5


def test_heartbeats_nest_outer_first():
    order = []
    with heartbeat(lambda: order.append("outer")):
        with heartbeat(lambda: order.append("inner")):
            beat()
        beat()
    assert order == ["outer", "inner", "outer"]


def ask_for_run(folder, code="import pgcn; print(pgcn.run('images', out='out'))"):
    """Run `code` in a process that finds the packages of `folder` first."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def package(tmp_path):
    """An installed package with an entry point for `pgcn.run`, in place of this project's own."""
    info = tmp_path / "pgcn-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pgcn\nVersion: 9.9\n")
    (info / "entry_points.txt").write_text(POINTS)
    return tmp_path


def test_functions_of_other_packages_are_loaded_by_entry_points(package):
    (package / "extra_of_pgcn.py").write_text("def run(images, *, out):\n    return f'{images} to {out}'\n")
    assert ask_for_run(package).stdout.strip() == "images to out"
    assert ask_for_run(package, "from pgcn import run; print(run('a', out='b'))").stdout.strip() == "a to b"


def test_a_missing_package_is_named(package):
    ended = ask_for_run(package, "from pgcn import run")
    assert ended.returncode == 1
    assert "RuntimeError: pgcn.run needs the Python package 'extra_of_pgcn', which is not installed." in ended.stderr


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = pgcn.no_such_name
