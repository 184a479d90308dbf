"""The main job, whole: real processes, real Ray, real kills, a local folder."""

import json
import re
import signal
import time

import psutil
import pytest

from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder.commit import committed, read_commit, read_failures
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.storage.store import Store
from tests.cluster.alone import run_alone
from tests.cluster.running import (
    TINY,
    ask,
    at_start,
    checkpoints,
    options,
    pgcn,
    photograph,
    start,
    wait_for,
    workers,
    write_bad_pictures,
    write_photographs,
)
from tests.sentences import check_error

LONG = {"iterations": 125, "langevin_steps": 10, "langevin_steps_init": 10, "step_size": 0.1}
"""Long enough, some seconds an image, to be struck in the middle."""


def artifacts(run, suffix=".safetensors"):
    """Hashes of what commits name, by image and file."""
    store = Store(str(run))
    found = {}
    for entry in read_manifest(store).values():
        commit = read_commit(store, entry.job_id)
        for artifact in commit.artifacts:
            if artifact.path.endswith(suffix):
                found[entry.image_id, artifact.path.rsplit("/", 1)[-1]] = artifact.sha256
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of twelve pictures of which four are bad, and the run over it."""
    root = tmp_path_factory.mktemp("finished")
    images = write_photographs(root / "images" / "birds", 7)
    write_bad_pictures(images)
    (images / "photo-00-copy.png").write_bytes((images / "photo-00.png").read_bytes())
    code, output = pgcn("run", root / "images", "--out", root / "run", *options(), "--size", "2x1")
    return root / "images", root / "run", code, output


def test_good_images_are_done_and_bad_ones_have_their_reason(finished):
    _, run, code, output = finished
    assert code == 3, output
    store = Store(str(run))
    assert len(read_manifest(store)) == 12
    assert len(committed(store)) == 7, "eight good images, two of the same bytes"
    messages = {f.message for fs in read_failures(store).values() for f in fs}
    assert len(messages) == 4
    assert all(m.endswith(".") and "Traceback" not in m for m in messages)
    assert "Traceback" not in output
    assert "7 done, 4 failed" in output


def test_the_tables_say_the_same(finished):
    _, run, _, _ = finished
    store = Store(str(run))

    def rows_of(sql):
        return query(store, sql).to_pylist()

    assert rows_of("SELECT count(*) AS n FROM manifest") == [{"n": 12}]
    rows = rows_of("SELECT image_id, job_id, frechet_vgg22, copy, wall_s, settings FROM results ORDER BY image_id")
    assert [row["image_id"] for row in rows][:2] == ["birds/photo-00-copy.png", "birds/photo-00.png"]
    assert len(rows) == 8
    assert rows[0]["job_id"] == rows[1]["job_id"]
    assert all(row["frechet_vgg22"] > 0 and 0 <= row["copy"] <= 1 and row["wall_s"] > 0 for row in rows)
    assert json.loads(rows[0]["settings"])["max_size"] == TINY["max_size"]
    sizes = rows_of("SELECT size, width, height FROM samples WHERE kind = 'sample' AND image_id = 'birds/photo-01.png'")
    assert {(r["size"], r["width"], r["height"]) for r in sizes} == {("1x1", 20, 16), ("2x1", 40, 16)}
    assert rows_of("SELECT failure, count(*) AS n FROM failures GROUP BY ALL") == [{"failure": "INPUT", "n": 4}]
    curves = rows_of("SELECT DISTINCT name FROM metrics WHERE scale = 0")
    assert {"loss", "recovery_error", "energy_observed"} <= {row["name"] for row in curves}
    assert rows_of("SELECT count(*) AS n FROM attempts WHERE state = 'committed'") == [{"n": 7}]


def test_restart_points_are_gone_and_the_gallery_is_there(finished):
    _, run, _, _ = finished
    assert not checkpoints(run)
    assert not Store(str(run)).list("previews")
    page = (run / "gallery" / "index.html").read_text()
    assert "photo-03" in page


def test_the_same_command_again_does_nothing_and_starts_no_ray(finished):
    images, run, _, _ = finished
    before = {path: path.stat().st_mtime_ns for name in ("commits", "manifest") for path in (run / name).iterdir()}
    process = start("run", images, "--out", run, *options(), "--size", "2x1")
    seen = set()
    while process.poll() is None:
        try:
            seen |= {child.name() for child in psutil.Process(process.pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    output = process.stdout.read()
    assert process.wait() == 3, output
    assert "nothing left to train, 7 done before, 4 refused (--retry looks again)" in output
    assert not {name for name in seen if "ray" in name.lower() or "gcs" in name.lower()}
    assert before == {
        path: path.stat().st_mtime_ns for name in ("commits", "manifest") for path in (run / name).iterdir()
    }


def test_two_gathers_write_the_same_bytes(finished):
    _, run, _, _ = finished

    def contents():
        return {
            p.relative_to(run): p.read_bytes()
            for d in ("tables", "gallery")
            for p in (run / d).rglob("*")
            if p.is_file()
        }

    before = contents()
    for path in (run / "tables").rglob("*.parquet"):
        path.unlink()
    assert ask("gather", run)[0] == 0
    assert ask("gallery", run)[0] == 0
    assert contents() == before


def test_another_run_is_refused_with_the_difference(finished):
    images, run, _, _ = finished
    code, output = ask("run", images, "--out", run, *options(iterations=5), "--size", "2x1")
    assert code == 2
    assert "iterations: 4, not 5" in output
    assert "Traceback" not in output


def test_a_run_goes_on_by_its_own_settings_when_none_are_given(finished, tmp_path):
    images, run, _, _ = finished
    code, output = ask("run", images, "--out", run)
    assert code == 3, output
    assert "as this run was begun with" in output
    assert "nothing left to train" in output


def test_status_failures_and_query_on_the_command_line(finished):
    _, run, _, _ = finished
    code, output = ask("status", run, "--json")
    state = json.loads(output)
    assert (code, state["state"], state["images"], state["done"], state["failed"]) == (0, "complete", 12, 8, 4)
    assert state["failures"] == {"INPUT": 4}
    _, output = ask("failures", run)
    assert "bad-small.png" in output
    assert "8x8" in output
    code, output = ask("query", run, "SELECT image_id, frechet_vgg22, wall_s FROM results", "--format", "csv")
    assert code == 0
    assert len(output.strip().splitlines()) == 9
    assert "asks nothing" in ask("query", run, "")[1]
    assert "cannot be written" in ask("query", run, "SELECT 1", "--format", "csv", "--out", "/no/such/x.csv")[1]
    code, output = ask("query", run, "SELECT nothing FROM results")
    assert code == 2
    assert "nothing" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM read_csv('/etc/passwd')", "COPY results TO 'stolen.csv'", "INSTALL httpfs"]
)
def test_a_query_reaches_only_the_tables(finished, sql):
    _, run, _, _ = finished
    code, output = ask("query", run, sql)
    assert code == 2
    assert "root:" not in output


def test_new_samples_at_any_size(finished, tmp_path):
    _, run, _, _ = finished
    sizes = ["--size", "2x1", "--size", "1x2", "--size", "50x30"]
    code, output = ask("sample", run, "photo-03", *sizes, "-n", "2", "--seed", "9", "--out", tmp_path / "new")
    assert code == 0, output
    from PIL import Image

    found = {p.name: Image.open(p).size for p in (tmp_path / "new").iterdir()}
    assert found == {
        "birds_photo-03-2x1-seed9.png": (40, 16), "birds_photo-03-2x1-seed10.png": (40, 16),
        "birds_photo-03-1x2-seed9.png": (20, 32), "birds_photo-03-1x2-seed10.png": (20, 32),
        "birds_photo-03-50x30-seed9.png": (50, 30), "birds_photo-03-50x30-seed10.png": (50, 30),
    }  # fmt: skip
    code, output = ask("sample", run, "photo-0", "--out", tmp_path)
    assert code == 2
    assert "images of" in output
    assert ask("sample", run, "photo-03", "--start-scale", "7", "--out", tmp_path)[0] == 2


def test_no_home_path_and_no_machine_path_in_any_artifact(finished):
    images, run, _, _ = finished
    needles = [str(images.parent).encode(), str(run.parent).encode()]
    wrong = [p for p in run.rglob("*") if p.is_file() and any(n in p.read_bytes() for n in needles)]
    assert not wrong


def test_a_dry_run_says_what_would_happen_and_writes_nothing(tmp_path):
    images = write_photographs(tmp_path / "images", 22)
    write_bad_pictures(images)
    bad = [file.rename(images / f"z-{file.name}") for file in sorted(images.glob("bad-*"))]
    code, output = ask("run", images, "--out", tmp_path / "run", *options(), "--dry-run")
    assert code == 0, output
    assert "26 images, 22 to train, 4 refused" in output
    listed = re.findall(r"^ ([\w-]+\.\w+)", output, re.MULTILINE)
    assert listed[:5] == [*(file.name for file in bad), "photo-00.png"], "all that are refused, before all others"
    assert "… and 2 more images" in output
    assert re.search(r"About \d+ s in all: \d+ s of training, \d+ s to draw", output)
    assert not (tmp_path / "run").exists()


def test_a_manifest_overrides_settings_and_seeds_for_its_images(tmp_path):
    write_photographs(tmp_path / "images", 2)
    manifest = tmp_path / "images" / "manifest.csv"
    manifest.write_text("uri,image_id,seed,iterations\nphoto-00.png,first,7,5\nphoto-01.png,second,,\n")
    code, output = run_alone(manifest, "--out", tmp_path / "run", *options())
    assert code == 0, output
    store = Store(str(tmp_path / "run"))
    rows = {r["image_id"]: r for r in query(store, "SELECT image_id, seed, settings FROM results").to_pylist()}
    assert (rows["first"]["seed"], json.loads(rows["first"]["settings"])["iterations"]) == (7, 5)
    assert (rows["second"]["seed"], json.loads(rows["second"]["settings"])["iterations"]) == (0, 4)
    manifest.write_text("uri,iterations\nphoto-00.png,-5\n")
    code, output = ask("run", manifest, "--out", tmp_path / "other", *options())
    assert code == 2
    assert "photo-00.png" in output
    assert "iterations" in output
    assert not (tmp_path / "other").exists()


def test_a_run_inside_the_folder_of_images_does_not_take_its_own_pictures(tmp_path, monkeypatch):
    write_photographs(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    for words in ("1 images, 1 to train", "1 images, nothing left to train"):
        code, output = run_alone(".", "--out", "run", *options())
        assert code == 0, output
        assert words in output
        assert list((tmp_path / "run" / "gallery" / "thumbs").iterdir())


def test_a_mended_image_runs_and_its_old_failure_is_gone(tmp_path):
    images = write_photographs(tmp_path / "images", 1)
    (images / "late.png").write_bytes(b"")
    assert run_alone(images, "--out", tmp_path / "run", *options())[0] == 3
    photograph(9).save(images / "late.png")
    code, output = run_alone(images, "--out", tmp_path / "run", *options())
    assert code == 0, output
    assert "1 to train, 1 done before" in output
    assert query(Store(str(tmp_path / "run")), "SELECT * FROM failures").num_rows == 0


def test_a_diverging_training_is_tried_twice_and_never_a_result(tmp_path):
    images = write_photographs(tmp_path / "images", 1)
    wild = options(learning_rate=1.0, step_size=10.0, iterations=60)
    code, output = run_alone(images, "--out", tmp_path / "run", *wild)
    assert code == 3, output
    store = Store(str(tmp_path / "run"))
    (failures,) = read_failures(store).values()
    assert [(f.failure, f.final) for f in failures] == [("NUMERIC", False), ("NUMERIC", True)]
    assert not committed(store)
    code, output = ask("run", images, "--out", tmp_path / "run", *wild)
    assert code == 3
    assert "1 failed before (--retry tries them again)" in output
    assert len(read_failures(store)[failures[0].job_id]) == 2
    code, output = run_alone(images, "--out", tmp_path / "run", *wild, "--retry")
    assert code == 3, output
    assert len(read_failures(store)[failures[0].job_id]) == 4


def test_a_damaged_result_is_said_and_made_again_with_retry(tmp_path):
    images = write_photographs(tmp_path / "images", 2)
    command = [images, "--out", tmp_path / "run", *options()]
    assert run_alone(*command)[0] == 0
    samples = sorted((tmp_path / "run" / "attempts").glob("*/*/samples.parquet"))
    samples[0].write_bytes(samples[0].read_bytes()[:100])
    for path in (tmp_path / "run" / "tables").rglob("*.*"):
        path.unlink()
    code, output = ask("run", *command)
    assert code == 3, output
    assert "--retry trains them again" in output
    assert query(Store(str(tmp_path / "run")), "SELECT * FROM results").num_rows == 1
    code, output = run_alone(*command, "--retry")
    assert code == 0, output
    assert "1 to train, 1 done before" in output
    assert query(Store(str(tmp_path / "run")), "SELECT * FROM results").num_rows == 2


def test_a_bound_that_is_raised_lets_the_image_in(tmp_path):
    images = write_photographs(tmp_path / "images", 1)
    code, output = run_alone(images, "--out", tmp_path / "run", *options(), "--max-pixels", "100")
    assert code == 3, output
    assert "1 refused" in output
    code, output = run_alone(images, "--out", tmp_path / "run", *options(), "--retry")
    assert code == 0, output


def test_equal_names_from_two_folders_are_two_images(tmp_path):
    a, b = write_photographs(tmp_path / "a", 1), write_photographs(tmp_path / "b", 1)
    photograph(5).save(b / "photo-00.png")
    for images in (a, b):
        assert run_alone(images, "--out", tmp_path / "run", *options())[0] == 0
    rows = query(Store(str(tmp_path / "run")), "SELECT image_id, uri FROM results").to_pylist()
    assert {row["uri"] for row in rows} == {"a/photo-00.png", "b/photo-00.png"}
    assert len({row["image_id"] for row in rows}) == 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of an undisturbed run."""
    root = tmp_path_factory.mktemp("undisturbed")
    images = write_photographs(root / "images", 2)
    code, output = run_alone(images, "--out", root / "run", *options(**LONG))
    assert code == 0, output
    return images, root / "run"


