"""The optional artifact `histograms.json` of a training job."""

import numpy as np
import pytest
from PIL import Image

from pgcn_jobs.inputs.discover import find_sources
from pgcn_jobs.job_context import JobContext
from pgcn_jobs.layout import is_ours
from pgcn_jobs.run_folder.commit import new_attempt, read_artifact
from pgcn_jobs.run_folder.histograms import FILE, read_histograms
from pgcn_jobs.run_folder.manifest import RunDefaults
from pgcn_jobs.run_folder.plan_source import plan_source
from pgcn_jobs.spec import SamplePlan
from pgcn_jobs.storage.store import Store
from pgcn_jobs.training_job import run_jobs

TINY = {"max_size": 16, "min_size": 12, "scales": 1, "iterations": 2, "detail": "learned"}


@pytest.mark.parametrize(("method", "has"), [("frame", True), ("multigrid", False)])
def test_a_job_keeps_the_histograms_of_a_model_that_has_some(tmp_path, method, has):
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    asked = RunDefaults("draft", TINY, 0, SamplePlan(count=1), 10**6, method=method)
    (source,) = find_sources([str(tmp_path / "images")], setting_names=[])
    spec, store = plan_source(source, asked, None).spec(source, asked), Store(str(tmp_path / "run"))
    (commit,) = run_jobs([spec], [new_attempt()], JobContext(store))
    found = [artifact for artifact in commit.artifacts if artifact.path.endswith(f"/{FILE}")]
    assert len(found) == has
    for artifact in found:
        assert is_ours(artifact.path)
        pairs = read_histograms(read_artifact(store, artifact))
        assert pairs[0].name == "intensity"
        assert sum(pairs[0].observed) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "pair",
    [
        '{"name": "a", "scale": 0, "edges": [0, 1], "observed": [1], "synthesized": [0.5, 0.5]}',
        '{"name": "a", "scale": 0, "edges": [0], "observed": [], "synthesized": []}',
        '{"name": "a", "scale": 0, "edges": [0, NaN], "observed": [1], "synthesized": [1]}',
        '{"name": "a", "scale": 0}',
        "1",
    ],
)
def test_a_damaged_file_is_refused(pair):
    with pytest.raises(ValueError, match="validation error"):
        read_histograms(f"[{pair}]".encode())
