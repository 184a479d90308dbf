"""Choices that follow from the machine, said and kept."""

import numpy as np
import pytest
from PIL import Image

import pgcn_cluster.planning.request
from pgcn.settings import PRESETS
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder.identity import open_run


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
    monkeypatch.setattr(pgcn_cluster.planning.request, "has_bfloat16_units", lambda: made_for_it)
    asked = Request(images=images, out=str(tmp_path / "run"), preset=preset, device="cpu", overrides=overrides)
    prepared = prepare(asked, Cluster(address))
    assert prepared.identity.settings.precision == precision
    assert any("AMX" in line for line in prepared.said) == (precision == "bfloat16")


def test_a_run_keeps_its_settings_where_a_later_version_changed_the_preset(images, tmp_path, monkeypatch):
    monkeypatch.setattr(pgcn_cluster.planning.request, "has_bfloat16_units", lambda: False)
    out = str(tmp_path / "run")
    asked = Request(images=images, out=out, preset="draft", device="cpu", overrides={"iterations": "7"})
    begun = prepare(asked, Cluster(None))
    open_run(begun.store, begun.identity)
    changed = PRESETS["draft"].model_copy(update={"chains": 3, "scales": 6})
    monkeypatch.setitem(PRESETS, "draft", changed)
    for again in (asked, asked.model_copy(update={"overrides": {}}), asked.model_copy(update={"preset": None})):
        prepared = prepare(again, Cluster(None))
        prepared.check_belongs()
        assert prepared.identity.settings == begun.identity.settings
        assert prepared.ask.settings(prepared.sources[0]) == begun.identity.settings
        assert any("chains=1, scales=4" in line or "scales=4, chains=1" in line for line in prepared.said)
    fresh = prepare(asked.model_copy(update={"out": str(tmp_path / "new")}), Cluster(None))
    assert fresh.identity.settings.chains == 3


@pytest.mark.parametrize(
    ("preset", "overrides", "said"),
    [
        ("draft", {"chains": "2"}, "chains: 1, not 2"),
        (None, {"step_fall": "0.5"}, "step_decay: 0.9, not 0.5"),
        ("small", {}, "max_size: 512, not 128"),
    ],
)
def test_settings_that_are_given_and_differ_are_refused(images, tmp_path, monkeypatch, preset, overrides, said):
    monkeypatch.setattr(pgcn_cluster.planning.request, "has_bfloat16_units", lambda: False)
    asked = Request(images=images, out=str(tmp_path / "run"), preset="draft", device="cpu")
    begun = prepare(asked, Cluster(None))
    open_run(begun.store, begun.identity)
    with pytest.raises(ConfigError, match=said):
        prepare(asked.model_copy(update={"preset": preset, "overrides": overrides}), Cluster(None)).check_belongs()


def test_a_run_goes_on_with_the_precision_it_was_begun_with(images, tmp_path, monkeypatch):
    asked = Request(images=images, out=str(tmp_path / "run"), preset="draft", device="cpu")
    monkeypatch.setattr(pgcn_cluster.planning.request, "has_bfloat16_units", lambda: True)
    begun = prepare(asked, Cluster(None))
    open_run(begun.store, begun.identity)
    monkeypatch.setattr(pgcn_cluster.planning.request, "has_bfloat16_units", lambda: False)
    again = prepare(asked, Cluster(None))
    again.check_belongs()
    assert again.identity.settings.precision == "bfloat16"
