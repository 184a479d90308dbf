"""Images named by the arguments of `pgcn run`: real folders, buckets, web pages and lists."""

from __future__ import annotations

import errno
import functools
import http.server
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pgcn_jobs.common.failures import ConfigError, InputError, StoreError
from pgcn_jobs.inputs.discover import Source, find_sources, read_source
from pgcn_jobs.inputs.passed_over import Passed
from pgcn_jobs.run_folder.schemas import parquet_bytes
from pgcn_jobs.storage.store import Store
from tests.sentences import fails_with
from tests.servers import SECRET, S3Server, free_port

SETTINGS = ("iterations", "max_size", "noise_std", "warm_start")


def find(*images: str | Path) -> list[Source]:
    return find_sources([str(image) for image in images], setting_names=SETTINGS)


def ids(*images: str | Path) -> list[str]:
    return [source.image_id for source in find(*images)]


def fill(url: str | Path, *names: str) -> None:
    store = Store(str(url))
    for name in names:
        store.put(name, name.encode())


def refused(*images: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        find(*images)
    return str(caught.value)


TREE = ("b.PNG", "birds/a.jpg", "birds/deep/c.webp", "notes.txt", "film.mpg", ".hidden.png", ".git/d.png", "e")


def test_a_folder(tmp_path: Path) -> None:
    fill(tmp_path / "photos", *TREE)
    found = find(tmp_path / "photos")
    assert [source.image_id for source in found] == ["b.PNG", "birds/a.jpg", "birds/deep/c.webp"]
    assert [source.uri for source in found] == ["photos/b.PNG", "photos/birds/a.jpg", "photos/birds/deep/c.webp"]
    path = tmp_path / "photos/birds/a.jpg"
    assert found[1] == Source(
        "birds/a.jpg", "photos/birds/a.jpg", str(path), size_bytes=11, version=str(path.stat().st_mtime_ns)
    )


def test_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "photos", "a.png")
    monkeypatch.chdir(tmp_path / "photos")
    assert find(".") == find("../photos") == find(tmp_path / "photos") == find(f"file://{tmp_path}/photos")
    assert find(".")[0].uri == "photos/a.png"


def test_no_absolute_path_is_public(tmp_path: Path) -> None:
    fill(tmp_path / "photos", *TREE, "list/x.png")
    (tmp_path / "photos/list.csv").write_text(f"uri\n{tmp_path}/photos/list/x.png\n../gone.png\n{tmp_path}/e\n")
    photos = tmp_path / "photos"
    sources = [*find(photos), *find(photos / "e"), *find(f"{photos}/**"), *find(photos / "list.csv")]
    sources += find(photos, tmp_path / "missing.png")
    assert len(sources) == 4 + 1 + 4 + 3 + 5
    for source in sources:
        assert source.uri and str(tmp_path) not in source.uri + source.image_id + str(source.problem)
        assert tmp_path.parent.name not in source.uri


def test_a_single_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    fill(tmp_path, "scan", ".hidden.dat")
    assert [(s.image_id, s.uri) for s in find(tmp_path / "scan", tmp_path / ".hidden.dat")] == [
        (".hidden.dat", ".hidden.dat"),
        ("scan", "scan"),
    ]


def test_patterns(tmp_path: Path) -> None:
    fill(tmp_path / "p", *TREE)
    assert ids(f"{tmp_path}/p/*") == ["b.PNG"]
    assert ids(f"{tmp_path}/p/**") == ["b.PNG", "birds/a.jpg", "birds/deep/c.webp"]
    assert ids(f"{tmp_path}/*/birds/*.j?g") == ["p/birds/a.jpg"]
    assert "matches no image" in refused(f"{tmp_path}/p/*.gif")


def test_a_file_with_a_patterns_name(tmp_path: Path) -> None:
    fill(tmp_path, "a[1].png", "a1.png")
    assert ids(tmp_path / "a[1].png") == ["a[1].png"]


