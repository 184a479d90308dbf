"""Tasks over many images: the real command, workers and storage, from lists and `--task` to tables and pages."""

from __future__ import annotations

import csv
import io
import json

import pytest
from PIL import Image, ImageDraw

from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder.commit import committed, read_failures
from pgcn_jobs.storage.store import Store
from tests.cluster.alone import run_alone
from tests.cluster.running import ask, options, photograph, start, wait_for, workers, write_photographs
from tests.sentences import check_error

COLUMNS = ("uri", "task", "target_uri", "mask_uri", "factor", "number", "frames", "task_seed", "edit_id")


def write_masks(images, masks):
    """A mask of the same name for each image."""
    masks.mkdir()
    for image in images.iterdir():
        mask = Image.new("L", Image.open(image).size)
        ImageDraw.Draw(mask).rectangle((9, 8, 15, 14), fill=255)
        mask.save(masks / image.name)


def write_list(folder, rows):
    """Rows of some of `COLUMNS` as a CSV."""
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "list.csv"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    images = write_photographs(folder / "images", 8)
    write_masks(images, folder / "masks")
    composite = photograph(0)
    composite.paste((230, 30, 30), (10, 9, 16, 15))
    composite.save(folder / "composite.png")
    return folder


def thirty_rows(folder):
    """Thirty rows over eight images: each with three tasks, and six more of one of them."""
    rows = []
    for index in range(8):
        uri, other = f"images/photo-{index:02d}.png", f"images/photo-{(index + 1) % 8:02d}.png"
        rows += [
            {"uri": uri, "task": "superres", "factor": 2},
            {"uri": uri, "task": "style", "target_uri": other},
            {"uri": uri, "task": "generate", "number": 2, "task_seed": 5},
        ]
    first = {"uri": "images/photo-00.png"}
    rows += [
        first | {"task": "harmonize", "target_uri": "composite.png", "edit_id": "the red thing"},
        first | {"task": "energy"},
        first | {"task": "animate", "frames": 4},
        first | {"task": "recover"},
        first | {"task": "paint", "target_uri": "images/photo-03.png"},
        first | {"task": "superres", "factor": 3},
    ]
    assert len(rows) == 30
    return write_list(folder, rows)


@pytest.fixture(scope="module")
def mixed(pictures, tmp_path_factory, ray_address):
    """The run of thirty rows, a worker of which was killed midway."""
    run = tmp_path_factory.mktemp("mixed") / "run"
    arguments = [thirty_rows(pictures), "--out", run, "--ray-address", ray_address, *options(iterations=12)]
    process = start("run", *arguments)
    store = Store(str(run))
    wait_for(lambda: len(committed(store)) > 3, process=process)
    wait_for(workers, process=process)[0].kill()
    output, _ = process.communicate(timeout=240)
    return store, process.returncode, output, arguments


def test_thirty_rows_over_eight_images_train_eight_pyramids_and_commit_thirty_results(mixed):
    store, code, output, _ = mixed
    assert code == 0, output
    assert "WORKER_LOST" in output
    assert "8 images, 30 edits, 8 to train, 30 to make." in output
    assert len(committed(store)) == 38
    (counts,) = query(
        store,
        """SELECT (SELECT count(*) FROM results) AS models, count(*) AS edits, count(DISTINCT job_id) AS jobs,
                  count(DISTINCT pyramid) AS pyramids, count(value) AS judged FROM edits""",
    ).to_pylist()
    assert (counts["models"], counts["edits"], counts["jobs"], counts["pyramids"]) == (8, 30, 30, 8)
    attempts = query(store, "SELECT count(*) AS n FROM attempts JOIN results USING (job_id) WHERE state = 'committed'")
    assert attempts.to_pylist() == [{"n": 8}], "no pyramid was trained twice"


