"""The store's guarantees, over a local folder and two real S3 servers."""

from __future__ import annotations

import errno
import http.server
import multiprocessing
import os
import pickle
import resource
import socket
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.run_folder.schemas import parquet_bytes
from pgcn_jobs.storage import errors as storage_errors
from pgcn_jobs.storage import remote_folder, urls
from pgcn_jobs.storage.store import Store, explain, public_url
from tests.sentences import fails_with
from tests.servers import KEY, SECRET, S3Server, free_port, hanging_server

Reach = Callable[[S3Server], str]


@pytest.fixture
def store(place: str) -> Store:
    return Store(place)


def names(folder: Path) -> list[str]:
    """Every file in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def test_what_is_put_comes_back(store: Store) -> None:
    store.put("a/b/c.json", b"one")
    store.put("a/b/c.json", b"two")
    store.put("empty", b"")
    assert store.get("a/b/c.json") == b"two"
    assert store.get("empty") == b""
    assert store.exists("a/b/c.json")
    assert not store.exists("a/b")
    assert not store.exists("a/b/c")


def test_names_that_urls_would_mangle(store: Store) -> None:
    names = ["a b.txt", "ü.txt", "a#1.txt", "100%.txt", "a+b.txt", "a?x=1.txt", "[a].txt"]
    for name in names:
        store.put(name, name.encode())
    assert sorted(store.list()) == sorted(names)
    assert [store.get(name).decode() for name in names] == names


def test_an_absent_object_is_file_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match="There is no nothing in "):
        store.get("nothing")
    store.put("folder/object", b"1")
    with pytest.raises(FileNotFoundError):
        store.get("folder/other")


def test_list_is_recursive_relative_and_sized(store: Store) -> None:
    assert store.list() == {}
    assert store.list("commits") == {}
    for path in ("run.json", "commits/b.json", "commits/a.json", "commits/deep/er/c.json", "commits-old/d.json"):
        store.put(path, path.encode())
    assert store.list("commits") == store.list("commits/")
    assert list(store.list("commits").items()) == [
        ("commits/a.json", 14),
        ("commits/b.json", 14),
        ("commits/deep/er/c.json", 22),
    ]
    assert len(store.list()) == 5


def test_list_is_never_cached(place: str) -> None:
    reader, writer = Store(place), Store(place)
    assert reader.list("x") == {}
    writer.put("x/1", b"1")
    assert reader.list("x") == {"x/1": 1}
    writer.put("x/1", b"22")
    writer.put("x/2", b"2")
    assert reader.list("x") == {"x/1": 2, "x/2": 1}
    writer.delete(["x/1"])
    assert reader.list("x") == {"x/2": 1}
    assert not reader.exists("x/1")


def test_list_of_more_than_one_page(reach: Reach, juicefs: S3Server) -> None:
    url = reach(juicefs)
    client = juicefs.client()
    prefix = url.removeprefix(f"s3://{juicefs.bucket}/")
    with ThreadPoolExecutor(8) as pool:
        put = partial(client.put_object, Bucket=juicefs.bucket, Body=b"")
        list(pool.map(lambda number: put(Key=f"{prefix}/{number:04}"), range(1005)))
    assert len(Store(url).list()) == 1005


def test_delete_many_and_absent(store: Store) -> None:
    paths = [f"part-{number}" for number in range(20)]
    for path in paths:
        store.put(path, b"1")
    store.delete([*paths[1:], "never/there"])
    assert list(store.list()) == ["part-0"]


def test_create_only_where_absent(store: Store) -> None:
    assert store.create("run.json", b"first") is True
    assert store.create("run.json", b"second") is False
    assert store.get("run.json") == b"first"
    assert list(store.list()) == ["run.json"]


@pytest.mark.parametrize("kind", ["local", "moto"])
def test_one_winner_of_many_creates(kind: str, tmp_path: Path, reach: Reach, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path) if kind == "local" else reach(request.getfixturevalue(kind))
    stores = [Store(url) for _ in range(8)]
    for race in range(5):
        start = threading.Barrier(len(stores))

        def claim(number: int, race: int = race, start: threading.Barrier = start) -> bool:
            stores[number].exists("warm up")
            start.wait()
            return stores[number].create(f"commit-{race}", str(number).encode())

        with ThreadPoolExecutor(len(stores)) as pool:
            won = list(pool.map(claim, range(len(stores))))
        assert won.count(True) == 1
        assert stores[0].get(f"commit-{race}") == str(won.index(True)).encode()


def test_create_where_the_condition_is_ignored_keeps_one_whole_object(reach: Reach, juicefs: S3Server) -> None:
    url = reach(juicefs)
    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(lambda number: Store(url).create("commit", bytes([number]) * 1000), range(6)))
    found = Store(url).get("commit")
    assert won[found[0]] and found == found[:1] * 1000


def test_create_knows_its_own_object_after_a_lost_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object was written, the answer did not arrive: the next try finds it there, and it is ours."""
    real = os.link

    def link_then_fail(*args: object, **kwargs: object) -> None:
        monkeypatch.setattr(os, "link", real)
        real(*args, **kwargs)
        raise ConnectionResetError

    monkeypatch.setattr(os, "link", link_then_fail)
    assert Store(str(tmp_path)).create("commit", b"mine") is True
    assert Store(str(tmp_path)).create("commit", b"mine") is False