def test_what_is_not_there(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "empty/notes.txt")
    assert "no images" in refused(tmp_path / "empty")
    assert "There is no file or folder" in refused(tmp_path / "nowhere")
    assert refused(tmp_path / "gone.png").startswith("gone.png cannot be read: it does not exist")
    there, gone = find(tmp_path / "a.png", tmp_path / "gone.png")
    assert there.problem is None
    assert gone.problem is not None and gone.problem.startswith("gone.png cannot be read: it does not exist")
    assert "No images were named" in refused()


def test_a_broken_link_does_not_hide_the_others(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    assert [source.problem is None for source in find(tmp_path)] == [True, False]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_closed_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "closed/b.png")
    (tmp_path / "closed").chmod(0)
    open_one, closed = find(tmp_path)
    assert open_one.problem is None
    assert closed.problem is not None and "closed to this user" in closed.problem


def test_each_location_once(tmp_path: Path) -> None:
    fill(tmp_path, "birds/a.jpg", "b.png")
    everything = ids(tmp_path)
    assert everything == ["b.png", "birds/a.jpg"]
    assert ids(tmp_path, tmp_path / "birds", tmp_path / "birds/a.jpg", f"{tmp_path}/**") == everything
    assert ids(tmp_path / "birds/a.jpg", tmp_path) == everything


