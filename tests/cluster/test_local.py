"""Runs without Ray: `pgcn run --local`, `pgcn_cluster.api.run`, and the pool of this machine."""

import json
import shutil
import signal
import threading
from pathlib import Path

import psutil
import pytest
import torch
from rich.console import Console

from pgcn_cluster import api
from pgcn_cluster.exit import Exit
from pgcn_cluster.scheduler.local_machine import LocalMachine
from pgcn_cluster.scheduler.local_pool import Room
from pgcn_cluster.scheduler.local_worker import kernel_oom_kills
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.tables.query import query
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder.commit import committed, read_failures
from pgcn_jobs.storage.store import Store
from tests.cluster.running import TINY, ask, at_start, checkpoints, options, pgcn, start, wait_for, write_photographs

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"
# Short steps: a long training of long ones may diverge, and a job that is tried again begins anew.
LONG = {"iterations": 300, "langevin_steps": 10, "langevin_steps_init": 10, "step_size": 0.1}
QUIET = Console(quiet=True)

TINY_CALL = {
    "preset": "draft", "settings": TINY, "device": "cpu", "samples": 1, "size": ("1x1",), "console": QUIET,
}  # fmt: skip


def weights(run):
    """Digests of all weights, by job and file."""
    found = {}
    for path in (run / "commits").glob("*.json"):
        commit = json.loads(path.read_text())
        for artifact in commit["artifacts"]:
            if artifact["path"].endswith(".safetensors"):
                found[path.stem, artifact["path"].rsplit("/", 1)[-1]] = artifact["sha256"]
    return found


def resumes(run):
    """Number of jobs continued from checkpoints."""
    return query(Store(str(run)), "SELECT sum(resumes) AS n FROM results").to_pylist()[0]["n"]


def test_a_run_needs_no_ray_at_all(tmp_path):
    """In a process where `import ray` raises: two workers, each a process, and tables and gallery."""
    images = write_photographs(tmp_path / "images", 2)
    without_ray = at_start(tmp_path / "plant", "sys.modules['ray'] = None", "pgcn", "forkserver")
    command = ["run", images, "--out", tmp_path / "run", *options(), "--workers", "2", "--local"]
    code, output = pgcn(*command, env=without_ray)
    assert code == 0, output
    assert "All 2 done." in output
    assert pgcn(*command[:-3], "--retry", "--seed", "1", env=without_ray)[0] == 1, "`import ray` raises here"
    assert (tmp_path / "run" / "gallery" / "index.html").exists()


def test_a_local_run_and_a_run_on_ray_are_one(there, tmp_path):
    """Each finds the jobs of the other done; the pyramids are equal to the bit."""
    images = write_photographs(tmp_path / "images", 2)
    assert ask("run", images, "--out", tmp_path / "a", *options(), "--local", "--workers", "1")[0] == 0
    code, output = there(images, "--out", tmp_path / "a", *options())
    assert code == 0, output
    assert "nothing left to train, 2 done before" in output
    code, output = there(images, "--out", tmp_path / "b", *options())
    assert code == 0, output
    code, output = ask("run", images, "--out", tmp_path / "b", *options(), "--local")
    assert code == 0, output
    assert "nothing left to train, 2 done before" in output
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def interrupted(run, *command):
    """Begin a run of one image, and send SIGTERM once it has a checkpoint."""
    process = start(*command, "--checkpoint-seconds", "0.2")
    wait_for(lambda: checkpoints(run), process=process)
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "The same command goes on" in output
    assert not committed(Store(str(run)))
    assert not read_failures(Store(str(run))), "an interruption is nobody's failure"


@pytest.mark.parametrize(
    "first", ["ray", *(pytest.param(name, marks=pytest.mark.soak) for name in ("local", "local, in this process"))]
)
def test_a_checkpoint_of_one_is_gone_on_from_by_the_other(ray_address, tmp_path, first):
    images = write_photographs(tmp_path / "images", 1)
    command = ["run", images, "--out", tmp_path / "run", *options(**LONG)]
    ways = {
        "local": ["--local", "--workers", "2"],
        "local, in this process": ["--local", "--workers", "1"],
        "ray": ["--ray-address", ray_address],
    }
    interrupted(tmp_path / "run", *command, *ways[first])
    code, output = ask(*command, *(ways["local, in this process"] if first == "ray" else ways["ray"]))
    assert code == 0, output
    assert resumes(tmp_path / "run") == 1


