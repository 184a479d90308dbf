"""Findings of the doctor on sound storage, faulty storage and missing permissions."""

import json
import os
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from pgcn_jobs.storage import errors as storage_errors
from pgcn_jobs.storage.doctor import examine
from pgcn_jobs.storage.store import Store
from tests.sentences import fails_with
from tests.servers import KEY, SECRET, S3Server, free_port

HEALTHY = ["place", "list", "write", "read", "overwrite", "conditional put", "large put", "clock", "delete", "listing"]


def findings(url):
    return {finding.subject: finding for finding in examine(url)}


def keys(server):
    found = server.client().list_objects_v2(Bucket=server.bucket)
    return {item["Key"] for item in found.get("Contents", [])}


def test_a_storage_is_told_as_it_is_and_left_as_it_was(place, request):
    server = None if "://" not in place else request.getfixturevalue(request.node.callspec.params["place"])
    before = keys(server) if server else None
    found = findings(place)
    assert list(found) == HEALTHY
    assert all(finding.usable for finding in found.values()), found
    said = {"moto": "honoured", None: "honoured", "juicefs": "ignored"}[server.name if server else None]
    assert said in found["conditional put"].result
    assert "12 MiB intact" in found["large put"].result
    assert "within 1 s" in found["clock"].result
    assert "up to date at once" in found["listing"].result
    everything = "\n".join(f"{f.result} {f.consequence}" for f in found.values())
    assert KEY not in everything
    assert SECRET not in everything
    if server is None:
        assert not Path(place).exists(), "nor the folder that the doctor made"
    else:
        assert server.endpoint in found["place"].result
        assert "AWS_ACCESS_KEY_ID" in found["place"].result
        assert keys(server) == before
        assert not server.client().list_multipart_uploads(Bucket=server.bucket).get("Uploads")


def test_what_is_in_the_folder_stays(tmp_path):
    Store(str(tmp_path)).put("attempts/a", b"1")
    assert all(finding.usable for finding in examine(str(tmp_path)))
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["attempts", "attempts/a"]


def stale_list(self, prefix=""):
    """A listing that shows what was there at the last one."""
    now, self.seen = getattr(self, "seen", {}), real["list"](self, prefix)
    return now


def stale_get(self, path):
    """The object as it was when it was first read."""
    self.first = getattr(self, "first", {})
    return self.first.setdefault(path, real["get"](self, path))


def shortened_get(self, path):
    data = real["get"](self, path)
    return data[:-1] if len(data) > 2**20 else data


def late_clock(self, path):
    return real["modified"](self, path) + timedelta(hours=2)


def other_get(self, path):
    return b"other"


real = {name: getattr(Store, name) for name in ("list", "get", "modified")}


@pytest.mark.parametrize(
    ("method", "broken", "subject", "words", "usable"),
    [
        ("list", stale_list, "listing", "out of date after a delete and a write", True),
        ("get", stale_get, "overwrite", "the earlier object was read", True),
        ("get", shortened_get, "large put", "damaged", False),
        ("get", other_get, "read", "bytes differ", False),
        ("modified", late_clock, "clock", "7200 s ahead", True),
        ("modified", lambda self, path: None, "clock", "unknown", True),
    ],
)
def test_a_storage_that_does_otherwise_is_named(tmp_path, monkeypatch, method, broken, subject, words, usable):
    monkeypatch.setattr(Store, method, broken)
    finding = findings(str(tmp_path / "run"))[subject]
    assert words in finding.result
    assert finding.usable == usable
    assert finding.consequence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("denied", "unusable"),
    [
        ("s3:PutObject", {"write", "delete"}),
        ("s3:GetObject", {"read"}),
        ("s3:DeleteObject", {"delete"}),
    ],
)
def test_rights_are_told_apart_in_a_bucket(moto, reach, denied, unusable):
    reach(moto)
    bucket = f"denies-{denied[3:].lower()}"
    client = moto.client()
    client.create_bucket(Bucket=bucket)
    statement = {"Effect": "Deny", "Principal": "*", "Action": denied, "Resource": f"arn:aws:s3:::{bucket}/*"}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    found = findings(f"s3://{bucket}/run")
    assert {subject for subject, finding in found.items() if not finding.usable} == unusable
    assert "forbidden" in found["write" if denied == "s3:PutObject" else min(unusable)].result
    left = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    assert bool(left) == (denied == "s3:DeleteObject")
    if left:
        assert left[0]["Key"].split("/")[1] in found["delete"].consequence, "what could not be removed is said"


def test_a_read_only_folder_is_named():
    """As a user without rights: root may write everywhere."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o555)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)
        try:
            found = findings(f"{folder}/run")
        finally:
            os.seteuid(before)
    assert {subject: finding.usable for subject, finding in found.items()} == {
        "place": True, "list": True, "write": False, "read": True, "delete": False,
    }  # fmt: skip
    assert "permission denied" in found["write"].result


def test_nobody_there_is_asked_twice_and_no_more(reach, monkeypatch):
    monkeypatch.setattr(storage_errors, "ATTEMPTS", 1)
    reach(S3Server("dead", f"http://127.0.0.1:{free_port()}"))
    found = findings("s3://bucket/run")
    assert list(found) == ["place", "list", "write"]
    assert "cannot be reached" in found["list"].result


def test_urls_that_cannot_be(monkeypatch):
    with fails_with("storage.unsupported"):
        findings("http://127.0.0.1/run")
    with fails_with("storage.unsupported"):
        findings("nonsense://bucket/run")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    with fails_with("storage.address"):
        findings("s3://bucket/run")