def test_tables_join_edits_with_pictures_metrics_and_models(mixed):
    store = mixed[0]
    rows = query(
        store,
        """SELECT e.edit_id, e.value, m.value AS measured, r.image_id, p.image.bytes AS png, p.width
           FROM edits e JOIN metrics m ON m.job_id = e.job_id AND m.name = e.metric
           JOIN results r ON r.job_id = e.pyramid_job
           JOIN pictures p ON p.job_id = e.job_id AND p.name = 'result' WHERE e.task = 'superres' ORDER BY e.edit_id""",
    ).to_pylist()
    assert len(rows) == 9
    for row in rows:
        assert row["value"] == row["measured"]
        assert row["edit_id"].startswith(f"{row['image_id']}:superres")
        assert Image.open(io.BytesIO(row["png"])).size[0] == row["width"]
    assert {row["width"] for row in rows} == {56, 84}
    several = query(store, "SELECT count(*) AS n FROM pictures WHERE task = 'generate' AND name = 'result'")
    assert several.to_pylist() == [{"n": 16}]
    (clip,) = query(store, "SELECT image.bytes AS data FROM pictures WHERE name = 'clip'").to_pylist()
    assert Image.open(io.BytesIO(clip["data"])).n_frames == 4


def test_the_same_command_again_makes_nothing_and_all_is_sound(mixed):
    store, _, _, arguments = mixed
    code, output = ask("run", *arguments)
    assert code == 0, output
    assert "nothing left to train, nothing left to make, 38 done before" in output
    code, output = ask("verify", store.url)
    assert code == 0, output
    assert "8 images, 30 edits, 38 jobs committed" in output
    code, output = ask("status", store.url)
    assert "8 images, 30 edits, 38 done, 0 failed, 0 left" in output


def test_the_gallery_has_a_page_for_every_edit_and_every_task(mixed):
    store = mixed[0]
    pages = set(store.list("gallery"))
    jobs = query(store, "SELECT job_id, edit_id, pyramid_job FROM edits").to_pylist()
    for row in jobs:
        page = store.get(f"gallery/edits/{row['job_id']}.html").decode()
        assert row["edit_id"] in page
        assert f"../jobs/{row['pyramid_job']}.html" in page
        assert f"gallery/edits/{row['job_id']}.webp" in pages
        assert f"edits/{row['job_id']}.html" in store.get(f"gallery/jobs/{row['pyramid_job']}.html").decode()
    index = store.get("gallery/index.html").decode()
    for task, count in (("superres", 9), ("style", 8), ("generate", 8), ("animate", 1)):
        assert f'<a href="task-{task}.html"><b>{count}</b> {task}</a>' in index
        assert store.get(f"gallery/task-{task}.html").decode().count('<li class="card">') == count
    assert "Edits with these pyramids: 30 done." in index


def test_another_run_takes_the_pyramids_of_this_one_and_trains_nothing(mixed, pictures, there, tmp_path):
    store = mixed[0]
    asked = ["--pyramids", store.url, "--task", "superres", "--set", "factor=2"]
    code, output = there(pictures / "images", "--out", tmp_path / "run", *asked)
    assert code == 0, output
    assert "Preset draft, as the run of the pyramids was begun with." in output
    assert "8 edits, nothing left to train, 8 to make" in output
    other = Store(str(tmp_path / "run"))
    mine = query(store, "SELECT job_id FROM edits WHERE task = 'superres'").column("job_id").to_pylist()
    theirs = query(other, "SELECT job_id, pyramid_run FROM edits").to_pylist()
    assert {row["job_id"] for row in theirs} < set(mine), "an edit is the same job wherever its pyramid lies"
    assert {row["pyramid_run"] for row in theirs} == {"run"}
    assert query(other, "SELECT * FROM results").num_rows == 0


def test_a_mask_for_each_image_by_its_name(pictures, tmp_path):
    code, output = run_alone(
        pictures / "images",
        "--limit", 2, "--out", tmp_path / "run", "--task", "inpaint", "--mask", pictures / "masks" / "{stem}.png",
        "--truth", pictures / "images" / "{name}", *options(),
    )  # fmt: skip
    assert code == 0, output
    sql = "SELECT e.mask_uri, holes_uri FROM edits e JOIN manifest USING (image_id) ORDER BY image_id"
    rows = query(Store(str(tmp_path / "run")), sql).to_pylist()
    assert [row["mask_uri"] for row in rows] == [row["holes_uri"] for row in rows] == ["photo-00.png", "photo-01.png"]


def test_nothing_is_trained_for_edits_that_are_refused(pictures, tmp_path):
    asked = ["--task", "paint", "--target", pictures / "nothing" / "{stem}.png", *options()]
    code, output = run_alone(pictures / "images", "--out", tmp_path / "run", *asked)
    assert code == 3, output
    assert "8 edits, nothing left to train, nothing left to make, 8 refused" in output