def test_create_on_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    store = Store(str(tmp_path))
    assert store.create("commit", b"1") is True
    assert store.create("commit", b"2") is False
    assert store.get("commit") == b"1"
    assert names(tmp_path) == ["commit"]


def test_a_failed_put_leaves_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    """The disk refuses bytes beyond 1 MB, in the middle of the write."""
    store = Store(str(tmp_path))
    store.put("table.parquet", b"good")
    process = multiprocessing.get_context("fork").Process(target=_put_beyond_limit, args=(store,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert store.get("table.parquet") == b"good"
    assert names(tmp_path) == ["table.parquet"]


def _put_beyond_limit(store: Store) -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    for write in (store.put, store.create):
        with pytest.raises(StoreError):
            write("table.parquet" if write == store.put else "new", b"x" * 2**21)


def test_a_reader_never_sees_a_part(store: Store) -> None:
    sizes = [200_000, 300_000]
    store.put("big", b"a" * sizes[0])
    done = threading.Event()
    seen: set[tuple[int, int]] = set()

    def read() -> None:
        reader = pickle.loads(pickle.dumps(store))
        while not done.is_set():
            data = reader.get("big")
            seen.add((len(data), len(set(data))))

    thread = threading.Thread(target=read)
    thread.start()
    for turn in range(10):
        store.put("big", (b"a", b"b")[turn % 2] * sizes[turn % 2])
    done.set()
    thread.join()
    assert seen <= {(sizes[0], 1), (sizes[1], 1)}


def test_a_large_object_is_one_put(reach: Reach, moto: S3Server) -> None:
    """Above 100 MB s3fs would send parts, and the ETag would end in the number of parts."""
    url = reach(moto)
    Store(url).put("large", bytes(110 * 2**20))
    key = f"{url.removeprefix(f's3://{moto.bucket}/')}/large"
    assert "-" not in moto.client().head_object(Bucket=moto.bucket, Key=key)["ETag"]
    moto.client().delete_object(Bucket=moto.bucket, Key=key)


def test_temporary_files_are_not_listed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("commits/a.json", b"1")
    (tmp_path / "commits" / f".{'0123456789abcdef' * 2}.tmp").write_bytes(b"left by a killed process")
    assert list(store.list()) == ["commits/a.json"]


def test_files_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        Store(str(tmp_path)).put("a", b"1")
        Store(str(tmp_path)).create("b", b"1")
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "ab"} == {0o644}


def test_check_leaves_nothing(store: Store) -> None:
    store.check()
    assert store.list() == {}
    assert store._folder().list("") == {}


def test_pickle_has_no_connection_and_works(store: Store) -> None:
    store.put("a", b"1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy._opened == {}
    assert (copy.url, copy.options, copy.get("a")) == (store.url, store.options, b"1")


def test_a_store_works_after_a_fork_on_both_sides(place: str) -> None:
    """Several times, for what goes wrong does so by chance: a child that closes the parent's connections."""
    for turn in range(4):
        store = Store(f"{place}/{turn}")
        store.put("a", b"1")
        process = multiprocessing.get_context("fork").Process(target=_put_in_child, args=(store,))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        start = time.monotonic()
        assert store.get("child") == b"1"
        assert time.monotonic() - start < 10  # no timeout had to pass first


def _put_in_child(store: Store) -> None:
    store.put("child", store.get("a"))


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(Store("runs/one"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = pickle.loads(pickled)
    store.put("a", b"1")
    assert store.url == "runs/one"
    assert (tmp_path / "runs/one/a").read_bytes() == b"1"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Store("~/run").put("a", b"1")
    Store(f"file://{tmp_path}/run").put("b", b"1")
    assert names(tmp_path / "run") == ["a", "b"]


def test_any_fsspec_filesystem() -> None:
    store = Store("memory://somewhere/run")
    store.check()
    assert store.create("a/b", b"1") and not store.create("a/b", b"2")
    assert store.list() == {"a/b": 1}
    store.delete(["a/b", "c"])
    assert store.list("a") == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "a/../../b"])
def test_paths_stay_inside(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        Store(str(tmp_path)).put(path, b"")


def test_parquet_is_read_by_duckdb(store: Store) -> None:
    assert store.parquet("tables/samples") is None
    for number in range(3):
        store.put(f"tables/samples/part-{number:05d}.parquet", parquet_bytes(pa.table({"n": [number, 10 * number]})))
    store.put("tables/samples/notes.txt", b"not a table")
    store.put("tables/samples/old/part-00009.parquet", parquet_bytes(pa.table({"n": [999]})))
    samples = store.parquet("tables/samples")
    assert samples is not None
    assert duckdb.sql("SELECT sum(n), count(*) FROM samples WHERE n > 0").fetchall() == [(33, 4)]
    assert samples.count_rows() == 6


# Failures, in one sentence, in bounded time, without secrets.


def sentence(call: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("Cannot use ") and text.endswith(".") and "\n" not in text
    assert SECRET not in text and KEY not in text
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return text


OPERATIONS: dict[str, Callable[[Store], object]] = {
    "check": lambda store: store.check(),
    "put": lambda store: store.put("a", b"1"),
    "create": lambda store: store.create("a", b"1"),
    "get": lambda store: store.get("a"),
    "list": lambda store: store.list(),
    "exists": lambda store: store.exists("a"),
    "parquet": lambda store: store.parquet("a"),
}


@pytest.mark.parametrize("server", ["moto", "juicefs"])
def test_missing_bucket(server: str, reach: Reach, request: pytest.FixtureRequest) -> None:
    reach(request.getfixturevalue(server))
    store = Store("s3://no-such-bucket/run")
    assert {sentence(partial(operation, store)) for operation in OPERATIONS.values()} == {
        "Cannot use s3://no-such-bucket/run: the bucket does not exist: create it, or correct its name."
    }


def test_invalid_bucket_name(reach: Reach, moto: S3Server) -> None:
    reach(moto)
    assert "not valid" in sentence(lambda: Store("s3://Not A Bucket!/run").put("a", b"1"))


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_key(variable: str, reach: Reach, juicefs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(reach(juicefs))
    monkeypatch.setenv(variable, "wrong-one")
    said = {name: sentence(partial(operation, store)) for name, operation in OPERATIONS.items()}
    for name, text in said.items():
        # HEAD has no body, and so no reason.
        assert ("forbidden" if name == "exists" else f"check {variable}") in text
        assert "wrong-one" not in text


def test_no_credentials(reach: Reach, juicefs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = reach(juicefs)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in sentence(Store(url).check)


def test_options_reach_the_filesystem(reach: Reach, juicefs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = reach(juicefs)
    for name in juicefs.env:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = Store(url, {"key": KEY, "secret": SECRET, "endpoint_url": juicefs.endpoint})
    store.check()
    assert SECRET not in repr(store)


def test_a_server_that_refuses(reach: Reach) -> None:
    port = free_port()
    url = reach(S3Server("dead", f"http://127.0.0.1:{port}"))
    start = time.monotonic()
    text = sentence(Store(url).check)
    assert time.monotonic() - start < 15
    assert f"the storage at http://127.0.0.1:{port} cannot be reached" in text
    assert "AWS_ENDPOINT_URL" in text


@pytest.mark.parametrize("operation", ["put", "put a lot", "list", "exists"])
def test_a_server_that_never_answers(operation: str, reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    """With smaller limits and the same arithmetic: the real ones stay under a minute."""
    assert urls.REQUEST_ATTEMPTS * urls.READ_TIMEOUT_S + storage_errors.RETRY_WINDOW_S < 45
    assert remote_folder.PUT_TIMEOUT_S + storage_errors.RETRY_WINDOW_S < 45
    monkeypatch.setattr(urls, "READ_TIMEOUT_S", 1.5)
    monkeypatch.setattr(remote_folder, "PUT_TIMEOUT_S", 2.0)
    monkeypatch.setattr(remote_folder, "SLOWEST_UPLOAD", 100 * 2**20)
    monkeypatch.setattr(storage_errors, "RETRY_WINDOW_S", 1.0)
    call = {**OPERATIONS, "put a lot": lambda store: store.put("a", bytes(50 * 2**20))}[operation]
    with hanging_server() as server:
        url = reach(server)
        start = time.monotonic()
        text = sentence(lambda: call(Store(url)))
        assert time.monotonic() - start < 8
    assert "does not answer in time: check its address (AWS_ENDPOINT_URL)" in text


class _Flaky(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of `statuses`, then with 200."""

    protocol_version = "HTTP/1.1"
    statuses: list[int]
    asked = 0

    def do_PUT(self) -> None:
        cls = type(self)
        cls.asked += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = cls.statuses.pop(0) if cls.statuses else 200
        if status == 0:  # a reset
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def flaky(reach: Reach) -> Callable[[list[int]], tuple[Store, type[_Flaky]]]:
    servers = []

    def start(statuses: list[int]) -> tuple[Store, type[_Flaky]]:
        handler = type("Handler", (_Flaky,), {"statuses": list(statuses)})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Store(reach(S3Server("flaky", f"http://127.0.0.1:{server.server_port}"))), handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("statuses", [[503], [500, 500, 500], [0, 0, 503]])
def test_what_may_pass_is_tried_again(
    statuses: list[int], flaky: Callable[[list[int]], tuple[Store, type[_Flaky]]]
) -> None:
    store, handler = flaky(statuses)
    store.put("a", b"1")
    assert handler.asked == len(statuses) + 1


def test_a_server_out_of_order_is_given_up(
    flaky: Callable[[list[int]], tuple[Store, type[_Flaky]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_errors, "ATTEMPTS", 2)
    store, handler = flaky([503] * 100)
    assert "overloaded or out of order (503)" in sentence(lambda: store.put("a", b"1"))
    assert handler.asked == 2 * urls.REQUEST_ATTEMPTS


@pytest.mark.parametrize("status", [403, 404, 400])
def test_what_will_not_pass_is_asked_once(
    status: int, flaky: Callable[[list[int]], tuple[Store, type[_Flaky]]]
) -> None:
    store, handler = flaky([status] * 100)
    sentence(lambda: store.put("a", b"1"))
    assert handler.asked == 1


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for location in (tmp_path / "file", tmp_path / "file" / "run"):
        assert "a file stands where a folder is needed" in sentence(Store(str(location)).check)
    assert "a file stands where a folder is needed" in sentence(Store(str(tmp_path / "file")).list)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EIO, "the storage failed with EIO"),
    ],
)
def test_what_a_disk_says(number: int, reason: str) -> None:
    error = OSError(number, os.strerror(number), "/secret/place")
    assert explain(error, "run").startswith(f"Cannot use run: {reason}")
    assert "/secret" not in explain(error, "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk() -> None:
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert explain(caught.value, "run") == "Cannot use run: the disk is full: free some space."


def test_unknown_and_missing_drivers() -> None:
    assert "no kind of storage called nonsense://" in sentence(Store("nonsense://bucket/run").check)
    assert "install gcsfs" in sentence(Store("gs://bucket/run").check)


def test_a_key_in_the_url_is_refused_without_showing_it() -> None:
    with fails_with("storage.credentials") as caught:
        Store(f"s3://{KEY}:{SECRET}@bucket/run").check()
    assert SECRET not in str(caught.value) and KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("runs/one", "runs/one"),
        ("~/a?b#c@d", "~/a?b#c@d"),
        ("s3://bucket/run", "s3://bucket/run"),
        ("s3://key:secret@bucket/run?token=x", "s3://bucket/run"),
        ("s3://key:sec/ret@bucket/run", "s3://bucket/run"),
        ("s3://bucket/me@home#1.png", "s3://bucket/me@home#1.png"),
        ("sftp://me:p@ss@host:22/a@b", "sftp://host:22/a@b"),
        ("http://host:8080/a@b.png", "http://host:8080/a@b.png"),
        ("https://host/a.png?X-Amz-Signature=abc#part", "https://host/a.png"),
        ("zip://a.png::s3://k:s@bucket/x.zip?v=1", "zip://a.png::s3://bucket/x.zip"),
    ],
)
def test_public_url(url: str, public: str) -> None:
    assert public_url(url) == public
    assert Store(url).url == public


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("gallery/index.html", "text/html"),
        ("gallery/rows-1.js", "text/javascript"),
        ("thumbs/a.webp", "image/webp"),
        ("a.safetensors", "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("name", ["moto", "juicefs"])
def test_a_bucket_serves_an_object_as_what_it_is(request, reach, name, path, kind):
    server = request.getfixturevalue(name)
    url = reach(server)
    Store(url).put(path, b"data")
    key = f"{url.removeprefix(f's3://{server.bucket}/')}/{path}"
    served = server.client().head_object(Bucket=server.bucket, Key=key)["ContentType"]
    assert served.partition(";")[0] == kind, "juicefs adds a charset"
