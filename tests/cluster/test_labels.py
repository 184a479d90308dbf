"""Images with labels: samples as pairs, excluded pixels, and the exported folder."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pgcn_cluster.exit import Exit
from pgcn_cluster.tables.query import query
from pgcn_jobs.storage.store import Store
from tests.cluster.running import ask, options
from tests.sentences import check_error, check_sentence

H, W = 24, 30
GRAY = (np.add.outer(np.arange(H) ** 2, np.arange(W) * 9) % 251).astype(np.uint8)
COLOUR = np.dstack([GRAY, GRAY[::-1], GRAY[:, ::-1]])
VALUES = np.array([0, 4, 200], np.uint8)
MASK = VALUES[np.kron(GRAY // 90, np.ones((2, 2), int))]
BAR = np.zeros((H, W), np.uint8)
BAR[:8] = 255
RED = (255, 0, 0)
LOCAL = ["--local", "--workers", "1"]
COMMAND = ["run", "images", "--out", "run", *options(), *LOCAL]


def rows(sql, run="run"):
    return query(Store(str(run)), sql).to_pylist()


def image_of(data):
    return np.asarray(Image.open(io.BytesIO(data["bytes"])))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two images with labels at twice their size, one gray of 16 bits; a list excludes a red bar of the first."""
    place = tmp_path_factory.mktemp("labels")
    for name in ("images", "masks", "bars"):
        (place / name).mkdir()
    marked = np.where(BAR[..., None] > 0, np.array(RED, np.uint8), COLOUR)
    Image.fromarray(marked).save(place / "images" / "a.png")
    Image.fromarray(GRAY.astype(np.uint16) * 200).save(place / "images" / "b.png")
    Image.fromarray(np.where(np.kron(BAR, np.ones((2, 2))) > 0, 250, MASK).astype(np.uint8)).save(
        place / "masks" / "a.png"
    )
    palette = Image.fromarray(MASK, "P")
    palette.putpalette([(i * 7) % 256 for i in range(768)])
    palette.save(place / "masks" / "b.png")
    Image.fromarray(BAR).save(place / "bars" / "a.png")
    (place / "list.csv").write_text(
        "uri,image_id,channel:label,exclude_uri\n"
        "images/a.png,a.png,masks/a.png,bars/a.png\nimages/b.png,b.png,masks/b.png,\n"
    )
    code, output = ask(
        "run", place / "list.csv", "--out", place / "run", *options(max_size=H + W), "--samples", "2", *LOCAL
    )
    assert code == 0, output
    return place


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of the run and its images, as the working folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_samples_are_pairs_with_the_values_of_the_label(trained):
    found = rows("SELECT * FROM samples", trained / "run")
    assert {row["kind"] for row in found} == {"sample", "stage", "observed", "recovered"}
    for row in found:
        label = image_of(row["label"])
        assert label.shape == image_of(row["image"]).shape[:2] == (row["height"], row["width"])
        assert set(np.unique(label)) <= {0, 4, 200, 250}, "categories, and nothing between them"
    observed = [row for row in found if row["image_id"] == "b.png" and row["kind"] == "observed"]
    finest = max(observed, key=lambda row: row["scale"])
    np.testing.assert_array_equal(image_of(finest["label"]), MASK[::2, ::2])


def test_datasets_reads_both_columns_as_images(trained):
    (path, *_) = sorted((trained / "run/tables/samples").glob("*.parquet"))
    features = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == features["label"] == {"_type": "Image"}


def test_new_samples_have_their_label_beside_them(trained, tmp_path):
    code, output = ask("sample", trained / "run", "a.png", "-n", "1", "--out", tmp_path, "--device", "cpu")
    assert code == 0, output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a-1x1-seed0-label.png", "a-1x1-seed0.png", "a-1x1-seed0.safetensors",
    ]  # fmt: skip
    (row,) = rows(
        """SELECT label FROM samples WHERE image_id = 'a.png' AND kind = 'sample' AND "index" = 0""", trained / "run"
    )
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a-1x1-seed0-label.png")), image_of(row["label"]))


def test_metrics_say_how_far_to_trust_the_pairs(trained):
    found = rows("SELECT image_id, undecided, class_share_error FROM results", trained / "run")
    assert all(0 <= row["undecided"] <= 1 and 0 <= row["class_share_error"] <= 1 for row in found)
    metrics = {
        row["name"]: row["value"]
        for row in rows(
            "SELECT name, value FROM metrics JOIN results USING (job_id) WHERE image_id = 'a.png'", trained / "run"
        )
    }
    assert metrics["class_share_250_image"] == 0, "excluded"
    assert {"class_share_0", "class_share_4", "class_share_200_image", "class_patches_0"} <= metrics.keys()


def test_nothing_of_an_excluded_area_is_in_samples(trained):
    for row in rows("SELECT image, label FROM samples WHERE image_id = 'a.png' AND kind = 'sample'", trained / "run"):
        assert not (image_of(row["label"]) == 250).any()
        assert not (np.abs(image_of(row["image"]).astype(int) - RED).max(-1) < 60).any()
    (row,) = rows("SELECT holes, holes_uri FROM manifest WHERE image_id = 'a.png'", trained / "run")
    assert row["holes"] is not None and row["holes_uri"].endswith("bars/a.png")


