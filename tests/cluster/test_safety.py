"""A whole run over hostile inputs, on a real S3 server: no secret anywhere, no harm, no image's loss but its own."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from pgcn_cluster.import_path import JOB_CONFIG, leave_out_current_folder, worker_environment
from pgcn_cluster.monitor.display import LogLines, Screen
from pgcn_cluster.monitor.snapshot import Lane, Snapshot
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.inputs.discover import find_sources
from pgcn_jobs.run_folder.commit import committed, read_failures
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.storage.outputs import file_stem
from pgcn_jobs.storage.store import Store
from tests.cluster.fake_run import HOSTILE
from tests.cluster.machines import ROOT
from tests.cluster.running import ask, options, pgcn, photograph, png_bytes
from tests.jobs.test_pixels import bomb
from tests.servers import KEY, SECRET, serving

PASSWORD, SIGNATURE = "planted-password-1", "planted-signature-2"
NAME = "a/<b>[red]bold[/red] \u202egnp \x1b[31m.png"  # HTML, rich's markup, a direction mark, a terminal's escape

PLANTED = ("pgcn_cluster", "pgcn_jobs", "pgcn", "torch", "safetensors")
"""Modules in the current folder of the run, which no process may import."""


class Pages(http.server.BaseHTTPRequestHandler):
    """One picture, for those who have the password; else forbidden."""

    def do_GET(self):
        good = self.path.startswith("/photo.png")
        self.send_response(200 if good else 403)
        self.end_headers()
        if good:
            self.wfile.write(png_bytes(photograph(3)))

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def web():
    with serving(Pages) as address:
        yield address


@pytest.fixture(scope="module")
def hostile(juicefs, web, tmp_path_factory):
    """A run over a list in a bucket, with all that is hostile in it, and two pages whose URLs have secrets."""
    patch = pytest.MonkeyPatch()
    for name, value in juicefs.env.items():
        patch.setenv(name, value)
    images, run = juicefs.url, juicefs.url
    here = tmp_path_factory.mktemp("here") / "local.png"
    photograph(4).save(here)
    store = Store(images)
    store.put(NAME, png_bytes(photograph(0)))
    store.put("a/cut.png", png_bytes(photograph(1))[:300])
    store.put("a/bomb.png", bomb(60_000, 60_000))
    rows = [
        (NAME.removeprefix("a/"), "</script><script>alert(1)</script>\u2066\x1b]0;owned\x07"),
        ("cut.png", "../../cut"),
        ("bomb.png", "x" * 1000),
        (f"file://{here}", "file"),
        (str(here), "absolute"),
        (f"simplecache::file://{here}", "chain"),
        (f"s3://{KEY}:{SECRET}@{juicefs.bucket}/a.png", "key"),
        ("http://169.254.169.254/latest/meta-data/", "metadata"),
        (f"http://user:{PASSWORD}@localhost:1/a.png?X-Amz-Signature={SIGNATURE}", "this machine"),
    ]
    store.put("a/list.csv", "\n".join(["uri,image_id", *(f'"{uri}","{name}"' for uri, name in rows)]).encode())
    pages = [f"http://user:{PASSWORD}@{web}/{page}?X-Amz-Signature={SIGNATURE}" for page in ("photo.png", "closed.png")]
    ray = tmp_path_factory.mktemp("ray", numbered=False)
    short = Path("/tmp") / f"pgcn-{os.getpid()}"  # Ray's sockets need a short path
    short.symlink_to(ray)
    env = {**juicefs.env, "RAY_TMPDIR": str(short)}
    for name in PLANTED:
        (here.parent / f"{name}.py").write_text("raise RuntimeError('this file was executed')\n")
    command = ["run", f"{images}/a/list.csv", *pages, "--out", run, *options()]
    code, output = pgcn(*command, env=env, cwd=here.parent)
    yield run, code, output, ray
    short.unlink()
    patch.undo()


def test_each_hostile_image_costs_only_itself(hostile):
    """And modules beside the images, in the current folder, are not imported by any process."""
    run, code, output, _ = hostile
    assert code == 3, output
    store = Store(run)
    assert len(committed(store)) == 2, output
    why = {entry.image_id: entry.problem for entry in read_manifest(store).values() if entry.problem}
    assert len(why) == 9
    for name, words in {
        "../../cut": "cut short or damaged",
        "x" * 1000: "more than 64,000,000 pixels",
        "file": "unless --allow-local",
        "absolute": "unless --allow-local",
        "chain": "may not name chains",
        "key": "its URL holds a key",
        "metadata": "metadata service",
        "this machine": "unless --allow-local",
        "closed.png": "HTTP 403",
    }.items():
        assert words in why[name]
    assert {f.failure for fs in read_failures(store).values() for f in fs} == {"INPUT"}


def test_no_secret_is_in_the_run_its_output_or_what_ray_keeps(hostile):
    run, _, output, ray = hostile
    secrets = [SECRET, PASSWORD, SIGNATURE]
    store = Store(run)
    kept = {path: unpacked(store.get(path)) for path in store.list()}
    assert len([path for path in kept if path.endswith(".parquet")]) > 8
    assert b"photo.png" in b"".join(kept.values()), "what is searched is not still packed"
    kept["output"] = output.encode()
    for path in Path(ray).rglob("*"):
        if path.is_file() and not path.is_symlink():
            kept[str(path)] = path.read_bytes()
    assert any("session" in name and "gcs_server" in name for name in kept), "Ray's own logs are searched, too"
    for command in (("status",), ("failures",), ("failures", "--json")):
        kept[" ".join(command)] = ask(command[0], run, *command[1:])[1].encode()
    found = {(name, secret) for name, data in kept.items() for secret in secrets if secret.encode() in data}
    assert not found


def unpacked(data: bytes) -> bytes:
    """An object's bytes; of Parquet, also every value of every column."""
    if not data.startswith(b"PAR1"):
        return data
    table = pq.read_table(pa.BufferReader(data))
    return data + repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()


