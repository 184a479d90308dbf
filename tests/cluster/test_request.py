"""Choices that follow from the machine, said and kept."""

import numpy as np
import pytest
from PIL import Image

import cluster.planning.request
from cluster.planning.request import prepare
from cluster.planning.run_options import Request
from cluster.ray_cluster.session import Cluster
from jobs.run_folder.identity import open_run


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(path)
    return [str(path)]


@pytest.mark.parametrize(
    ("made_for_it", "preset", "address", "overrides", "precision"),
    [
        (True, None, None, {}, "bfloat16"),
        (True, "small", None, {}, "bfloat16"),
        (False, None, None, {}, "float32"),
        (True, "paper", None, {}, "float32"),
        (True, None, "10.0.0.1:6379", {}, "float32"),
        (True, None, None, {"precision": "float32"}, "float32"),
    ],
)
def test_bfloat16_where_this_cpu_is_made_for_it(
    images, tmp_path, monkeypatch, made_for_it, preset, address, overrides, precision
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.planning.request, "has_bfloat16_units", lambda: made_for_it)
    asked = Request(images=images, out=str(tmp_path / "run"), preset=preset, device="cpu", overrides=overrides)
    prepared = prepare(asked, Cluster(address))
    assert prepared.identity.settings.precision == precision
    assert any("AMX" in line for line in prepared.said) == (precision == "bfloat16")


def test_a_run_goes_on_with_the_precision_it_was_begun_with(images, tmp_path, monkeypatch):
    asked = Request(images=images, out=str(tmp_path / "run"), preset="draft", device="cpu")
    monkeypatch.setattr(cluster.planning.request, "has_bfloat16_units", lambda: True)
    begun = prepare(asked, Cluster(None))
    open_run(begun.store, begun.identity)
    monkeypatch.setattr(cluster.planning.request, "has_bfloat16_units", lambda: False)
    again = prepare(asked, Cluster(None))
    again.check_belongs()
    assert again.identity.settings.precision == "bfloat16"
