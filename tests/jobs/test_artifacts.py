"""Metrics of an attempt's samples: which are taken, of how many samples, and what they warn of."""

import pytest
import torch

from benchmarks.pictures import photograph
from benchmarks.quality import halves
from pgcn.metrics.quality import metrics
from pgcn.testing import example
from pgcn_jobs import artifacts
from pgcn_jobs.artifacts import RESULT_METRICS, Observed, draw, sample_metrics, warning
from pgcn_jobs.run_folder.schemas import RESULTS
from pgcn_jobs.spec import JobSpec, SamplePlan


@pytest.fixture(scope="module")
def cat():
    return photograph("06-cat.jpg", 96)


def noise(image, seed, strength=1.0):
    drawn = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return image * (1 - strength) + drawn * strength


def said(image, *samples):
    return warning(sample_metrics(torch.cat(samples), image, image), image)


def test_every_metric_of_the_results_is_taken_and_is_that_of_quality(cat):
    samples = torch.cat([cat.flip(3), halves(cat)])
    found = sample_metrics(samples, cat, cat)
    assert set(RESULT_METRICS) <= set(RESULTS.names) & found.keys()
    expected = metrics(cat, samples)
    assert {name: found[name] for name in expected} == expected
    assert found["recovery_error"] == 0 and "frechet_random" not in found and "patch_swd" not in found


def test_a_metric_without_a_value_is_left_out(cat):
    assert "layout_diversity" not in sample_metrics(cat, cat, cat)


def test_warnings_say_how_samples_fail(cat):
    assert said(cat, cat, noise(cat, 1, 0.05)).startswith("samples are nearly copies of the image: ")
    moved = (cat[..., 6:, 9:], cat[..., :-6, 9:], cat[..., 3:-3, 9:])
    assert "samples are mostly one moved piece" in said(cat, *moved)
    assert "samples are nearly all the same" in said(cat, cat.flip(3), cat.flip(3))
    grains = [noise(cat.flip(3), seed, 0.05) for seed in range(3)]
    assert said(cat, *grains) == "samples differ in detail alone: they have nearly one layout"
    assert "nearly one colour" in said(cat, cat * 0.01, cat.flip(3) * 0.01)
    assert said(cat, cat.flip(3), cat.flip(2)) is None
    assert warning({}, cat) is None
    assert "little to learn" in warning({}, cat * 0.001)


@pytest.mark.parametrize(("large_side", "count"), [(256, 6), (16, 4)])
def test_large_samples_are_measured_four_at_most(monkeypatch, large_side, count):
    pyramid, image = example()
    seen = []
    monkeypatch.setattr(artifacts, "LARGE_SIDE", large_side)
    monkeypatch.setattr(artifacts, "sample_metrics", lambda samples, *_: seen.append(len(samples)) or {})
    plan = SamplePlan(count=6, sizes=("1x1",))
    spec = JobSpec("a" * 20, "", "", "", "draft", pyramid.settings, 3, plan)
    pictures, _ = draw(pyramid, Observed([image, image]), spec, "1")
    assert seen == [count]
    assert sum(row["kind"] == "sample" for row in pictures.rows) == 6
    assert not pictures.files, "RGB of 8 bits is in the rows"


def test_the_stages_are_those_of_the_first_sample_and_metrics_are_taken_over_batches(monkeypatch):
    pyramid, image = example()
    compared, calls = [], []
    drawn = type(pyramid).samples
    monkeypatch.setattr("pgcn.learned_pyramid.BATCH", 2)
    monkeypatch.setattr(type(pyramid), "samples", lambda *given, **named: calls.append(1) or drawn(*given, **named))
    monkeypatch.setattr(artifacts, "sample_metrics", lambda samples, *_: compared.append(samples) or {})
    spec = JobSpec("a" * 20, "", "", "", "draft", pyramid.settings, 3, SamplePlan(count=5, sizes=("2x1", "1x1")))
    pictures, _ = draw(pyramid, Observed([image, image]), spec, "1")
    assert len(calls) == 2, "each size is drawn once"
    expected = torch.cat([ends[-1] for ends in drawn(pyramid, 5, seed=3)])
    assert torch.equal(compared[0], expected), "samples of three batches"
    rows = {(row["kind"], row["scale"], row["size"], row["index"]): row["image"]["bytes"] for row in pictures.rows}
    finest = len(pyramid.sizes) - 1
    assert rows["stage", finest, "1x1", 0] == rows["sample", finest, "1x1", 0]
