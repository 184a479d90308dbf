"""Files that the rows of an image list may name, by the location of the list."""

from __future__ import annotations

import pytest

from pgcn_jobs.inputs.discover import find_sources
from pgcn_jobs.inputs.lists.rules import forbidden
from pgcn_jobs.storage.store import Store

BUCKET, WEB, HERE = "s3://bucket/set", "https://images.example/set", "/data/set"

LOCAL = ["/etc/passwd", "~/x.png", "file:///etc/passwd", "FILE:///etc/passwd", "local:///etc/passwd", "file://a.png"]
NEVER = [
    "simplecache::file:///etc/passwd",
    "filecache::s3://bucket/a.png",
    "zip://a.png::s3://bucket/a.zip",
    "zip::file:///x.zip",
    "reference://a",
    "memory://a.png",
    "ftp://host/a.png",
    "sftp://host/a.png",
    "data://image/png;base64,AAAA",
    "blockcache://a",
    "github://a:b@c/d.png",
    "nonsense://a.png",
    "http://[::1]:80/a",
    "s3://KEY:SECRET@bucket/a.png",
]
ALWAYS = [
    "a.png",
    "./x/../a.png",
    "..a.png",
    "s3://other/a.png",
    "gs://b/a.png",
    "https://host/a.png?x=1",
    "http://h:8/a",
]
THIS_MACHINE = [
    *(
        "http://localhost/a",
        "http://127.0.0.1:8265/api",
        "http://u:p@localhost/a",
        "http://0.0.0.0/",
    ),
    *(
        "http://127.1/a",
        "http://2130706433/a",
        "http://0x7f000001/a",
        "http://x.localhost/a",
    ),
]


@pytest.mark.parametrize("folder", [BUCKET, WEB, HERE])
@pytest.mark.parametrize("allow_local", [False, True])
def test_some_rows_are_always_or_never_taken(folder, allow_local):
    assert [uri for uri in ALWAYS if forbidden(uri, folder, allow_local=allow_local)] == []
    assert [uri for uri in NEVER if not forbidden(uri, folder, allow_local=allow_local)] == []


@pytest.mark.parametrize("uri", [*LOCAL, *THIS_MACHINE])
def test_a_list_from_elsewhere_does_not_reach_this_machine_unless_allowed(uri):
    for folder in (BUCKET, WEB):
        assert "unless --allow-local" in (forbidden(uri, folder, allow_local=False) or "")
        assert forbidden(uri, folder, allow_local=True) is None
    assert forbidden(uri, HERE, allow_local=False) is None


def test_nothing_relative_leaves_the_lists_folder():
    for uri in ("../a.png", "x/../../a.png", "./../a.png"):
        for allowed in (False, True):
            assert "outside" in (forbidden(uri, BUCKET, allow_local=allowed) or "")
        assert forbidden(uri, HERE, allow_local=False) is None


def test_a_list_may_name_its_own_kind_of_storage_and_its_own_server():
    assert forbidden("memory://x/a.png", "memory://set", allow_local=False) is None
    assert forbidden("http://localhost:8000/a.png", "http://localhost:8000/set", allow_local=False) is None
    assert forbidden("http://localhost:8265/a.png", "http://localhost:8000/set", allow_local=False)


def test_forbidden_rows_are_refused_one_by_one(tmp_path):
    Store(str(tmp_path)).put("secret.png", b"a local file")
    rows = ["a.png", f"file://{tmp_path}/secret.png", f"{tmp_path}/secret.png", "simplecache::memory://set/a.png"]
    Store("memory://rules").put("set/a.png", b"in the bucket")
    Store("memory://rules").put("set/list.csv", "\n".join(["uri", *rows]).encode())

    def found(**how):
        sources = find_sources(["memory://rules/set/list.csv"], setting_names=(), **how)
        return {source.uri: source for source in sources}

    refused = {uri: source for uri, source in found().items() if source.problem}
    assert len(refused) == 3
    assert all(source.problem.startswith(f"{uri} cannot be read: a list ") for uri, source in refused.items())
    allowed = found(allow_local=True)
    assert [s.location for s in allowed.values() if not s.problem and s.location[0] == "/"] == [
        f"{tmp_path}/secret.png"
    ]
