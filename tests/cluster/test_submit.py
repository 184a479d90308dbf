"""`pgcn submit` and `cancel`, whole: a real cluster behind its token, a real bucket, code in the image and by wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgcn_cluster.planning.options import make_request
from pgcn_cluster.submission.preflight import MachineReport, PreflightReport, Versions, judge
from pgcn_cluster.submission.submit import run_arguments, submission_id
from pgcn_cluster.submission.wheel import unpacked
from pgcn_cluster.tables.query import query
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder.commit import committed, read_failures
from pgcn_jobs.storage.store import Store
from tests.cluster.machines import ROOT, ray_cluster
from tests.cluster.running import ask, at_start, checkpoints, options, pgcn, photograph, png_bytes, start, wait_for
from tests.sentences import check_error
from tests.servers import SECRET

LONG = {"iterations": 200, "langevin_steps": 10, "langevin_steps_init": 10, "step_size": 0.1}
"""Some seconds an image."""


@pytest.fixture(scope="module")
def cluster(moto):
    with ray_cluster(moto, job_server=True) as running:
        running.add("one", cpus=2)
        yield running


@pytest.fixture
def images(moto, reach):
    """Two pictures and a bad one in a bucket; this process is a laptop that has the bucket, and nothing of Ray."""
    url = reach(moto)
    for index in range(2):
        Store(url).put(f"photo-{index}.png", png_bytes(photograph(index)))
    Store(url).put("empty.png", b"")
    return url


def submit(cluster, images, run, *more, **settings):
    arguments = ["submit", images, "--out", run, "--address", cluster.dashboard, *options(**settings), *more]
    return pgcn(*arguments, env=cluster.env)


def job_of(output):
    return re.search(r"job (pgcn-[\w-]+)", output)[1]


def sent(cluster):
    """Runs on the cluster's list of jobs, without the looks before them."""
    return {job["submission_id"] for job in cluster.jobs() if not job["submission_id"].startswith("pgcn-preflight-")}


def logs(cluster, job):
    return cluster.jobs(f"{job}/logs")["logs"]


