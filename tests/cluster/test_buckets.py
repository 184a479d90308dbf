"""The main job with a bucket as input and as output, on real S3 servers; and what happens when they fail."""

import io
import time

import pytest
from PIL import Image

from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder.commit import committed
from pgcn_jobs.storage.store import Store
from tests.cluster.alone import run_alone
from tests.cluster.running import (
    ask,
    at_start,
    checkpoints,
    options,
    photograph,
    png_bytes,
    start,
    wait_for,
    write_photographs,
)
from tests.servers import SECRET, juicefs_server

LONG = {"iterations": 100, "langevin_steps": 10, "langevin_steps_init": 10, "step_size": 0.1}


@pytest.fixture
def images(moto, reach):
    """Four pictures in a bucket, one of them bad, below two prefixes."""
    url = reach(moto)
    store = Store(url)
    for index in range(3):
        store.put(f"a/photo-{index}.png", png_bytes(photograph(index)))
    store.put("b/empty.png", b"")
    return url


def test_a_bucket_of_images_in_and_a_bucket_of_results_out(moto, images):
    run = moto.url
    code, output = run_alone(images, "--out", run, *options())
    assert code == 3, output
    store = Store(run)
    assert len(committed(store)) == 3
    rows = query(store, "SELECT image_id, uri FROM results ORDER BY image_id").to_pylist()
    assert rows[0] == {"image_id": "a/photo-0.png", "uri": f"{images}/a/photo-0.png"}
    (picture,) = query(store, "SELECT image FROM samples WHERE kind = 'sample' LIMIT 1").to_pylist()
    assert Image.open(io.BytesIO(picture["image"]["bytes"])).size == (20, 16)
    assert b"photo-1" in store.get("gallery/index.html")
    code, output = ask("run", images, "--out", run, *options())
    assert code == 3
    assert "nothing left to train, 3 done before, 1 refused" in output
    code, output = ask("query", run, "SELECT count(*) AS n FROM results", "--format", "csv")
    assert (code, output.split()[-1]) == (0, "3")
    assert ask("status", run)[0] == 0
    secrets = [path for path in store.list() if SECRET.encode() in store.get(path)]
    assert not secrets


@pytest.mark.parametrize(
    ("environment", "url", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "planted-wrong-secret"}, None, ["key", "s3://"]),
        ({}, "s3://no-such-bucket-here/run", ["no-such-bucket-here", "bucket"]),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, None, ["cannot be reached", "s3://"]),
    ],
)
def test_storage_that_cannot_be_used_is_one_sentence(juicefs, reach, monkeypatch, tmp_path, environment, url, words):
    photograph(0).save(tmp_path / "photo.png")
    run = reach(juicefs)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    code, output = ask("run", tmp_path, "--out", url or run, *options())
    assert code == 2, output
    assert all(word in output for word in words), output
    assert "Traceback" not in output
    assert "planted-wrong-secret" not in output
    assert time.monotonic() - began < 100


def test_a_server_that_stops_answering_loses_nothing(reach, tmp_path):
    """Gone in the middle of a run, and back again with its disk: the same command finishes."""
    images = write_photographs(tmp_path / "images", 2)
    less = "import pgcn_jobs.storage.errors\npgcn_jobs.storage.errors.ATTEMPTS = 2\n"
    impatient = at_start(tmp_path / "plant", less, "/bin/pgcn", "default_worker")
    disk = tmp_path / "disk"
    disk.mkdir()
    with juicefs_server(disk) as server:
        run = server.url
        arguments = [images, "--out", run, *options(**LONG), "--checkpoint-seconds", "0.2"]
        process = start("run", *arguments, env=server.env | impatient)
        wait_for(lambda: len(keys(server, run, "checkpoints")) >= 2, process=process)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 4, output
    assert "Traceback" not in output
    assert "The same command goes on" in output
    with juicefs_server(disk) as server:
        assert len(keys(server, run, "checkpoints")) >= 2
        reach(server)
        code, output = run_alone(*arguments)
        assert code == 0, output
        assert len(keys(server, run, "commits")) == 2
        assert query(Store(run), "SELECT sum(resumes) AS n FROM results").to_pylist()[0]["n"] >= 1
        assert not checkpoints(run)


def keys(server, run, folder):
    """Objects of one folder of a run, asked of the server itself."""
    prefix = run.removeprefix(f"s3://{server.bucket}/")
    found = server.client().list_objects_v2(Bucket=server.bucket, Prefix=f"{prefix}/{folder}/")
    return [item["Key"] for item in found.get("Contents", [])]
