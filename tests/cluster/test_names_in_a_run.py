"""Several commands into one run, with images, masks and edits of the same names: nothing takes another's place."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pgcn_cluster.maintenance.compare_tables import _same_rows
from pgcn_cluster.planning.intake import make_plan
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.edit_manifest import add_edits, read_edits
from pgcn_jobs.run_folder.identity import open_run
from pgcn_jobs.run_folder.manifest import add_to_manifest, read_manifest, write_parts
from pgcn_jobs.storage.store import Store
from tests.cluster.alone import run_alone
from tests.cluster.running import options, request_for


def picture(path, colour, mode="RGB"):
    """A picture whose file has the same size and time as every other one of this kind."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (24, 20), "gray")
    image.paste(colour, (4, 4, 12, 12))
    image.convert(mode).save(path, format="BMP")
    os.utime(path, ns=(10**18, 10**18))
    return Path(path)


def planned(out, *images, retry=False, **asked):
    """Write the plan of a command, without a training."""
    prepared = prepare(
        request_for("", out).model_copy(update={"images": [str(image) for image in images], **asked}), Cluster(None)
    )
    open_run(prepared.store, prepared.identity)
    plan = make_plan(prepared, retry=retry)
    add_to_manifest(prepared.store, plan.entries, prepared.known)
    add_edits(prepared.store, [*plan.superseded, *plan.edits], prepared.known_edits)
    return plan


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "run")


def names(out):
    """The run's images: name → place and bytes."""
    return {entry.image_id: (entry.place, entry.sha256) for entry in read_manifest(Store(out)).values()}


def test_two_folders_of_one_name_stay_in_tables_and_gallery(tmp_path, out):
    for year, colour in (("2023", "red"), ("2024", "blue")):
        picture(tmp_path / year / "photos" / "cat.png", colour)
        code, output = run_alone(tmp_path / year / "photos", "--out", out, *options())
        assert code == 0, output
    rows = query(Store(out), "SELECT image_id, uri FROM results ORDER BY image_id").to_pylist()
    assert [row["uri"] for row in rows] == ["photos/cat.png"] * 2
    first, second = (row["image_id"] for row in rows)
    assert first == "cat.png"
    assert second.startswith("cat.png-")
    assert all(name in Path(out, "gallery", "index.html").read_text() for name in (first, second))


def test_names_stay_with_their_images_whatever_is_asked_for_next(tmp_path, out):
    folders = [picture(tmp_path / name / "photos" / "cat.png", colour).parent for name, colour in
               (("b", "red"), ("c", "blue"), ("a", "green"))]  # fmt: skip
    seen: dict[str, object] = {}
    for asked in ([0], [1], [0], [1], [1, 0], [2, 0, 1], [2], [0, 1], [2, 1, 0]):
        plan = planned(out, *(folders[number] for number in asked))
        assert len(plan.entries) == len(asked)
        assert seen.items() <= names(out).items()
        seen = names(out)
    assert len(seen) == 3
    assert len({sha256 for _, sha256 in names(out).values()}) == 3


def test_the_same_images_in_another_place_keep_their_names(tmp_path, out):
    photos = picture(tmp_path / "old" / "photos" / "cat.png", "red").parent
    picture(photos / "dog.png", "blue")
    before = {name: sha256 for name, (_, sha256) in names_after(out, photos).items()}
    shutil.move(tmp_path / "old", tmp_path / "new")
    after = names_after(out, tmp_path / "new" / "photos")
    assert {name: sha256 for name, (_, sha256) in after.items()} == before
    picture(tmp_path / "new" / "photos" / "cat.png", "green")
    os.utime(tmp_path / "new" / "photos" / "cat.png")
    assert names_after(out, tmp_path / "new" / "photos").keys() == before.keys(), "changed where it lies"


def names_after(out, *images):
    """The run's images after one more command."""
    planned(out, *images)
    return names(out)


def test_a_file_of_the_same_size_and_time_is_looked_at_with_retry(tmp_path, out):
    cat = picture(tmp_path / "photos" / "cat.png", "red")
    (_, before), = names_after(out, cat.parent).values()  # fmt: skip
    picture(cat, "blue")
    assert names_after(out, cat.parent)["cat.png"][1] == before, "storage says that it is unchanged"
    planned(out, cat.parent, retry=True)
    assert names(out)["cat.png"][1] != before


