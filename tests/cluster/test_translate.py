"""`translate` from files to files and in a run: maps of changes beside results, folders in pairs and all by all."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from pgcn.tasks.task import find_task
from pgcn_cluster.planning.run_options import RunOptions
from pgcn_cluster.planning.task_request import task_request
from pgcn_cluster.tables.query import query
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.discover import find_sources, several
from pgcn_jobs.storage.store import Store
from tests.cluster.running import ask, options

H, W = 20, 24


def texture(seed):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (5, 6), dtype=np.uint8)
    return Image.fromarray(small).resize((W, H), Image.Resampling.BICUBIC)


@pytest.fixture
def folders(tmp_path):
    """Two folders with two gray images each, of the same names."""
    for folder, first in (("b", 0), ("a", 2)):
        (tmp_path / folder).mkdir()
        for index in range(2):
            texture(first + index).save(tmp_path / folder / f"{index}.png")
    return tmp_path


def requested(images, target):
    """The edits of all images, by the image's name: the names of their targets."""
    request = task_request(RunOptions(out="out", task="translate", target=str(target)), find_task("translate"), {})
    found = find_sources([str(images)], setting_names=(), ask=request)
    return {source.image_id: [edit.target.image_id for edit in source.edits] for source in found}


def test_a_pattern_is_pairs_and_a_folder_is_all_by_all(folders):
    assert requested(folders / "b", folders / "a" / "{name}") == {"0.png": ["0.png"], "1.png": ["1.png"]}
    every = {"0.png": ["0.png", "1.png"], "1.png": ["0.png", "1.png"]}
    assert requested(folders / "b", folders / "a") == every
    assert requested(folders / "b", f"{folders / 'a'}/*.png") == every
    assert requested(folders / "b", folders / "a" / "1.png") == {"0.png": ["1.png"], "1.png": ["1.png"]}
    assert several(str(folders / "a" / "gone.png")) is None, "a single file, whose problem is found later"
    (folders / "none").mkdir()
    with pytest.raises(ConfigError, match="has no images"):
        requested(folders / "b", folders / "none")


def test_a_file_with_a_star_in_its_name_is_that_file(folders):
    texture(7).save(folders / "a" / "x*.png")
    assert several(f"{folders}/a/x*.png") is None
    assert requested(folders / "b", folders / "a" / "x*.png") == {"0.png": ["x*.png"], "1.png": ["x*.png"]}


def test_a_run_makes_each_with_each_and_keeps_the_map_of_each(folders):
    run = folders / "run"
    command = ["run", folders / "b" / "0.png", "--out", run, *options(), "--local", "--workers", "1"]
    code, output = ask(*command, "--task", "translate", "--target", folders / "a")
    assert code == 0, output
    store = Store(str(run))
    rows = query(store, "SELECT edit_id, target_uri, metric, value FROM edits ORDER BY target_uri").to_pylist()
    assert [row["target_uri"].rpartition("/")[2] for row in rows] == ["0.png", "1.png"]
    assert len({row["edit_id"] for row in rows}) == 2
    assert {row["metric"] for row in rows} == {"patch_swd"}
    made = query(store, "SELECT name, values FROM pictures WHERE values IS NOT NULL ORDER BY name").to_pylist()
    assert [row["name"] for row in made] == ["result", "result", "saliency", "saliency"], "gray: the results too"
    for row in made[2:]:
        values = tifffile.imread(run / row["values"])
        assert values.dtype == np.float32 and values.shape == (H, W) and values.max() > 0
    pages = [path.read_text() for path in (run / "gallery").rglob("*.html")]
    assert sum("Saliency" in page for page in pages) == 2
    code, output = ask("verify", run)
    assert code == 0, output


def test_apply_writes_the_result_the_map_and_a_drawing_of_it(folders):
    out = folders / "out"
    command = ["apply", "translate", folders / "b" / "0.png", "--target", folders / "a" / "1.png", "--out", out]
    code, output = ask(*command, "--preset", "draft", "--device", "cpu", *options()[8:])
    assert code == 0, output
    assert {path.name for path in out.glob("0-translate*")} == {
        *("0-translate.png", "0-translate.json", "0-translate-saliency.png", "0-translate-saliency.tif"),
    }
    values = tifffile.imread(out / "0-translate-saliency.tif")
    facts = json.loads((out / "0-translate.json").read_text())
    assert facts["saliency"] == pytest.approx(float(values.mean()), rel=1e-4)
    assert Image.open(out / "0-translate.png").size == (W, H)