def test_equal_names_are_kept_apart_in_the_same_way_in_any_order(tmp_path: Path) -> None:
    for folder in ("one", "two", "three"):
        fill(tmp_path / folder, "a.jpg")
    folders = [tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    found = find(*folders)
    assert found == find(*reversed(folders))
    assert len({source.image_id for source in found}) == 3
    assert found[0].image_id == "a.jpg"
    assert all(len(source.image_id) == len("a.jpg-123456") for source in found[1:])


# Buckets


@pytest.fixture(params=["moto", "juicefs"])
def bucket(request: pytest.FixtureRequest, reach: Callable[[S3Server], str]) -> str:
    return reach(request.getfixturevalue(request.param))


def test_a_bucket(bucket: str) -> None:
    fill(bucket, *TREE)
    found = find(bucket)
    assert [source.image_id for source in found] == ["b.PNG", "birds/a.jpg", "birds/deep/c.webp"]
    assert found[1].uri == found[1].location == f"{bucket}/birds/a.jpg"
    assert found[1].size_bytes == 11
    assert found[1].version and '"' not in found[1].version
    assert find(f"{bucket}/") == found
    assert ids(f"{bucket}/birds") == ["a.jpg", "deep/c.webp"]
    assert ids(f"{bucket}/e") == ["e"]
    assert ids(f"{bucket}/*") == ["b.PNG"]
    assert ids(f"{bucket}/**") == ids(bucket)
    assert ids(f"{bucket}/*/*.jpg", bucket) == ids(bucket)
    assert [read_source(source.location, source.uri) for source in found] == [
        source.image_id.encode() for source in found
    ]


def test_a_changed_object_has_another_version(bucket: str) -> None:
    fill(bucket, "a.png")
    before = find(bucket)[0].version
    Store(bucket).put("a.png", b"other!")
    assert find(bucket)[0].version != before


def test_names_in_a_bucket_that_urls_would_mangle(bucket: str) -> None:
    names = sorted(["a b.png", "a#1.png", "a#2.png", "100%.png", "a?v=1.png", "me@home.png"])
    fill(bucket, *names)
    found = find(bucket)
    assert [source.image_id for source in found] == names
    assert [source.uri for source in found] == [f"{bucket}/{name}" for name in names]
    assert [read_source(source.location, source.uri).decode() for source in found] == names


def test_nothing_in_a_bucket(bucket: str) -> None:
    fill(bucket, "a.png", "notes/b.txt")
    assert "no images at" in refused(f"{bucket}/nothing")
    assert "no images at" in refused(f"{bucket}/notes")
    assert "no images at" in refused(f"{bucket}/*.gif")
    assert "does not exist" in refused(f"{bucket}/gone.png")
    assert "must name the bucket" in refused("s3://*/a.png")
    assert [source.problem for source in find(bucket, f"{bucket}/gone.png")] == [
        None,
        f"{bucket}/gone.png cannot be read: it does not exist.",
    ]


def test_storage_that_does_not_work_is_no_missing_image(
    reach: Callable[[S3Server], str], juicefs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = reach(juicefs)
    fill(url, "a.png")
    with fails_with("storage.missing"):
        find("s3://no-such-bucket/x")
    with fails_with("image.missing"):
        read_source("s3://no-such-bucket/a.png", "s3://no-such-bucket/a.png")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for use in (lambda: find(url), lambda: read_source(f"{url}/a.png", f"{url}/a.png")):
        with fails_with("storage.credentials"):
            use()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with fails_with("storage.unreachable"):
        find(url)


def test_an_unknown_kind_of_storage() -> None:
    with fails_with("storage.unsupported"):
        find("nonsense://x/y")
    with fails_with("storage.unsupported"):
        find("gs://x/y")


def test_any_fsspec_filesystem() -> None:
    fill("memory://pictures/run", "x/a.png", "x/b.txt")
    (found,) = find("memory://pictures/run")
    assert (found.image_id, found.uri) == ("x/a.png", "memory://pictures/run/x/a.png")
    assert read_source(found.location, found.uri) == b"x/a.png"


# Reading


def test_a_file_that_cannot_be_read(place: str, tmp_path: Path) -> None:
    fill(place, "a.png", "folder/b.png")
    Store(place).put("empty.png", b"")

    def why(name: str, **how: Any) -> str:
        with pytest.raises(InputError) as caught:
            read_source(f"{place}/{name}", f"shown/{name}", **how)
        return str(caught.value)

    assert why("gone.png") == "shown/gone.png cannot be read: it does not exist."
    assert why("a.png/b.png") == "shown/a.png/b.png cannot be read: it does not exist."
    assert why("empty.png") == "shown/empty.png cannot be read: it is empty (0 bytes)."
    assert why("a.png", max_bytes=4) == "shown/a.png cannot be read: it is larger than 4 bytes."
    assert why("folder").startswith("shown/folder cannot be read: it ")
    assert read_source(f"{place}/a.png", "shown", max_bytes=5) == b"a.png"


class _Pages(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; one page is forbidden, one is out of order the first time, and the query is a secret."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/forbidden"):
            self.send_error(403)
        elif self.path.startswith("/down") or (self.path == "/flaky.png" and self.asked.count(self.path) == 1):
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    handler = type("Pages", (_Pages,), {"asked": []})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_web_pages(web: str, tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "flaky.png", "sub/list.csv", "sub/b.png")
    (source,) = find(f"{web}/a.png?X-Amz-Signature={SECRET}")
    assert (source.image_id, source.uri) == ("a.png", f"{web}/a.png")
    assert source.location.endswith(SECRET)
    assert read_source(source.location, source.uri) == b"a.png"
    assert read_source(f"{web}/flaky.png", "flaky") == b"flaky.png"
    (tmp_path / "sub/list.csv").write_text("uri\nb.png\n")
    (row,) = find(f"{web}/sub/list.csv?X-Amz-Signature={SECRET}")
    assert (row.uri, read_source(row.location, row.uri)) == (f"{web}/sub/b.png", b"sub/b.png")


@pytest.mark.parametrize(
    ("page", "kind", "why"),
    [
        ("gone.png", InputError, "it does not exist"),
        ("forbidden.png", InputError, r"its server refuses it \(HTTP 403\)"),
        ("down.png", StoreError, "out of order"),
    ],
)
def test_web_pages_that_fail_never_show_the_query(
    page: str, kind: type[Exception], why: str, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgcn_jobs.storage.errors.ATTEMPTS", 2)
    (source,) = find(f"{web}/{page}?X-Amz-Signature={SECRET}")
    with pytest.raises(kind, match=why) as caught:
        read_source(source.location, source.uri)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_many_files_share_one_connection(reach: Callable[[S3Server], str], moto: S3Server) -> None:
    url = reach(moto)
    fill(url, "a.png")
    read_source(f"{url}/a.png", "a")
    start = time.monotonic()
    for _ in range(50):
        read_source(f"{url}/a.png", "a")
    assert time.monotonic() - start < 5  # a connection each would take 20 s


# Lists


def write_list(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_list(tmp_path: Path) -> None:
    fill(tmp_path / "set", "x/a.png", "b.png")
    images = write_list(
        tmp_path / "set/list.csv",
        "\ufeffuri,image_id,seed,iterations,max_size,photographer\n"
        'x/a.png,,7,300,,"Ann, B."\n'
        "./b.png,bird,,,64,\n"
        "s3://bucket/p/c.png,,,,,\n",
    )
    first, second, third = (find(images)[index] for index in (2, 0, 1))
    assert (first.image_id, first.uri, first.seed, first.overrides) == (
        "x/a.png",
        "set/x/a.png",
        7,
        {"iterations": "300"},
    )
    assert first.location == str(tmp_path / "set/x/a.png") and first.size_bytes == 7 and first.version
    assert (second.image_id, second.uri, second.seed, second.overrides) == (
        "bird",
        "set/b.png",
        None,
        {"max_size": "64"},
    )
    assert (third.image_id, third.uri, third.location) == ("c.png", "s3://bucket/p/c.png", "s3://bucket/p/c.png")


def test_a_parquet_list(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    table = pa.table(
        {
            "uri": ["a.png", "gone.png"],
            "seed": [3.0, float("nan")],  # as pandas writes a column with a gap
            "iterations": pa.array([300, None], pa.int32()),
            "warm_start": [False, None],
        }
    )
    (tmp_path / "list.parquet").write_bytes(parquet_bytes(table))
    there, gone = find(tmp_path / "list.parquet")
    assert (there.seed, dict(there.overrides)) == (3, {"iterations": 300, "warm_start": False})
    assert (gone.seed, dict(gone.overrides)) == (None, {})
    assert gone.problem is not None and "does not exist" in gone.problem


def test_a_list_in_a_bucket(bucket: str) -> None:
    fill(bucket, "set/x/a.png")
    Store(bucket).put("set/list.csv", b"uri\nx/a.png\n../../etc/passwd\nnonsense://x/y.png\n")
    inside, outside, nonsense = (find(f"{bucket}/set/list.csv")[index] for index in (1, 0, 2))
    assert (inside.image_id, inside.uri) == ("x/a.png", f"{bucket}/set/x/a.png")
    assert read_source(inside.location, inside.uri) == b"set/x/a.png"
    assert outside.problem is not None and "is outside" in outside.problem
    assert nonsense.problem is not None and "may not name nonsense://" in nonsense.problem


def test_one_image_in_many_rows(tmp_path: Path) -> None:
    """Rows with other seeds or settings are other sources; equal rows, and the folder itself, add nothing."""
    fill(tmp_path, "a.png", "b.png")
    images = write_list(
        tmp_path / "list.csv", "uri,seed,iterations\na.png,1,\na.png,2,\na.png,2,\na.png,2,9\nb.png,,\n"
    )
    found = find(images, tmp_path)
    assert [(s.uri.rpartition("/")[2], s.seed, len(s.overrides)) for s in found].count(("a.png", 2, 0)) == 1
    assert len(found) == 4
    assert sum(source.image_id.startswith("a.png-") for source in found) == 2
    assert found == find(tmp_path, images)
    assert [source.image_id for source in found] == sorted({source.image_id for source in found})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("uri\n", "no rows"),
        ("url\na.png\n", "no column 'uri' with the images' names; its columns: url."),
        ("uri,seed\na.png,1\nb.png,x\n", "row 2: the seed 'x' is not a whole number"),
        ("uri,seed\na.png,-1\n", "row 1: the seed '-1' is not a whole number"),
        ("uri,seed\na.png,1.5\n", "row 1: the seed '1.5' is not a whole number"),
        ("uri,seed\na.png,9223372036854775808\n", "row 1: the seed"),
        ("uri,iteratons\na.png,1\n", "a column 'iteratons', which looks like 'iterations'"),
        ("uri,Max_Size\na.png,1\n", "a column 'Max_Size', which looks like 'max_size'"),
        ("uri,seeds\na.png,1\n", "a column 'seeds', which looks like 'seed'"),
        ("uri,note,note\na.png,1,2\n", "the column 'note' twice"),
        ("uri,note\na.png,1\n,2\n", "row 2 has no 'uri'"),
        ("uri,note\na.png,1\nb.png,c,d\n", "row 2 has more fields than the header"),
        ("uri,image_id\na.png,x\nb.png,y\nc.png,x\n", "row 3 has the image_id 'x' of row 1"),
        ('uri\n"a.png\n', "is not a CSV file"),
    ],
)
def test_a_wrong_list(tmp_path: Path, text: str, why: str) -> None:
    images = write_list(tmp_path / "list.csv", text)
    assert why in refused(images)
    assert "list.csv" in refused(images)


def test_files_that_are_no_lists(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\x00bad")
    assert "not UTF-8" in refused(tmp_path / "list.csv")
    (tmp_path / "list.parquet").write_bytes(b"PAR1 nothing")
    assert "not a Parquet file" in refused(tmp_path / "list.parquet")
    assert "does not exist" in refused(tmp_path / "gone.csv")


def test_an_image_id_in_two_lists(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.png")
    one = write_list(tmp_path / "one.csv", "uri,image_id\na.png,x\n")
    two = write_list(tmp_path / "two.csv", "uri,image_id\nb.png,x\n")
    assert "image_id 'x' is given to two images" in refused(one, two)


def test_users_own_columns_are_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    images = write_list(tmp_path / "list.csv", "uri,label,license,width,caption\na.png,cat,CC0,5,x\n")
    assert dict(find(images)[0].overrides) == {}


def test_named_pipes_and_sockets_are_passed_over(tmp_path):
    """To open a named pipe waits for a writer, for ever."""
    folder = tmp_path / "f"
    fill(folder, "a.png", "b.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "notes")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "sock.png"))
    for named in (folder, folder / "*.png"):
        passed = Passed()
        found = find_sources([str(named)], setting_names=SETTINGS, passed=passed)
        assert [source.image_id for source in found] == ["a.png", "b.png"]
        assert any("named pipes, sockets or devices: f/pipe.png, f/sock.png" in said for said in passed.sentences())
    assert "pipe.png cannot be read: it is a named pipe, socket or device" in refused(folder / "pipe.png")
    listed = tmp_path / "list.csv"
    listed.write_text("uri\nf/pipe.png\nf/a.png\n")
    assert [bool(source.problem) for source in find(listed)] == [False, True]
    os.mkfifo(tmp_path / "pipe.csv")
    assert "named pipe" in refused(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="named pipe"):
        read_source(str(folder / "pipe.png"), "f/pipe.png")


def test_a_bad_sector_is_the_fault_of_its_file(tmp_path, monkeypatch):
    def broken(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a.png").write_bytes(b"a")
    monkeypatch.setattr("pgcn_jobs.inputs.source_bytes.local_path", broken)
    with pytest.raises(InputError, match=r"f/a\.png cannot be read: its disk cannot read it \(EIO\)"):
        read_source(str(tmp_path / "a.png"), "f/a.png")