STRUCK = [*options(**LONG), "--checkpoint-seconds", "0.2"]


def strike(images, run, act, *more):
    """Begin a run, `act` on it when both images have checkpoints of this command; its exit code and output."""
    store = Store(str(run))
    before = set(store.list("checkpoints"))
    process = start("run", images, "--out", run, *STRUCK, *more)

    def under_way():
        return len({path.split("/")[1] for path in set(store.list("checkpoints")) - before}) == 2

    wait_for(under_way, process=process)
    act(process)
    output, _ = process.communicate(timeout=180)
    return process.returncode, output


def test_workers_that_are_killed_or_stop_answering_cost_only_the_time_since_their_last_restart_points(
    ray_address, undisturbed, tmp_path
):
    images, expected = undisturbed
    store = Store(str(tmp_path / "run"))

    def both():
        found = workers()
        return found if len(found) == 2 else None

    def act(process):
        wait_for(lambda: store.list("previews"), process=process)  # a first scale is done
        killed, hanging = wait_for(both, process=process)
        killed.kill()
        hanging.suspend()

    code, output = strike(images, tmp_path / "run", act, "--ray-address", ray_address, "--silence-timeout", "6")
    assert code == 0, output
    assert "WORKER_LOST" in output and "TIMEOUT" in output
    rows = query(store, "SELECT resumes FROM results").to_pylist()
    assert [row["resumes"] for row in rows] == [1, 1]
    assert artifacts(tmp_path / "run") == artifacts(expected), "resumed models are the same to the bit"
    failures = [(f.failure, f.final) for found in read_failures(store).values() for f in found]
    assert sorted(failures) == [("TIMEOUT", False), ("WORKER_LOST", False)]


