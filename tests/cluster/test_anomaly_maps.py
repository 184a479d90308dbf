"""`energy --self`: maps and regions of an image by itself, by `pgcn apply` and in a run."""

import csv
import json
import shutil

import numpy as np
import pytest
import tifffile

from pgcn_cluster.tables.query import query
from pgcn_jobs.images.tiff import georeference_of
from pgcn_jobs.inputs.image_files import read_image
from pgcn_jobs.storage.store import Store
from tests.cluster.running import ask, options
from tests.cluster.test_channels import PLACE
from tests.cluster.test_old_names import FINISHED

H, W = 40, 48


@pytest.fixture
def scene(tmp_path):
    """Three bands of waves with a spot in one band, a corner without data, and a place on earth."""
    y, x = np.mgrid[:H, :W]
    noise = np.random.default_rng(0).normal(0, 0.05, (H, W, 3))
    bands = (np.sin(0.9 * x + 0.2 * y)[..., None] + noise + 5).astype(np.float32)
    bands[20:24, 30:34, 1] += 1.5
    bands[:6, :7] = -9999
    tags = [(42113, "s", 6, "-9999", True), *PLACE.tags()]
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig", extratags=tags)
    return path


def check_map(path):
    """The values are a float map in the scene's frame, highest on the spot."""
    values = tifffile.imread(path)
    assert values.dtype == np.float32 and values.shape == (H, W)
    assert np.isnan(values[:6, :7]).all() and np.isnan(values).sum() == 42
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    assert 18 <= row < 26 and 28 <= column < 36
    assert json.loads(georeference_of(path.read_bytes())) == json.loads(PLACE.to_json())
    known = read_image(path).known
    assert known is not None and int((known == 0).sum()) == 42


def test_apply_trains_nothing_and_writes_values_regions_and_a_drawing(scene, tmp_path):
    out = tmp_path / "out"
    code, output = ask("apply", "energy", scene, "--self", "--out", out, "--device", "cpu")
    assert code == 0, output
    assert "Training" not in output
    assert {path.name for path in out.iterdir()} == {
        *(f"scene-energy{ending}" for ending in (".png", ".json", ".tif", "-regions.csv")),
    }
    check_map(out / "scene-energy.tif")
    facts = json.loads((out / "scene-energy.json").read_text())
    with (out / "scene-energy-regions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(facts["regions"]) == facts["regions"][-1]["index"] + 1 == 1
    assert float(rows[0]["peak"]) == facts["regions"][0]["peak"] == pytest.approx(facts["peak"])
    assert int(rows[0]["box_y"]) <= 22 <= int(rows[0]["box_y"]) + int(rows[0]["box_height"])


def test_a_run_has_the_regions_as_a_table(scene, tmp_path):
    run = tmp_path / "run"
    command = ["run", scene, "--out", run, *options(), "--local", "--workers", "1", "--task", "energy"]
    code, output = ask(*command, "--set", "self=true")
    assert code == 0, output
    store = Store(str(run))
    (row,) = query(store, "SELECT * FROM regions").to_pylist()
    assert row["edit_id"].startswith("scene.tif:energy") and row["image_id"] == "scene.tif"
    assert row["index"] == 0 and row["box_y"] <= 22 <= row["box_y"] + row["box_height"]
    (made,) = query(store, "SELECT values FROM pictures WHERE name = 'result'").to_pylist()
    check_map(run / made["values"])
    code, output = ask("verify", run)
    assert code == 0, output


def test_tables_of_an_older_version_have_no_regions(tmp_path):
    store = Store(str(shutil.copytree(FINISHED, tmp_path / "run")))
    assert not store.exists("tables/regions/part-00000.parquet")
    assert query(store, "SELECT * FROM regions").num_rows == 0