def test_a_corrected_mask_takes_the_place_of_the_wrong_one(pictures, tmp_path):
    run = [pictures / "images" / "photo-00.png", "--out", tmp_path / "run", "--task", "inpaint"]
    code, output = run_alone(*run, "--mask", pictures / "typo" / "{stem}.png", *options())
    assert code == 3, output
    code, output = run_alone(*run, "--mask", pictures / "masks" / "{stem}.png", *options())
    assert code == 0, output
    assert "1 images, 1 edits, 2 done, 0 failed, 0 left" in ask("status", tmp_path / "run")[1]


def test_a_lists_name_for_an_image_leads_no_pattern_out_of_its_folder(pictures, tmp_path):
    rows = "uri,image_id\nimages/photo-00.png,../../secret\nimages/photo-01.png,.\n"
    (pictures / "names.csv").write_text(rows)
    asked = ["--task", "style", "--target", pictures / "images" / "{name}.png", *options()]
    code, output = run_alone(pictures / "names.csv", "--out", tmp_path / "run", *asked)
    assert code == 3, output
    assert "2 edits, nothing left to train, nothing left to make, 2 refused" in output


def test_what_fails_is_told_for_each_edit_and_costs_no_other(pictures, tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(2):
        photograph(index).save(tmp_path / "in" / f"{index}.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    Image.new("L", (28, 23)).save(tmp_path / "in" / "nothing.png")
    rows = [
        {"uri": "in/0.png", "task": "energy"},
        {"uri": "in/0.png", "task": "inpaint", "mask_uri": "in/nothing.png"},
        {"uri": "in/1.png", "task": "style", "target_uri": "in/bad.png"},
        {"uri": "in/bad.png", "task": "energy"},
    ]
    run = tmp_path / "run"
    code, output = run_alone(write_list(tmp_path, rows), "--out", run, *options())
    assert code == 3, output
    told = {row.get("edit_id"): row["message"] for row in json.loads(ask("failures", run, "--json")[1])}
    found = {name: told[name] for name in told if name}
    assert "chooses nothing" in next(text for name, text in found.items() if ":inpaint" in name)
    assert "not an image" in next(text for name, text in found.items() if ":style" in name)
    assert "not an image" in found["in/bad.png:energy"]
    made = query(Store(str(run)), "SELECT edit_id FROM edits").to_pylist()
    assert made == [{"edit_id": "in/0.png:energy"}]
    failed = query(Store(str(run)), "SELECT edit_id, image_id, failure FROM failures").to_pylist()
    assert {row["failure"] for row in failed} == {"INPUT"}
    assert sum(row["edit_id"] is not None for row in failed) == 3
    page = Store(str(run)).get("gallery/failures.html").decode()
    assert "3 of 4 edits were not made" in page


def test_an_image_whose_model_fails_gives_up_its_edits_until_it_is_tried_again(there, tmp_path):
    photograph(0).save(tmp_path / "a.png")
    run = tmp_path / "run"
    wild = options(learning_rate=1.0, step_size=10.0, iterations=40, noise_std=1.0)
    code, output = there(tmp_path / "a.png", "--out", run, "--task", "energy", *wild)
    assert code == 3, output
    failures = read_failures(Store(str(run)))
    assert sorted(those[-1].failure for those in failures.values()) == ["NUMERIC", "PYRAMID"]
    assert "The pyramid of a.png could not be trained (NUMERIC)" in output.replace("\n", " ")
    code, output = there(tmp_path / "a.png", "--out", run, "--task", "energy", *wild)
    assert code == 3, output
    assert "2 failed before" in output, "nothing is trained again by itself"
    assert len(read_failures(Store(str(run)))) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--mask", "m.png"], "option.missing"),
        (["--task", "superrez"], "task.unknown"),
        (["--task", "style"], "task.invalid"),
        (["--task", "superres", "--set", "facto=2"], "task.invalid"),
        (["--task", "inpaint", "--mask", "{stom}.png"], "option.value"),
        (["--task", "superres", "--mask", "m.png"], "task.invalid"),
        (["--task", "superres", "--pyramids", "nowhere"], "pyramid.missing"),
    ],
)
def test_mistakes_get_a_sentence_and_exit_2(tmp_path, arguments, error):
    photograph(0).save(tmp_path / "a.png")
    code, output = ask("run", tmp_path / "a.png", "--out", tmp_path / "run", *arguments, *options())
    assert code == 2, output
    check_error(output, error)
    assert not (tmp_path / "run").exists()