def test_rays_record_of_the_job_has_no_secret(web, ray_address):
    """The output of `ray list jobs`, while the driver still runs."""
    code = (
        "import json, ray; from pgcn_cluster.ray_cluster.session import Cluster; c = Cluster(None); c.join()\n"
        "from ray._private.state import state\n"
        "print('JOBS', json.dumps([str(job) for job in state.job_table()])); c.leave()"
    )
    url = f"http://user:{PASSWORD}@{web}/photo.png?X-Amz-Signature={SIGNATURE}"
    env = {**os.environ, "RAY_ADDRESS": ray_address}
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=200, env=env)
    jobs = next(line for line in done.stdout.splitlines() if line.startswith("JOBS"))
    assert "photo.png" in jobs, "the command line is what Ray keeps"
    assert PASSWORD not in jobs and SIGNATURE not in jobs


def test_names_are_drawn_on_the_terminal(hostile, tmp_path):
    """Nothing of a name reaches the terminal as a command, a direction or markup; lines stay lines."""
    run, _, output, _ = hostile
    sql = "SELECT image_id AS \"x\x1b[31m\" FROM manifest WHERE image_id LIKE '%script%'"
    shown = [output, *(ask(*words)[1] for words in (("status", run), ("failures", run), ("query", run, sql)))]
    for text in shown:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text)
    assert "</script><script>alert(1)</script>\ufffd\ufffd]0;owned" in shown[3]
    assert "x\ufffd[31m" in shown[3]
    code, said = ask("sample", run, "</script>", "-n", "1", "--out", tmp_path / "out" / "here")
    assert code == 0, said
    (file,) = tmp_path.rglob("*.*")
    assert file.parent == tmp_path / "out" / "here"
    assert Image.open(file).size == (20, 16)


def test_progress_draws_names():
    for name in HOSTILE:
        lane = Lane(image_id=name, scale=0, scales=2, iteration=1, iterations=2, rate=1.0, done=0.5)
        snapshot = Snapshot(state="running", updated_at="", images=1, done=0, failed=0, waiting=0, lanes=(lane,))
        plain = io.StringIO()
        lines = LogLines(Console(file=plain, width=200), every_s=0.0)
        lines.line(f"training {name}")
        lines.show(snapshot)
        assert len(plain.getvalue().splitlines()) == 3
        assert f"training {terminal_safe(name)}\n" in plain.getvalue()
        live = io.StringIO()
        screen = Screen(Console(file=live, width=200, force_terminal=True, color_system=None))
        screen.line(f"training {name}")
        screen.show(snapshot)
        screen.close()
        assert not set(live.getvalue()) & set("\u202e\u2066\u200b")
        assert "\x1b[31m" not in live.getvalue()


@pytest.mark.parametrize("name", [*HOSTILE, "/etc/passwd", "..", ".", "", "/", "\0", "\udcff.png", "猫" * 400])
def test_a_name_gives_a_file_of_the_folder(name, tmp_path):
    stem = file_stem(name)
    assert re.fullmatch(r"[\w.-]*", stem) and not stem.startswith(".")
    file = tmp_path / f"{stem or 'job'}-320x200-from1-seed9007199254740992.png"
    file.write_bytes(b"")
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_whose_name_is_not_utf8_is_refused_alone(tmp_path):
    for name in (b"good.png", b"bad-\xff.png", b"bad-\xfe.png"):
        (Path(os.fsdecode(bytes(tmp_path) + b"/" + name))).write_bytes(png_bytes(photograph(0)))
    found = find_sources([str(tmp_path)], setting_names=())
    assert [source.problem is None for source in found] == [False, False, True]
    assert len({source.image_id.encode() for source in found}) == 3, "as UTF-8, and each its own"
    assert "rename it" in found[0].problem


@pytest.mark.parametrize("command", [["-c", "from pgcn_cluster.cli.app import main; main()"], ["-m", "pgcn_cluster"]])
def test_modules_in_the_current_folder_are_not_imported(tmp_path, command):
    """Ray puts the working folder of a submitted job into PYTHONPATH."""
    for name in ("torch", "typer", "pgcn_jobs"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('executed')")
    done = subprocess.run(
        [sys.executable, *command, "tasks"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "superres" in done.stdout


def test_workers_of_a_submitted_job_have_the_import_path_of_its_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:/code with spaces")
    assert worker_environment() == {}
    monkeypatch.setenv(JOB_CONFIG, json.dumps({"runtime_env": {"working_dir": "gcs://x.zip"}}))
    leave_out_current_folder()
    assert str(tmp_path) not in sys.path
    assert worker_environment() == {"py_executable": f"env PYTHONPATH='/code with spaces' {sys.executable}"}
    monkeypatch.setenv(JOB_CONFIG, json.dumps({"runtime_env": {"working_dir": "gcs://x.zip", "pip": ["x"]}}))
    assert worker_environment() == {}, "its own Python stays"
