"""A run reads, replaces and removes only what it wrote: files of others, links, and records of newer versions."""

import json
import shutil

import pytest

import pgcn_jobs.run_folder.identity
from pgcn_cluster.gallery.publish import publish
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.tables.query import query
from pgcn_jobs import layout
from pgcn_jobs.common.failures import ConfigError, StoreError
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.checkpoints import Checkpoints
from pgcn_jobs.run_folder.commit import committed
from pgcn_jobs.run_folder.identity import open_run, require_place
from pgcn_jobs.storage.store import Store
from tests.cluster.others import NEWER, newer, strangers, tree
from tests.cluster.running import (
    TINY,
    ask,
    options,
    photograph,
    request_for,
    run_here,
    write_bad_pictures,
    write_photographs,
)

TEMPORARY = f".{'0123456789abcdef' * 2}.tmp"
LITTER = [".DS_Store", "Thumbs.db", "desktop.ini", "._photo.png", TEMPORARY]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Images, one of them bad, and the run over them."""
    root = tmp_path_factory.mktemp("whole")
    images = write_photographs(root / "images", 2)
    write_bad_pictures(images)
    run_here(images, str(root / "run"))
    return images, root / "run"


@pytest.fixture
def local(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "run")
    return Store(str(tmp_path / "run"))


def sentence(code, output, words, wanted=2):
    assert code == wanted, output
    assert words in " ".join(output.split()), output
    assert "Traceback" not in output


# Places for a new run.


def test_a_place_in_use_is_refused_and_nothing_in_it_changes(place, tmp_path):
    images = write_photographs(tmp_path / "images", 1)
    store = Store(place)
    site = {"gallery/a.png": b"mine", "tables/samples/b.csv": b"1,2", "photos/p.png": b"a picture"}
    for path, data in site.items():
        store.put(path, data)
    for more in ([], ["--dry-run"]):
        sentence(*ask("run", images, "--out", place, *options(), *more), "is in use: ")
    assert {path: store.get(path) for path in store.list()} == site


def test_an_empty_place_may_have_what_systems_leave_there(tmp_path):
    (tmp_path / "run" / "lost+found").mkdir(parents=True)
    for name in LITTER:
        (tmp_path / "run" / name).write_bytes(b"x")
    assert require_place(Store(str(tmp_path / "run"))) is None
    assert require_place(Store(str(tmp_path / "absent"))) is None
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="link is in it"):
        require_place(Store(str(tmp_path / "run")))


def test_an_empty_prefix_of_a_bucket(reach, moto):
    url = reach(moto)
    store = Store(url)
    store.put(TEMPORARY, b"")
    moto.client().put_object(Bucket=moto.bucket, Key=f"{url.removeprefix(f's3://{moto.bucket}/')}/", Body=b"")
    assert require_place(store) is None
    Store(f"{url}-other").put("a.png", b"not below the prefix")
    assert require_place(store) is None
    store.put("a.png", b"1")
    with pytest.raises(ConfigError, match=r"a\.png is in it"):
        require_place(store)


def test_a_run_that_another_command_begins_meanwhile_is_gone_on_with(tmp_path, monkeypatch):
    images, real = write_photographs(tmp_path / "images", 1), Store.occupant
    first, second = (prepare(request_for(images, str(tmp_path / "run")), Cluster(None)) for _ in range(2))

    def begun_meanwhile(store):
        monkeypatch.setattr(Store, "occupant", real)
        open_run(first.store, first.identity)
        return real(store)

    monkeypatch.setattr(Store, "occupant", begun_meanwhile)
    assert open_run(second.store, second.identity) == first.identity


@pytest.mark.parametrize(
    "end", ["photos --out photos", "photos/*.png --out .", "photos --out LINK", "a.csv --out photos"]
)
def test_images_in_the_place_of_the_run_are_a_sentence(tmp_path, monkeypatch, end):
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos", 2)
    (tmp_path / "a.csv").write_text("uri\nphotos/photo-00.png\n")
    (tmp_path / "LINK").symlink_to("photos")
    before = tree(tmp_path)
    code, output = ask("run", *end.split(), *options())
    sentence(code, output, "is in use" if end.startswith("a.csv") else "lie in --out")
    assert tree(tmp_path) == before


def test_images_inside_a_run_are_named_and_a_run_inside_the_images_is_passed_over(tmp_path):
    images = write_photographs(tmp_path, 1)
    run_here(images, str(tmp_path / "run"))
    (tmp_path / "run" / "mine").mkdir()
    photograph(5).save(tmp_path / "run" / "mine" / "p.png")
    sentence(*ask("run", tmp_path / "run" / "mine", "--out", tmp_path / "run", *options()), "lie in --out")
    code, output = ask("run", tmp_path, "--out", tmp_path / "run", *options(), "--dry-run")
    assert code == 0, output
    assert "1 images in" in output and "1 images, nothing left to train" in output, output


# Files of others in a run.


def test_files_of_others_stop_nothing_and_survive_everything(whole, local, tmp_path):
    before = {name: query(local, f"SELECT * FROM {name} ORDER BY ALL").num_rows for name in schemas.TABLES}
    job = sorted(committed(local))[0]
    (tmp_path / "run" / layout.checkpoint_folder(job)).mkdir(parents=True, exist_ok=True)
    others = strangers(tmp_path / "run")
    for command in (
        ["status", local.url],
        ["failures", local.url],
        ["verify", local.url],
        ["gather", local.url],
        ["gallery", local.url],
        ["gc", local.url, "--older-than", "0s"],
        ["query", local.url, "SELECT * FROM results"],
    ):
        code, output = ask(*command)
        assert code == 0, (command, output)
    local.delete([f"commits/{job}.json"])
    code, output = ask("verify", local.url, "--repair")
    run_here(whole[0], local.url)
    assert ask("verify", local.url)[0] == 0
    assert {path: path.read_bytes() for path in others} == others
    after = {name: query(local, f"SELECT * FROM {name} ORDER BY ALL").num_rows for name in schemas.TABLES}
    assert after == before


def test_a_job_goes_on_beside_files_of_others(tmp_path):
    store, job = Store(str(tmp_path)), "a" * 20
    for name in (".DS_Store", "notes.txt", "zzz/000001-0123456789abcdef.safetensors"):
        store.put(f"checkpoints/{job}/{name}", b"not ours")
    checkpoints = Checkpoints(store, job)
    assert checkpoints.last() is None
    for _ in range(4):
        checkpoints.write(({}, {}))
    assert len(store.list(f"checkpoints/{job}")) == 2 + 3


# Links below a run.


@pytest.mark.parametrize(
    "folder",
    [
        "manifest",
        "commits",
        "failures",
        "attempts",
        "tables",
        "tables/results",
        "gallery",
        "gallery/jobs",
        "checkpoints",
    ],
)
def test_a_linked_folder_is_a_sentence_and_nothing_behind_it_is_touched(local, tmp_path, folder):
    inside, outside = tmp_path / "run" / folder, tmp_path / "outside"
    if inside.exists():
        shutil.move(inside, outside)
    else:
        outside.mkdir()
    (outside / "a.png").write_bytes(b"mine")
    inside.parent.mkdir(exist_ok=True)
    inside.symlink_to(outside)
    before = tree(outside)
    said = [
        ask(*command)
        for command in (
            ["gather", local.url],
            ["gallery", local.url],
            ["verify", local.url, "--repair"],
            ["gc", local.url, "--older-than", "0s"],
            ["run", tmp_path / "run", "--out", local.url, *options()],
        )
    ]
    assert tree(outside) == before
    assert any(code == 2 and f"{folder} in it is a link" in output for code, output in said), said
    assert not any("Traceback" in output for _, output in said), said


@pytest.mark.parametrize("folder", ["manifest", "commits", "failures"])
def test_a_linked_record_is_not_read_as_ours(local, tmp_path, folder):
    path = next(path for path in (tmp_path / "run" / folder).rglob("*") if path.is_file())
    shutil.move(path, tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    before = (tmp_path / "outside").read_bytes()
    for command in (["status", local.url], ["verify", local.url, "--repair"], ["gc", local.url]):
        sentence(*ask(*command), "is a link")
    assert (tmp_path / "outside").read_bytes() == before


def test_links_of_others_are_passed_over_and_the_run_itself_may_be_one(local, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for folder in ("", "commits", "gallery", "manifest"):
        (tmp_path / "run" / folder / "shortcut").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "run" / folder / "file.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for command in ("status", "verify", "gather", "gallery", "gc"):
        code, output = ask(command, tmp_path / "link")
        assert code == 0, output


@pytest.mark.parametrize("call", ["put", "create", "claim", "get", "exists", "modified", "delete"])
def test_no_call_of_a_store_follows_a_link(tmp_path, call):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "run" / "file").symlink_to(tmp_path / "outside" / "a")
    store = Store(str(tmp_path / "run"))
    for path in ("linked/a", "file"):
        arguments = [[path]] if call == "delete" else [path, b"ours"][: 2 if call in ("put", "create", "claim") else 1]
        with pytest.raises(StoreError, match="is a link"):
            getattr(store, call)(*arguments)
    assert list(tree(tmp_path / "outside").values()) == [b"mine"]


# Records of newer versions.


@pytest.mark.parametrize("what", NEWER)
def test_records_of_a_newer_version_are_read_and_never_removed(whole, local, what):
    newer(local, what)
    if not what.startswith("tables"):
        assert publish(local) == []
    for command in (["status", local.url], ["failures", local.url], ["query", local.url, "SELECT * FROM results"]):
        code, output = ask(*command)
        assert code == 0, output
    code, output = ask("verify", local.url)
    assert code == 0 and "Sound." in output, output
    local.delete(["tables/built.json"])  # something to be mended
    before = {path: local.get(path) for path in local.list()}
    sentence(*ask("verify", local.url, "--repair"), "records of a newer pgcn than this")
    sentence(*ask("gc", local.url, "--older-than", "0s"), "nothing was removed or mended")
    assert {path: local.get(path) for path in local.list()} == before


def test_a_run_with_settings_of_a_later_version_is_not_gone_on_with(whole, local):
    newer(local, "run.json setting")
    sentence(*ask("run", whole[0], "--out", local.url, *options(), "--dry-run"), "does not know (novelty)")


def test_another_version_that_goes_on_with_a_run_is_said(whole, local):
    record = json.loads(local.get("run.json"))
    assert record["ray_version"] == pgcn_jobs.run_folder.identity.version("ray")
    local.put("run.json", json.dumps(record | {"pgcn_version": "0.0.9", "ray_version": "2.1"}).encode())
    code, output = ask("run", whole[0], "--out", local.url, *options(), "--dry-run")
    assert code == 0, output
    assert "This run was begun with pgcn 0.0.9 and Ray 2.1, and goes on with pgcn" in " ".join(output.split())
    local.put("run.json", json.dumps(record).encode())
    assert "was begun with" not in ask("run", whole[0], "--out", local.url, *options(), "--dry-run")[1]


# Files of `apply` and `sample`.


APPLY = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]


def test_samples_of_two_images_of_one_name_are_all_kept(tmp_path):
    images = tmp_path / "images"
    for folder, index in (("a", 0), ("b", 1)):
        (images / folder).mkdir(parents=True)
        photograph(index).save(images / folder / "cat.png")
    photograph(2).save(images / "a_cat.png")
    run_here(images, str(tmp_path / "run"))
    out = tmp_path / "out"
    for image in ("a/cat.png", "a_cat.png", "a/cat.png"):
        code, output = ask("sample", tmp_path / "run", image, "-n", "2", "--out", out)
        assert code == 0, output
    assert {path.name for path in out.iterdir()} == {
        f"a_cat-1x1-seed{seed}{version}.png" for seed in (0, 1) for version in ("", "-v2")
    }
    mine = out / "b_cat-1x1-seed0.png"
    mine.write_bytes(b"mine")
    code, output = ask("sample", tmp_path / "run", "b/cat.png", "-n", "1", "--out", out)
    assert (code, output.strip()) == (0, str(out / "b_cat-1x1-seed0-v2.png"))
    assert mine.read_bytes() == b"mine"


def test_results_of_apply_never_take_each_others_names(tmp_path):
    for folder, index in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        photograph(index).save(tmp_path / folder / "0001.png")
    photograph(2).convert("RGB").save(tmp_path / "a" / "0001.jpg")
    out, seen = tmp_path / "out", {}
    for image, more in (
        ("a/0001.png", []),
        ("b/0001.png", []),
        ("a/0001.jpg", []),
        ("a/0001.png", ["--set", "factor=3"]),
        ("a/0001.png", []),
    ):
        code, output = ask("apply", "superres", tmp_path / image, "--out", out, *APPLY, *more)
        assert code == 0, output
        assert all((out / name).read_bytes() == data for name, data in seen.items()), "a result was replaced"
        seen = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    stems = {name.split(".")[0] for name in seen}
    assert stems == {"0001-superres", "0001-superres-v2", "0001-superres-v3", "0001-superres-v4"}


def test_apply_replaces_no_file_and_says_so_before_it_trains(tmp_path):
    photo = write_photographs(tmp_path, 1) / "photo-00.png"
    (tmp_path / "cat.json").write_bytes(b"mine")
    before = tree(tmp_path)
    for out in (photo, tmp_path / "cat.png"):
        code, output = ask("apply", "superres", photo, "--out", out, *APPLY)
        sentence(code, output, "exists already, and is not replaced")
        assert "Training" not in output
    assert tree(tmp_path) == before


def test_apply_says_before_it_trains_that_nothing_can_be_written(tmp_path):
    photo = write_photographs(tmp_path, 1) / "photo-00.png"
    (tmp_path / "out").write_bytes(b"a file where the folder should be")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "pyramids").symlink_to(tmp_path)
    for out, words in (("out", "a file stands where a folder is needed"), ("kept", "pyramids in it is a link")):
        code, output = ask("apply", "superres", photo, "--out", tmp_path / out, *APPLY)
        sentence(code, output, words)
        assert "Training" not in output