def is_finished_as_if_undisturbed(images, run, expected):
    """By the same command, once more."""
    code, output = run_alone(images, "--out", run, *STRUCK)
    assert code == 0, output
    assert artifacts(run) == artifacts(expected)
    resumed = query(Store(str(run)), "SELECT sum(resumes) AS n FROM results").to_pylist()
    assert resumed[0]["n"] >= 1


def was_interrupted(run, code, output):
    assert code == 130, output
    assert "The same command goes on" in output
    assert checkpoints(run)
    assert not read_failures(Store(str(run))), "an interruption is nobody's failure"
    state = json.loads(ask("status", run, "--json")[1])
    assert state["state"] == "incomplete"


def test_a_killed_driver_is_gone_on_with_by_the_same_command_which_sigterm_interrupts(
    ray_address, undisturbed, tmp_path
):
    """The first has a local Ray; the second joins one, where its workers hand their jobs back."""
    images, expected = undisturbed
    run = tmp_path / "run"

    def kill(process):
        state = json.loads(ask("status", run, "--json")[1])
        assert (state["state"], state["images"], state["progress"]["images"]) == ("running", 2, 2)
        its = workers()
        process.kill()
        assert not psutil.wait_procs(its, timeout=60)[1], "its Ray ends with it, and no worker goes on alone"

    code, _ = strike(images, run, kill)
    assert code == -signal.SIGKILL
    assert ask("status", run)[0] == 0
    was_interrupted(run, *strike(images, run, lambda process: process.terminate(), "--ray-address", ray_address))
    is_finished_as_if_undisturbed(images, run, expected)