def test_the_option_asks_for_the_jobs_of_the_list(place):
    Path("images/b.png").unlink()
    code, output = ask(
        "run", "images", "--out", "run", "--channel", "label=masks/{stem}.png", "--exclude", "bars/{stem}.png",
        *options(max_size=H + W), "--samples", "2", *LOCAL,
    )  # fmt: skip
    assert code == 0 and "nothing left to train, 1 done before" in output, output


def test_a_task_takes_no_excluded_pixels(place):
    code, output = ask(*COMMAND, "--exclude", "bars/{stem}.png", "--task", "superres")
    assert code == Exit.BAD_COMMAND
    check_error(output, "option.value")
    Path("list.csv").write_text("uri,exclude_uri,task\nimages/a.png,bars/a.png,superres\n")
    code, output = ask("run", "list.csv", *COMMAND[2:])
    assert code == Exit.BAD_COMMAND
    check_error(output, "list.row")


def exported():
    with Path("out/metadata.csv").open() as file:
        return list(csv.DictReader(file))


def test_pairs_are_exported_as_files_of_their_kind(place):
    code, output = ask("export", "run", "--out", "out")
    assert code == 0 and "4 pairs in out" in output, output
    found = exported()
    assert len(found) == 4 and {row["image_id"] for row in found} == {"a.png", "b.png"}
    assert {path.name for path in Path("out").iterdir()} == {
        "images", "masks", "metadata.csv", "README.md", "pgcn-export.json",
    }  # fmt: skip
    for row in found:
        image, label = (np.asarray(Image.open(Path("out") / row[f"{name}_file_name"])) for name in ("image", "label"))
        assert Path(row["image_file_name"]).stem == Path(row["label_file_name"]).stem
        assert (image.dtype, image.ndim) == ((np.uint8, 3) if row["image_id"] == "a.png" else (np.uint16, 2))
        assert label.shape == image.shape[:2] == (int(row["height"]), int(row["width"]))
        assert row["other_image_id"] == {"a.png": "b.png", "b.png": "a.png"}[row["image_id"]]
        assert 0 <= float(row["copy_other"]) <= 1 and 0 <= float(row["copy_own"]) <= 1
    # The same pairs as in the table.
    for row in rows("SELECT * FROM samples WHERE kind = 'sample' AND image_id = 'a.png'"):
        stem = f"a-{row['job_id'][:8]}-1x1-{row['index']}"
        assert Path(f"out/masks/{stem}.png").read_bytes() == row["label"]["bytes"]
        np.testing.assert_array_equal(np.asarray(Image.open(f"out/images/{stem}.png")), image_of(row["image"]))


def test_an_export_replaces_and_removes_its_own_files_alone(place):
    assert ask("export", "run", "--out", "out")[0] == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    Path("out/images/mine.png").write_bytes(b"mine")
    assert ask("export", "run", "--out", "out")[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    # A job less, as after other settings: its files go, those that were changed stay.
    job = next(row["job_id"] for row in exported() if row["image_id"] == "b.png")
    first, second = (path for path in sorted(before) if path.name.startswith("b-") and path.parent.name == "masks")
    second.write_bytes(b"changed")
    Path("run/commits", f"{job}.json").unlink()
    code, output = ask("export", "run", "--out", "out")
    assert code == 0, output
    assert not first.exists() and second.read_bytes() == b"changed" and "was changed since, and is kept" in output
    assert Path("out/images/mine.png").read_bytes() == b"mine"
    assert {row["image_id"] for row in exported()} == {"a.png"}


@pytest.mark.parametrize("foreign", ["photo.png", "pgcn-export.json"])
def test_a_folder_of_other_files_is_left_alone(foreign, place):
    Path("out").mkdir()
    Path("out", foreign).write_text("[]")
    code, output = ask("export", "run", "--out", "out")
    assert code == Exit.BAD_COMMAND
    check_error(output, "output.unwritable")
    assert [path.name for path in Path("out").iterdir()] == [foreign]


def test_a_changed_file_is_not_replaced(place):
    assert ask("export", "run", "--out", "out")[0] == 0
    Path("out/metadata.csv").write_text("mine")
    code, output = ask("export", "run", "--out", "out")
    assert code == Exit.BAD_COMMAND
    check_error(output, "output.unwritable")
    assert Path("out/metadata.csv").read_text() == "mine"


def test_a_run_without_labels_has_nothing_to_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "v0_1" / "finished", "run")
    code, output = ask("export", "run", "--out", "out")
    assert code == Exit.BAD_COMMAND
    check_error(output, "labels.none")
    assert not Path("out").exists()


def test_labels_that_are_none_cost_their_image_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("images", "masks"):
        Path(name).mkdir()
    noise = np.random.default_rng(0).integers(0, 2**16, (H, W, 3), np.uint16)
    labels = {
        "scene": GRAY[:12] // 90,  # of another scene: another shape
        "many": np.arange(H * W, dtype=np.uint16).reshape(H, W) % 300,
        "photograph": (noise >> 8).astype(np.uint8),
    }
    for name, label in labels.items():
        Image.fromarray(COLOUR).save(f"images/{name}.png")
        Image.fromarray(label).save(f"masks/{name}.png")
    code, output = ask(*COMMAND, "--channel", "label=masks/{stem}.png")
    assert code == Exit.SOME_FAILED, output
    found = {row["image_id"]: row for row in rows("SELECT image_id, code, message FROM failures")}
    assert {name: row["code"] for name, row in found.items()} == {
        "scene.png": "channels.size", "many.png": "channels.too_many", "photograph.png": "channels.too_many",
    }  # fmt: skip
    for row in found.values():
        check_sentence(row["code"], row["message"])
