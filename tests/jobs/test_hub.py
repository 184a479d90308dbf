"""Images on the Hugging Face hub (hf://): the real client, and a small server in the hub's place."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

from pgcn_jobs.common.failures import ConfigError, StoreError
from pgcn_jobs.inputs.discover import find_sources, read_source
from pgcn_jobs.storage.doctor import examine
from pgcn_jobs.storage.errors import with_retries
from pgcn_jobs.storage.store import Store
from pgcn_jobs.storage.urls import filesystem

FILES = {"animals/cat.png": b"a cat", "dog.jpg": b"a dog", "README.md": b"what this is"}
COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """The data set me/pictures."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        tree, file = "/api/datasets/me/pictures/tree/main", "/datasets/me/pictures/resolve/main/"
        if path == "/api/datasets/me/pictures":
            self._json({"id": "me/pictures", "sha": COMMIT, "siblings": []})
        elif path.startswith(tree):
            below = path.removeprefix(tree).strip("/")
            names = [name for name in FILES if name.startswith(f"{below}/" if below else "")]
            found = [{"type": "file", "oid": f"oid-{name}", "size": len(FILES[name]), "path": name} for name in names]
            self._json(found, 200 if found else 404, {"X-Error-Code": "EntryNotFound"})
        elif path.startswith(file) and (data := FILES.get(path.removeprefix(file))):
            self._answer(data, 200, {"X-Repo-Commit": COMMIT, "ETag": '"tag"'})
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        names = [name for name in FILES if f"paths={name.replace('/', '%2F')}" in body]
        self._json([{"type": "file", "oid": "1", "size": len(FILES[name]), "path": name} for name in names])

    def _json(self, value, status=200, headers=()):
        self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **dict(headers)})

    def _answer(self, data, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield server
        server.shutdown()


def test_images_of_a_data_set_on_the_hub_are_found_and_read(hub):
    found = find_sources(["hf://datasets/me/pictures"], setting_names=())
    assert [(source.image_id, source.version) for source in found] == [
        ("animals/cat.png", "oid-animals/cat.png"),
        ("dog.jpg", "oid-dog.jpg"),
    ]
    assert [read_source(source.location, source.uri) for source in found] == [b"a cat", b"a dog"]
    (one,) = find_sources(["hf://datasets/me/pictures/animals/*.png"], setting_names=())
    assert one.uri == "hf://datasets/me/pictures/animals/cat.png"


def test_a_place_on_the_hub_that_is_not_there_is_a_sentence(hub):
    with pytest.raises(ConfigError, match=r"hf://datasets/me/private .*HF_TOKEN"):
        find_sources(["hf://datasets/me/private"], setting_names=())


def test_a_hub_that_does_not_answer_is_a_sentence(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("pgcn_jobs.storage.errors.ATTEMPTS", 1)
    fs, path = filesystem("hf://datasets/me/pictures")
    with pytest.raises(StoreError, match=r"its server cannot be reached: check its address \(HF_ENDPOINT\)"):
        with_retries(lambda: fs.find(path), "hf://datasets/me/pictures")


def test_without_its_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "hf", raising=False)
    with pytest.raises(StoreError, match=r"pip install 'pgcn\[hf\]'"):
        find_sources(["hf://datasets/me/pictures"], setting_names=())


def test_a_run_is_kept_in_storage_buckets_of_the_hub_alone():
    """Each object in a repository would be a commit."""
    for refused in (Store("hf://datasets/me/pictures/run").check, lambda: next(examine("hf://me/model"))):
        with pytest.raises(StoreError, match="hf://buckets/OWNER/BUCKET"):
            refused()
    pytest.importorskip("huggingface_hub")
    place = next(examine("hf://buckets/me/bucket/run"))
    assert place.usable
    assert "HF_TOKEN" in place.result