def ctrl_c(process):
    """As a terminal sends it: to the command and everything it started."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)


def test_a_run_interrupted_by_ctrl_c_hands_its_jobs_back_and_is_finished_by_the_same_command(undisturbed, tmp_path):
    images, expected = undisturbed
    was_interrupted(tmp_path / "run", *strike(images, tmp_path / "run", ctrl_c))
    is_finished_as_if_undisturbed(images, tmp_path / "run", expected)


def test_the_same_bug_on_every_image_stops_the_run(tmp_path):
    """The bug is planted in worker processes alone, as a fault of this code would be."""
    bug = (
        "import pgcn_jobs.training_job as run\ndef broken(*a):\n    raise RuntimeError('planted')\nrun.draw = broken\n"
    )
    buggy = at_start(tmp_path / "plant", bug, "default_worker")
    images = write_photographs(tmp_path / "images", 5)
    code, output = pgcn("run", images, "--out", tmp_path / "run", *options(), env=buggy)
    assert code == 4, output
    assert "same reason: RuntimeError: planted" in output
    store = Store(str(tmp_path / "run"))
    assert not committed(store)
    assert len(read_failures(store)) < 5
    code, output = run_alone(images, "--out", tmp_path / "run", *options(), "--retry")
    assert code == 0, output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "nowhere.png", "--out", "run"], "image.missing"),
        (["run", "."], "option.missing"),
        (["run", ".", "--out", "run", "--preset", "paperr"], "setting"),
        (["run", ".", "--out", "run", "--set", "iteration=4"], "setting"),
        (["run", ".", "--out", "run", "--device", "tpu"], "device"),
        (["run", ".", "--out", "run", "--device", "cuda"], "device"),
        (["run", ".", "--out", "run", "--size", "2x300"], "size"),
        (["run", ".", "--out", "run", "--samples", "many"], "usage"),
        (["run", ".", "--out", "run", "--ray-address", "127.0.0.1:1"], "ray.unreachable"),
        (["run", ".", "--out", "run", "--ray-address", "ray://127.0.0.1:1"], "ray.unreachable"),
        (["run", ".", "--out", "run", "--cpus-per-job", "0"], "option.value"),
        (["run", ".", "--out", "run", "--seed", "99999999999999999999"], "usage"),
        (["status", "."], "run.missing"),
        (["query", ".", "SELECT 1"], "run.missing"),
        (["frobnicate"], "usage"),
    ],
)
def test_mistakes_get_a_sentence_and_exit_2(tmp_path, monkeypatch, arguments, error):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_photographs(tmp_path, 1)
    if "--device" in arguments and "cuda" in arguments:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU, so --device cuda is no mistake")
    code, output = ask(*arguments)
    assert code == 2, output
    check_error(output, error)