def test_refused_images_of_one_name_are_both_told_of(tmp_path, out):
    for year, text in (("2023", b"no picture"), ("2024", b"")):
        (tmp_path / year / "photos").mkdir(parents=True)
        (tmp_path / year / "photos" / "cat.png").write_bytes(text)
        planned(out, tmp_path / year / "photos")
    picture(tmp_path / "2025" / "photos" / "cat.png", "red")
    planned(out, tmp_path / "2025" / "photos")
    entries = read_manifest(Store(out)).values()
    assert [entry.problem is None for entry in sorted(entries, key=lambda e: e.problem is None)] == [False, False, True]
    assert len({entry.job_id for entry in entries}) == 3


def test_a_run_of_an_older_version_keeps_its_names(tmp_path, out):
    photos = picture(tmp_path / "photos" / "cat.png", "red").parent
    planned(out, photos)
    store = Store(out)
    old = [replace(entry, place=None) for entry in read_manifest(store).values()]
    store.delete(store.list("manifest"))
    schema = schemas.MANIFEST.remove(schemas.MANIFEST.names.index("place"))
    write_parts(store, "manifest", old, schema)
    picture(photos / "cat.png", "blue")
    plan = planned(out, photos)
    assert [entry.image_id for entry in plan.entries] == ["cat.png"]
    assert plan.entries[0].sha256 != old[0].sha256, "it was looked at, as its place was not known"
    assert names(out)["cat.png"][0] is not None


def test_tables_of_an_older_version_are_sound():
    def manifest(place):
        row = {"image_id": "cat.png", "place": place}
        return schemas.table([row], schemas.MANIFEST)

    old = schemas.parquet_bytes(manifest(None).drop_columns(["place"]))
    assert _same_rows(old, schemas.parquet_bytes(manifest(None)))
    assert not _same_rows(old, schemas.parquet_bytes(manifest("0123456789ab")))


def test_lists_of_one_name_keep_all_their_images_and_edits(tmp_path, out):
    for year, colour in (("2023", "red"), ("2024", "blue")):
        picture(tmp_path / year / "a.png", colour)
        (tmp_path / year / "list.csv").write_text("uri,image_id,task,edit_id\na.png,x,superres,big\na.png,x,,\n")
        planned(out, tmp_path / year / "list.csv")
    assert len(names(out)) == 2
    edits = read_edits(Store(out))
    assert len(edits) == 2
    assert len({edit.sha256[0] for edit in edits.values()}) == 2
    assert {edit.image_id for edit in edits.values()} == names(out).keys()
    planned(out, tmp_path / "2023" / "list.csv", tmp_path / "2024" / "a.png")
    assert read_edits(Store(out)) == edits


def test_rows_of_one_image_with_other_seeds_in_a_second_list_take_no_name(tmp_path, out):
    picture(tmp_path / "a.png", "red")
    for number, seeds in enumerate(((1, 2), (2, 3))):
        text = "uri,seed\n" + "".join(f"a.png,{seed}\n" for seed in seeds)
        (tmp_path / f"list{number}.csv").write_text(text)
        planned(out, tmp_path / f"list{number}.csv")
    assert sorted(entry.seed for entry in read_manifest(Store(out)).values()) == [1, 2, 3]


@pytest.mark.parametrize("task", ["superres", "inpaint"])
def test_tasks_on_images_and_masks_of_one_name(tmp_path, out, task):
    for year, colour in (("2023", "red"), ("2024", "blue")):
        picture(tmp_path / year / "photos" / "cat.png", colour)
        mask = Image.new("L", (24, 20), 0)
        mask.paste(255, (2, 2, 8, 8 if year == "2023" else 9))
        (tmp_path / year / "masks").mkdir()
        mask.save(tmp_path / year / "masks" / "cat.png", format="BMP")
        more = {"mask": str(tmp_path / year / "masks" / "{stem}.png")} if task == "inpaint" else {}
        planned(out, tmp_path / year / "photos", task=task, **more)
    edits = read_edits(Store(out))
    assert len(edits) == len({edit.job_id for edit in edits.values()}) == 2
    if task == "superres":
        return
    # The same photographs with the other masks, which have the same names.
    planned(out, tmp_path / "2023" / "photos", task=task, mask=str(tmp_path / "2024" / "masks" / "{stem}.png"))
    assert len(read_edits(Store(out))) == 3
    assert len({entry.holes for entry in read_manifest(Store(out)).values()} - {None}) == 2
    assert len(read_manifest(Store(out))) == 3


def test_pages_that_differ_in_their_query_are_two_images(tmp_path, out, monkeypatch):
    pictures = {f"http://127.0.0.1:1/photo?id={n}": picture(tmp_path / f"{n}.bmp", c).read_bytes()
                for n, c in ((1, "red"), (2, "blue"))}  # fmt: skip
    monkeypatch.setattr("pgcn_jobs.run_folder.plan_source.read_source", lambda location, uri: pictures[location])
    for page in pictures:
        planned(out, page)
    assert len(names(out)) == 2
