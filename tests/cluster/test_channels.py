"""Runs on images of any channels: one command, results of the same kind, tables, edits and continued old runs."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import pgcn
from pgcn_cluster.exit import Exit
from pgcn_cluster.tables.query import query
from pgcn_jobs.images.georeference import Georeference
from pgcn_jobs.images.tiff import georeference_of
from pgcn_jobs.run_folder.commit import committed, read_commit
from pgcn_jobs.storage.store import Store
from tests.cluster.running import ask, options

H, W = 24, 30
GRAY = (np.add.outer(np.arange(H) ** 2, np.arange(W) * 9) % 251).astype(np.uint8)
COLOUR = np.dstack([GRAY, GRAY[::-1], GRAY[:, ::-1]])
LOCAL = ["--local", "--workers", "1"]
PLACE = Georeference(
    {33550: (10.0, 10.0, 0.0), 33922: (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), 34735: (1, 1, 0, 1, 1024, 0, 1, 1)}
)
FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"


def rows(run, sql):
    return query(Store(str(run)), sql).to_pylist()


def write_images(folder):
    folder.mkdir()
    Image.fromarray(GRAY).save(folder / "gray.png")
    Image.fromarray(GRAY.astype(np.uint16) * 255).save(folder / "deep.png")
    alpha = np.full((H, W), 255, np.uint8)
    alpha[5:12, 8:15] = 0
    Image.fromarray(np.dstack([COLOUR, alpha])).save(folder / "holes.png")
    bands = np.stack([GRAY.astype(np.uint16) * k for k in (1, 3, 50, 90, 200)], -1)
    tifffile.imwrite(folder / "bands.tif", bands, photometric="minisblack", planarconfig="contig")
    height = GRAY.astype(np.float32) / 3 - 20
    height[:6, :7] = -9999
    tifffile.imwrite(folder / "height.tif", height, extratags=[(42113, "s", 6, "-9999", True), *PLACE.tags()])
    np.save(folder / "cube.npy", bands[..., :2].astype(np.float32))
    Image.fromarray(COLOUR).save(folder / "plain.png")
    return folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder of every kind, learned by one command, and the holes of one of them filled."""
    place = tmp_path_factory.mktemp("channels")
    images = write_images(place / "images")
    code, output = ask("run", images, "--out", place / "run", *options(), *LOCAL)
    assert code == 0, output
    some = [images / "holes.png", images / "height.tif"]
    code, output = ask("run", *some, "--out", place / "run", *options(), *LOCAL, "--task", "inpaint")
    assert code == 0, output
    return place / "run"


def test_one_command_commits_images_of_every_kind(ran):
    found = {row["image_id"]: row for row in rows(ran, "SELECT * FROM results")}
    assert found.keys() == {path.name for path in (ran.parent / "images").iterdir()}
    kinds = {
        name: None if row["channels"] is None else [group["kind"] for group in json.loads(row["channels"])]
        for name, row in found.items()
    }
    assert kinds == {
        "gray.png": ["gray"],
        "deep.png": ["gray"],
        "holes.png": None,
        "plain.png": None,
        "bands.tif": ["band"] * 5,
        "height.tif": ["band"],
        "cube.npy": ["band"] * 2,
    }
    assert all(row["frechet_vgg33"] is not None for row in found.values())


def test_samples_are_files_of_the_kind_of_their_image(ran):
    found = rows(ran, "SELECT image_id, values, image FROM samples WHERE kind = 'sample'")
    for row in found:
        image = ran.parent / "images" / row["image_id"]
        assert Image.open(io.BytesIO(row["image"]["bytes"])).mode == "RGB", "to look at"
        if row["image_id"] in {"holes.png", "plain.png"}:
            assert row["values"] is None
            continue
        given, sample = pgcn.read_image(image), pgcn.read_image(ran / row["values"])
        assert Path(row["values"]).suffix == image.suffix
        kinds = [[(group.kind, group.number, group.nodata) for group in x.channels.groups] for x in (given, sample)]
        assert kinds[0] == kinds[1], row["image_id"]
        for name, values in sample.channels.values(sample.tensor).items():
            group = next(group for group in given.channels.groups if group.name == name)
            assert group.low <= float(values.min()) and float(values.max()) <= group.high


def test_the_commit_names_the_files_of_values(ran):
    store = Store(str(ran))
    paths = {artifact.path for job in committed(store) for artifact in read_commit(store, job).artifacts}
    assert {row["values"] for row in rows(ran, "SELECT values FROM samples WHERE values IS NOT NULL")} <= paths
    code, output = ask("verify", ran)
    assert code == 0, output
    code, output = ask("gc", ran, "--older-than", "1s")
    assert code == 0 and all((ran / path).exists() for path in paths), output


def test_pixels_without_data_are_filled_without_a_mask(ran):
    found = {row["edit_id"].partition(":")[0]: row for row in rows(ran, "SELECT * FROM pictures WHERE name = 'result'")}
    given = np.asarray(Image.open(ran.parent / "images" / "holes.png"))
    made = np.asarray(Image.open(io.BytesIO(found["holes.png"]["image"]["bytes"])))
    known = given[..., 3] > 0
    np.testing.assert_array_equal(made[known], given[..., :3][known])
    height = pgcn.read_image(ran / found["height.tif"]["values"])
    before = pgcn.read_image(ran.parent / "images" / "height.tif")
    assert height.known is None, "all is filled"
    place = georeference_of((ran / found["height.tif"]["values"]).read_bytes())
    assert place is not None and Georeference.from_json(place) == PLACE
    old, new = (x.channels.values(x.tensor)["value"][before.known > 0] for x in (before, height))
    np.testing.assert_allclose(new, old, atol=1e-4)