def test_a_call_from_another_thread_runs_and_leaves_the_process_as_it_was(tmp_path):
    """As in a notebook: no handlers of signals there, and torch keeps its threads."""
    images = write_photographs(tmp_path / "images", 1)
    before, handlers = torch.get_num_threads(), [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    ended = []
    thread = threading.Thread(target=lambda: ended.append(api.run(images, tmp_path / "run", **TINY_CALL)))
    torch.set_num_threads(2)
    try:
        thread.start()
        thread.join(120)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    (result,) = ended
    assert (result.code, result.ok, len(result.results())) == (Exit.DONE, True, 1)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert result.results()[0]["scales"] == 2


def test_a_child_that_is_killed_costs_an_attempt_and_one_that_is_stopped_is_killed(tmp_path):
    images = write_photographs(tmp_path / "images", 2)
    run = tmp_path / "run"
    command = ["run", images, "--out", run, *options(**LONG), "--checkpoint-seconds", "0.2", "--local"]
    process = start(*command, "--workers", "2", "--silence-timeout", "8")

    def under_way():
        return len(checkpoints(run)) == 2 and children(process.pid)

    first, second = wait_for(under_way, process=process)
    first.kill()
    second.suspend()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    found = sorted(str(f.failure) for those in read_failures(Store(str(run))).values() for f in those)
    assert found == ["TIMEOUT", "WORKER_LOST"]
    assert resumes(run) == 2
    assert not second.is_running() or second.status() == psutil.STATUS_ZOMBIE


def children(pid):
    """The two workers of a command: children of its fork server that hold torch, None before both are there."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        command = " ".join(child.cmdline())
        if "forkserver" in command and child.ppid() != pid:
            found.append(child)
    return found if len(found) == 2 else None


def test_children_end_with_a_command_that_is_killed(tmp_path):
    images = write_photographs(tmp_path / "images", 2)
    process = start("run", images, "--out", tmp_path / "run", *options(**LONG), "--local", "--workers", "2")
    workers = wait_for(lambda: children(process.pid), process=process)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(workers, timeout=30)[1]


def start_error(message):
    raise RuntimeError(message)


def test_workers_that_cannot_start_stop_the_run_with_the_reason(tmp_path, monkeypatch):
    images = write_photographs(tmp_path / "images", 1)
    monkeypatch.setattr("pgcn_cluster.scheduler.local_machine.Worker", lambda *_: start_error("planted"))
    with (tmp_path / "said").open("w") as said:
        result = api.run(images, tmp_path / "run", **TINY_CALL | {"console": Console(file=said, width=200)})
    assert result.code is Exit.ABORTED
    assert "Workers cannot start: RuntimeError: planted" in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--local", "--ray-address", "10.0.0.1:6379"], "leave out --ray-address"),
        (["--workers", "2"], "--workers belongs to --local"),
        (["--local", "--cpus-per-job", "4096"], "--cpus-per-job 4096 is more than this machine has"),
    ],
)
def test_options_that_exclude_each_other_get_a_sentence(tmp_path, arguments, words):
    images = write_photographs(tmp_path / "images", 1)
    code, output = ask("run", images, "--out", tmp_path / "run", *options(), *arguments)
    assert code == 2, output
    assert words in output


def test_a_local_run_is_not_submitted(tmp_path):
    code, output = ask("submit", "--address", "http://127.0.0.1:1", "x.png", "--out", "run", "--local")
    assert code == 2
    assert "pgcn run --local" in output


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        (Resources(1), 4),
        (Resources(2), 3),
        (Resources(1, 0.5), 4),
        (Resources(1, 1.0), 2),
        (Resources(1, memory=5), 2),
        (Resources(1, memory=100), 1),
    ],
)
def test_a_machine_holds_as_many_workers_as_its_least_resource_allows(resources, count):
    room = Room(workers=4, cpus=6, gpus=2, memory=10)
    assert room.holds(resources) == count
    assert room.hold([resources] * count) or resources.gpus
    assert not room.hold([resources] * 7)


def test_more_cores_than_there_are_are_refused():
    with pytest.raises(ConfigError, match="--gpus-per-job 1 is more than this machine has"):
        machine = LocalMachine()
        machine._room = lambda: Room(1, 8, 0, 1)
        machine.check_room(Resources(1, 1.0))


def test_the_kernels_count_of_kills_is_a_number():
    assert kernel_oom_kills() >= 0


OLD = {"iterations": 400, "scales": 1, "max_size": 32, "precision": "float32"}


def old_options(iterations):
    pairs = [part for name, value in {**OLD, "iterations": iterations}.items() for part in ("--set", f"{name}={value}")]
    return ["--preset", "draft", *pairs, "--device", "cpu", "--local", "--workers", "1"]


def test_a_half_done_run_of_the_first_version_is_gone_on_with(tmp_path):
    """From its checkpoint; what it has committed stays."""
    run, images = tmp_path / "half_done", tmp_path / "half"
    shutil.copytree(FIXTURES / "half_done", run)
    images.mkdir()
    for name in ("one.png", "two.png"):
        shutil.copy(FIXTURES / "images" / name, images)
    before = {path.name: path.read_bytes() for path in (run / "commits").iterdir()}
    code, output = ask("run", images, "--out", run, "--samples", "1", *old_options(400))
    assert code == 0, output
    assert "1 to train, 1 done before" in output
    assert {name: (run / "commits" / name).read_bytes() for name in before} == before
    rows = query(Store(str(run)), "SELECT uri, resumes FROM results ORDER BY uri").to_pylist()
    assert [row["resumes"] for row in rows] == [0, 1]


def test_a_finished_run_of_the_first_version_has_nothing_left_to_do(tmp_path):
    run, images = tmp_path / "finished", tmp_path / "photos"
    shutil.copytree(FIXTURES / "finished", run)
    images.mkdir()
    for name in ("gravel.png", "launch.png"):
        shutil.copy(FIXTURES / "images" / name, images)
    (images / "broken.png").write_bytes(b"not a picture")
    task = ["--samples", "2", "--task", "superres", "--set", "factor=2"]
    code, output = ask("run", images, "--out", run, *task, *old_options(4))
    assert code == 3, output
    assert "nothing left to train, nothing left to make, 4 done before, 2 refused" in output
