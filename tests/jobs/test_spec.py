"""Identity and sizes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pgcn.settings
from pgcn.settings import PRESETS, Settings, make_settings
from pgcn_jobs.spec import SamplePlan, job_id, pyramid_id, resolve_size
from tests.sentences import fails_with

SHA = "ab" * 32
FIXTURES = Path(__file__).parents[1] / "fixtures/v0_1"


def name(sha=SHA, settings=PRESETS["draft"], seed=0, plan=SamplePlan()):  # noqa: B008 - frozen
    return job_id(sha, settings, seed, plan)


def test_a_job_is_named_by_what_decides_its_result():
    first = name()
    assert len(first) == 20
    assert int(first, 16) >= 0
    others = [
        name(sha="cd" * 32),
        name(settings=make_settings("draft", {"iterations": 201})),
        name(seed=1),
        name(plan=SamplePlan(count=5)),
        name(plan=SamplePlan(sizes=("1x1",))),
    ]
    assert len({first, *others}) == 6


def test_every_setting_is_part_of_the_name():
    """A setting that is not would let a changed run believe an old result."""
    changed = {
        "max_size": 60, "min_size": 24, "scales": 7, "net_width": "wide", "warm_start": False, "langevin_steps": 11,
        "langevin_steps_init": 21, "step_size": 0.02, "noise": "langevin", "noise_std": 0.02, "noise_iterations": 51,
        "chains": 2, "pool_size": 65, "recovery_steps": 31, "recovery_every": 5, "recovery_weight": 0.2,
        "iterations": 201, "iteration_growth": 2.6, "learning_rate": 3e-4, "final_learning_rate": 4e-5,
        "precision": "bfloat16", "warm_up": 21, "step_decay": 0.5,
        "detail": "learned", "learned_size": 40, "patch": 9, "detail_steps": 4, "detail_noise": 0.5,
        "completeness": 0.005, "layout_patch": 9, "layouts": 3, "window": 48, "max_curvature": 2.0,
        "distil": 400, "sampling": "generator",
    }  # fmt: skip
    assert changed.keys() == Settings.model_fields.keys() - pgcn.settings.READING
    others = {"sampling": {"distil": 401}}  # generators draw where there are any
    names = {
        name(settings=make_settings("draft", {key: value, **others.get(key, {})})) for key, value in changed.items()
    }
    assert len(names | {name()}) == len(changed) + 1


def test_settings_of_reading_are_part_of_the_name_by_what_they_make_of_an_image():
    """Plain RGB is the same under all of them; other channels have another name."""
    old = make_settings("draft", {"channels": "rgb", "transparency": "white"})
    assert name(settings=old) == name()
    gray = job_id(SHA, PRESETS["draft"], 0, SamplePlan(), channels='[{"kind": "gray"}]')
    assert len({gray, job_id(SHA, PRESETS["draft"], 0, SamplePlan(), "ab"), name()}) == 3
    pyramids = {pyramid_id(SHA, PRESETS["draft"], 0, channels=text) for text in (None, "[1]", "[2]")}
    assert len(pyramids) == 3


def fixture_rows(run):
    """The rows of a fixture run's manifest, with the samples of its jobs."""
    folder = FIXTURES / run
    samples = SamplePlan.model_validate(json.loads((folder / "run.json").read_text())["samples"])
    parts = [pq.read_table(part).to_pylist() for part in sorted((folder / "manifest").iterdir())]
    return [(row, samples) for part in parts for row in part if row["sha256"] and not row["problem"]]


@pytest.mark.parametrize("run", ["finished", "half_done"])
def test_jobs_of_the_first_release_keep_their_names(run):
    rows = fixture_rows(run)
    assert len(rows) == 2
    for row, samples in rows:
        assert '"step_fall"' in row["settings"], "written under the former name"
        settings = Settings.model_validate_json(row["settings"])
        image = FIXTURES / "images" / Path(row["uri"]).name
        sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
        assert job_id(sha256, settings, row["seed"], samples) == row["job_id"]


def test_pyramids_of_the_first_release_keep_their_names():
    results = [pq.read_table(part).to_pylist() for part in (FIXTURES / "finished/tables/edits").iterdir()]
    pyramids = {row["pyramid"] for part in results for row in part}
    rows = fixture_rows("finished")
    found = {pyramid_id(row["sha256"], Settings.model_validate_json(row["settings"]), row["seed"]) for row, _ in rows}
    assert found == pyramids


def test_a_new_setting_renames_no_job_that_has_its_old_value(monkeypatch):
    class Later(Settings):
        later: str = "as before"

    monkeypatch.setattr(pgcn.settings, "ADDED", {**pgcn.settings.ADDED, "later": "as before"})
    assert name(settings=Later(**PRESETS["draft"].model_dump())) == name()
    assert name(settings=Later(**PRESETS["draft"].model_dump(), later="new")) != name()


def test_the_value_of_earlier_results_is_the_default_of_every_added_setting():
    """So records that lack the setting read right; the first release had exactly the other settings."""
    first = set(json.loads((FIXTURES / "finished/run.json").read_text())["settings"])
    added = {field: Settings.model_fields[field].default for field in pgcn.settings.ADDED}
    assert added == pgcn.settings.ADDED
    assert pgcn.settings.with_present_names(dict.fromkeys(first)).keys() == Settings.model_fields.keys() - added.keys()


def test_the_name_is_the_same_in_another_process():
    code = (
        "from pgcn_jobs.spec import *; from pgcn.settings import PRESETS;"
        f"print(job_id({SHA!r}, PRESETS['draft'], 0, SamplePlan()))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == name()


@pytest.mark.parametrize(
    ("text", "size"),
    [("1x1", (48, 64)), ("2x1", (48, 128)), ("1x0.5", (24, 64)), ("320x200", (200, 320)), ("12X12", (12, 12))],
)
def test_sizes_are_width_by_height(text, size):
    assert resolve_size(text, (48, 64)) == size


@pytest.mark.parametrize("text", ["2", "axb", "2x300", "0x1", "9000x9000", "-1x1", "1x", ""])
def test_sizes_that_cannot_be_are_said(text):
    with fails_with("size"):
        resolve_size(text, (48, 64))


def test_sizes_are_written_one_way():
    assert SamplePlan(sizes=("2 X 1",)) == SamplePlan(sizes=("2x1",))