def test_a_mask_and_pixels_without_data_are_filled_together(ran, tmp_path):
    mask = np.zeros((H, W), np.uint8)
    mask[15:20, 20:26] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    images = ran.parent / "images"
    code, output = ask(
        "apply", "inpaint", images / "holes.png", "--mask", tmp_path / "mask.png", "--out", tmp_path / "out",
        "--device", "cpu", *[part for part in options()[8:]],
    )  # fmt: skip
    assert code == 0, output
    made = np.asarray(Image.open(tmp_path / "out" / "holes-inpaint.png"))
    kept = (np.asarray(Image.open(images / "holes.png"))[..., 3] > 0) & (mask == 0)
    np.testing.assert_array_equal(made[kept], COLOUR[kept])


def test_nothing_is_done_twice(ran):
    code, output = ask("run", ran.parent / "images", "--out", ran, *options(), *LOCAL)
    assert code == 0 and "nothing left to train, 7 done before" in output, output


def test_an_old_run_goes_on_with_rgb_and_does_nothing_again(tmp_path):
    run = Path(shutil.copytree(FIXTURES / "finished", tmp_path / "run"))
    images = Path(shutil.copytree(FIXTURES / "images", tmp_path / "images"))
    for name in ("one.png", "two.png"):
        (images / name).unlink()
    Image.fromarray(GRAY).save(images / "gray.png")
    code, output = ask("run", images, "--out", run, "--device", "cpu", *LOCAL)
    assert code == 0, output
    assert "2 done before" in output, output
    (row,) = rows(run, "SELECT channels, settings FROM results WHERE image_id = 'gray.png'")
    assert row["channels"] is None and json.loads(row["settings"])["channels"] == "rgb"


def test_transparent_pixels_are_blended_with_white_where_that_is_asked(tmp_path):
    images = write_images(tmp_path / "images")
    code, output = ask(
        "run", images / "holes.png", "--out", tmp_path / "run", *options(transparency="white"), *LOCAL
    )  # fmt: skip
    assert code == 0, output
    (row,) = rows(tmp_path / "run", "SELECT note, holes FROM manifest")
    assert row["holes"] is None and "white" in row["note"]


@pytest.fixture
def material(tmp_path):
    """An image with its label, its normals and its height."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(COLOUR).save(folder / "a.png")
    for name in ("masks", "normals"):
        (tmp_path / name).mkdir()
    Image.fromarray(GRAY // 90).save(tmp_path / "masks" / "a.png")
    Image.fromarray(np.dstack([GRAY, GRAY, np.full_like(GRAY, 255)])).save(tmp_path / "normals" / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.kron(GRAY, np.ones((2, 2))).astype(np.float32) / 10)
    return tmp_path


PARTS = ("label=masks/{stem}.png", "normal=normals/{stem}.png", "height={stem}.tif")


def test_channels_come_from_files_of_their_own(material, monkeypatch):
    monkeypatch.chdir(material)
    parts = [word for part in PARTS for word in ("--channel", part)]
    command = ["run", "images", "--out", "run", *options(), *LOCAL, *parts]
    code, output = ask(*command)
    assert code == 0, output
    (row,) = rows("run", "SELECT * FROM results")
    groups = json.loads(row["channels"])
    assert [(group["name"], group["kind"]) for group in groups] == [
        ("colour", "colour"), ("height", "band"), ("label", "label"), ("normal", "normal"),
    ]  # fmt: skip
    (sample,) = rows("run", "SELECT values FROM samples WHERE kind = 'sample'")
    read = pgcn.read_image(Path("run") / sample["values"])
    assert set(read.channels.values(read.tensor)["label"].unique().tolist()) <= {0, 1, 2}
    # The list with the same files asks for the same job; another height is another one.
    Path("list.csv").write_text(
        "uri,channel:label,channel:normal,channel:height\nimages/a.png,masks/a.png,normals/a.png,a.tif\n"
    )
    code, output = ask("run", "list.csv", "--out", "run", *options(), *LOCAL)
    assert code == 0 and "nothing left to train, 1 done before" in output, output
    tifffile.imwrite("a.tif", GRAY.astype(np.float32))
    code, output = ask(*command, "--dry-run")
    assert code == 0 and "nothing left" not in output, output
    # An edit has the channels too.
    code, output = ask(*command, "--task", "superres", "--set", "factor=2")
    assert code == 0, output
    (made,) = rows("run", "SELECT values, width FROM pictures WHERE name = 'result'")
    assert made["width"] == 2 * W
    assert [group.kind for group in pgcn.read_image(Path("run") / made["values"]).channels.groups] == [
        "colour", "band", "label", "normal",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "code"),
    [("label", "option.value"), ("no name=a.png", "channels.invalid"), ("label={file}.png", "option.value")],
)
def test_parts_that_cannot_be_are_refused_before_anything_runs(part, code, material, monkeypatch):
    monkeypatch.chdir(material)
    found, output = ask("run", "images", "--out", "run", *options(), *LOCAL, "--channel", part)
    assert found == Exit.BAD_COMMAND and f"error[{code}]" in output, output


def test_bad_parts_cost_their_image_alone(material, monkeypatch):
    monkeypatch.chdir(material)
    Image.fromarray(COLOUR).save("images/b.png")
    Image.fromarray(GRAY[:12] // 90).save("masks/b.png")
    Image.fromarray(COLOUR).save("images/c.png")
    code, output = ask("run", "images", "--out", "run", *options(), *LOCAL, "--channel", PARTS[0])
    assert code == Exit.SOME_FAILED, output
    found = {row["image_id"]: row["code"] for row in rows("run", "SELECT image_id, code FROM failures")}
    assert found == {"b.png": "channels.size", "c.png": "image.missing"}
    assert [row["image_id"] for row in rows("run", "SELECT image_id FROM results")] == ["a.png"]
