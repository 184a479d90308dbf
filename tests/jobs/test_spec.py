"""Identity and sizes."""

import subprocess
import sys

import pytest

from jobs.common.failures import ConfigError
from jobs.spec import SamplePlan, job_id, resolve_size
from pgcn.settings import PRESETS, Settings, make_settings

SHA = "ab" * 32


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
        "precision": "bfloat16", "warm_up": 21, "step_fall": 0.5,
    }  # fmt: skip
    assert changed.keys() == Settings.model_fields.keys()
    names = {name(settings=make_settings("draft", {key: value})) for key, value in changed.items()}
    assert len(names | {name()}) == len(changed) + 1


def test_the_name_is_the_same_in_another_process():
    code = (
        "from jobs.spec import *; from pgcn.settings import PRESETS;"
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
    with pytest.raises(ConfigError, match="size"):
        resolve_size(text, (48, 64))


def test_sizes_are_written_one_way():
    assert SamplePlan(sizes=("2 X 1",)) == SamplePlan(sizes=("2x1",))