@pytest.fixture
def checkout(tmp_path):
    """This code under another version: what says it, has come along."""
    folder = tmp_path / "checkout"
    for name in ("pgcn", "pgcn_jobs", "pgcn_cluster"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    project = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(re.sub(r'(?m)^version = "(.*)"', r'version = "\1+sent"', project))
    return folder


def test_a_run_sent_with_its_wheel_is_followed_to_its_end_and_read_from_its_bucket_alone(
    cluster, moto, images, checkout
):
    run = moto.url
    code, output = submit(cluster, images, run, "--follow", "--wheel", checkout)
    assert code == 3, output
    assert "1 machine with 0 GPUs checked" in output
    assert "The first image will be refused" in output, "empty.png is the first; that stops nothing"
    assert "2 done, 1 failed" in output
    (row,) = query(Store(run), "SELECT DISTINCT pgcn_version FROM results").to_pylist()
    assert row["pgcn_version"].endswith("+sent"), "workers ran the code that came along"

    assert json.loads(ask("status", run, "--json")[1])["state"] == "complete"
    assert "empty.png" in ask("failures", run)[1]
    assert ask("query", run, "SELECT count(*) AS n FROM results", "--format", "csv")[1].split()[-1] == "2"
    assert ask("gallery", run)[0] == 0
    assert SECRET not in json.dumps(cluster.jobs()) + logs(cluster, job_of(output))


class Ready:
    """A `pgcn` command that has started, with all it will import, and waits for its turn: its answer comes at once."""

    def __init__(self, folder, *arguments, env):
        self._turn = folder / "turn"
        wait = f"""
import os, pathlib, time
import pgcn_cluster.cli.app, pgcn_cluster.submission.cancel, pgcn_cluster.submission.submit
import ray.dashboard.modules.job.sdk
while not pathlib.Path({str(self._turn)!r}).exists():
    if os.getppid() != {os.getpid()}:
        os._exit(1)  # the tests have ended, or were ended, before this turn came
    time.sleep(0.02)
"""
        self._process = start(*arguments, env={**env, **at_start(folder, wait, "/bin/pgcn")})

    def ends(self):
        """Let it go on; its exit code and output."""
        self._turn.touch()
        output, _ = self._process.communicate(timeout=200)
        return self._process.returncode, output


@pytest.mark.soak
def test_a_cancelled_run_is_gone_on_with_also_by_hand(cluster, moto, images, tmp_path):
    run = moto.url
    arguments = [images, "--out", run, *options(**LONG), "--checkpoint-seconds", "0.5"]
    submitting = ["submit", *arguments, "--address", cluster.dashboard]
    cancelling = ["cancel", run, "--address", cluster.dashboard]
    code, output = pgcn(*submitting, env=cluster.env)
    assert code == 0, output
    job = job_of(output)
    again = Ready(tmp_path / "again", *submitting, env=cluster.env)
    cancel = Ready(tmp_path / "cancel", *cancelling, env=cluster.env)
    code, said = again.ends()
    assert code == 0, said
    assert f"active already, as job {job}" in said
    wait_for(lambda: len(checkpoints(run)) == 2, timeout=200)
    code, said = cancel.ends()
    assert code == 0, said
    assert job in said
    assert cluster.jobs(job)["status"] == "STOPPED"
    assert "handed back" in logs(cluster, job)
    assert "Interrupted" in logs(cluster, job), "it was not killed"
    assert not committed(Store(run))
    assert [str(f.failure) for found in read_failures(Store(run)).values() for f in found] == ["INPUT"]

    no_job = Ready(tmp_path / "no job", *cancelling, env=cluster.env)
    sent, executed = tmp_path / "sent", tmp_path / "executed"
    sent.mkdir()
    for name in ("torch", "typer", "pgcn_jobs", "safetensors"):
        (sent / f"{name}.py").write_text(f"open({str(executed)!r}, 'a').write(__file__)")
    ray = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--address", cluster.dashboard]
    by_hand = subprocess.run(
        [*ray, "--working-dir", str(sent), "--", "pgcn", "run", *arguments],
        env={**os.environ, **cluster.env},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert "2 done, 1 failed" in by_hand.stdout, by_hand.stdout + by_hand.stderr
    assert not executed.exists(), "neither the command nor a worker imports from the job's working folder"
    resumes = query(Store(run), "SELECT resumes FROM results").to_pylist()
    assert [row["resumes"] for row in resumes] == [1, 1]
    assert not checkpoints(run)
    assert no_job.ends()[0] == 2


def test_trouble_with_the_cluster_is_said_and_nothing_is_sent(cluster, moto, images, tmp_path):
    arguments = [*options(), "--address", cluster.dashboard]
    before = sent(cluster)
    token = tmp_path / "token"
    token.write_text("0" * 64)
    nowhere = start(
        "submit", images, "--out", "s3://no-such-bucket/run", *arguments, env=with_token_at_home(cluster, tmp_path)
    )
    wrong = start(
        "submit", images, "--out", moto.url, *arguments, env=cluster.env | {"RAY_AUTH_TOKEN_PATH": str(token)}
    )
    output, _ = nowhere.communicate(timeout=200)
    assert nowhere.returncode == 2, output
    assert "no-such-bucket" in output
    assert "Traceback" not in output
    output, _ = wrong.communicate(timeout=200)
    assert wrong.returncode == 2, output
    assert "requires its token" in output
    assert sent(cluster) == before


def with_token_at_home(cluster, folder):
    """Nothing said of tokens, and the cluster's where Ray itself leaves it: as after a plain `ray start --head`."""
    (folder / ".ray").mkdir()
    shutil.copy(cluster.env["RAY_AUTH_TOKEN_PATH"], folder / ".ray" / "auth_token")
    plain = {name: value for name, value in cluster.env.items() if not name.startswith("RAY_AUTH")}
    return {**plain, "HOME": str(folder)}


def request(images, out="s3://bucket/run", pairs=(), **given):
    return make_request(images, {"out": out, **given}, list(pairs))


def test_the_id_is_that_of_the_run_and_its_options():
    one = request(["s3://bucket/a b.png"], pairs=["iterations=5", "noise=langevin"], size=("1x1", "2x1"))
    same = request(["s3://bucket/a b.png"], pairs=["noise=langevin", "iterations=5"], size=("1x1", "2x1"))
    assert submission_id(one) == submission_id(same)
    other = request(["s3://bucket/a b.png"], pairs=["iterations=6"])
    assert submission_id(one) != submission_id(other)
    assert submission_id(one)[:16] == submission_id(other)[:16], "as `pgcn cancel` finds it"
    assert re.fullmatch(r"pgcn-[0-9a-f]{10}-[0-9a-f]{10}", submission_id(one))


def test_the_arguments_ask_for_the_same_request(tmp_path):
    from pgcn_cluster.cli.submit import run_parameters
    from pgcn_cluster.planning.options import request_of

    config = tmp_path / "config.yaml"
    config.write_text("iterations: 7\nretry: true\nsize: [1x1, 320x200]\ncheckpoint_seconds: 5\n")
    line = ["s3://bucket/it's;rm -rf.png", "--out", "s3://bucket/run", "--config", str(config), "--seed", "0"]
    asked = request_of(
        run_parameters([*line, "--set", "noise=langevin", "--job-timeout", "600", "--gpus-per-job", "0.25"])
    )
    arguments = run_arguments(asked)
    assert str(tmp_path) not in " ".join(arguments)
    again = request_of(run_parameters(arguments))
    assert again.overrides == {name: str(value) for name, value in asked.overrides.items()}
    assert (again.size, again.retry, again.seed, again.limits) == (asked.size, True, 0, asked.limits)
    assert (again.gpus_per_job, again.checkpoint_seconds, again.images) == (0.25, 5, asked.images)


OURS = Versions(python="3.11.7", ray="2.60.0", torch="2.13.0+cpu", pgcn="0.1.0")


@pytest.mark.parametrize(
    ("theirs", "problems", "notes"),
    [
        ({"python": "3.11.9", "ray": "2.60.1", "torch": "2.13.0+cu130"}, [], []),
        ({"python": "3.12.7"}, ["Python 3.12, and this machine 3.11"], []),
        ({"ray": "2.61.0"}, ["Ray 2.61, and this machine 2.60"], []),
        ({"pgcn": "0.2.0"}, ["pgcn 0.2.0, and this machine 0.1.0: install the same, or send yours with --wheel"], []),
        ({"torch": "2.14.0"}, [], ["torch 2.14.0, and this machine 2.13.0"]),
    ],
)
def test_versions_that_disagree_are_said(theirs, problems, notes):
    there = OURS.model_copy(update=theirs)
    machines = [
        MachineReport(host="a", versions=OURS),
        MachineReport(host="b", versions=there),
        MachineReport(host="c", versions=there),
    ]
    found = judge(PreflightReport(driver=OURS, machines=machines), OURS)
    for sentences, expected in zip(found, (problems, notes), strict=True):
        assert len(sentences) == len(expected), "once for all machines"
        assert all(words in sentence for words, sentence in zip(expected, sentences, strict=True))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["photos", "--out", "s3://bucket/run"], "submit.not_shared"),
        (["s3://bucket/photos", "--out", "runs/photos"], "submit.not_shared"),
        (["s3://key:planted-secret@bucket/photos", "--out", "s3://bucket/run"], "submit.secret"),
        (["https://example.org/a.png?sig=planted-secret", "--out", "s3://bucket/run"], "submit.secret"),
        (["s3://bucket/photos", "--out", "s3://bucket/planted-secret"], "submit.secret"),
        (["s3://bucket/photos", "--out", "s3://bucket/run"], "ray.unreachable"),
        (["s3://bucket/photos", "--out", "s3://bucket/run", "--set", "iteration=4", "--dry-run"], "option.value"),
        (["s3://bucket/photos", "--out", "s3://bucket/run", "--ray-address", "a:1"], "option.value"),
        (["s3://bucket/photos", "--out", "s3://bucket/run", "--no-such-option", "1"], "usage"),
        (["s3://bucket/photos"], "option.missing"),
    ],
)
def test_mistakes_get_a_sentence_and_exit_2(monkeypatch, arguments, error):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    code, output = ask("submit", *arguments, "--address", "http://127.0.0.1:9")
    assert code == 2, output
    check_error(output, error)
    assert "planted-secret" not in output


def test_an_address_that_is_none_is_said():
    code, output = ask("cancel", "s3://bucket/run", "--address", "ray://127.0.0.1:9")
    assert code == 2
    assert "as http://HOST:8265" in output


def test_what_is_no_wheel_of_pgcn_is_said(tmp_path):
    (tmp_path / "text.whl").write_text("this is not a wheel")
    (tmp_path / "empty").mkdir()
    for source, words in (
        (tmp_path / "text.whl", "neither a wheel"),
        (tmp_path / "empty", "A wheel could not be built"),
    ):
        with pytest.raises(ConfigError, match=words), unpacked(source):
            pass
