"""A checkpoint that this version cannot use costs its job time, and its batch nothing."""

import hashlib
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image

from pgcn.tensor_files import to_bytes
from pgcn_jobs import layout
from pgcn_jobs.inputs.discover import find_sources
from pgcn_jobs.job_context import ExecutionOptions, JobContext
from pgcn_jobs.run_folder.checkpoints import Checkpoints
from pgcn_jobs.run_folder.commit import Commit, new_attempt, read_artifact
from pgcn_jobs.run_folder.manifest import RunDefaults
from pgcn_jobs.run_folder.plan_source import plan_source
from pgcn_jobs.spec import SamplePlan
from pgcn_jobs.storage.store import Store
from pgcn_jobs.training_job import run_jobs

TINY = {"max_size": 16, "min_size": 12, "scales": 1, "iterations": 4}
ASK = RunDefaults("draft", TINY, 0, SamplePlan(count=1), 10**6)


@pytest.fixture
def specs(tmp_path):
    (tmp_path / "images").mkdir()
    for seed in (1, 2):
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{seed}.png")
    sources = find_sources([str(tmp_path / "images")], setting_names=[])
    return [plan_source(source, ASK, None).spec(source, ASK) for source in sources]


def run(store, specs, iterations=10**6):
    """Some iterations of all jobs, with a checkpoint after each."""
    left = count()
    context = JobContext(store, ExecutionOptions(checkpoint_seconds=0.0), should_stop=lambda: next(left) >= iterations)
    return run_jobs(specs, [new_attempt() for _ in specs], context)


def without_starts(state):
    tensors, where = state
    return to_bytes({name: value for name, value in tensors.items() if name != "starts"}, where)


def of_other_settings(state):
    return to_bytes(state[0], state[1] | {"settings": '{"layers": 7}'})


@pytest.mark.parametrize(
    "change", [without_starts, of_other_settings, lambda state: to_bytes({"x": torch.ones(1)}, {})]
)
def test_a_checkpoint_of_another_layout_is_left_out(tmp_path, specs, change):
    store = Store(str(tmp_path / "run"))
    run(store, specs, iterations=2)
    job = specs[0].job_id
    data = change(Checkpoints(store, job).last())
    store.put(layout.checkpoint_path(job, 9, hashlib.sha256(data).hexdigest()), data)

    first, second = run(store, specs)
    assert isinstance(first, Commit), first
    assert isinstance(second, Commit), second
    assert (first.result["resumes"], second.result["resumes"]) == (0, 1), "the other one of the batch goes on"
    log = read_artifact(store, next(a for a in first.artifacts if a.path.endswith("log.txt"))).decode()
    assert "starting anew" in log
