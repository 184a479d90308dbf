"""Coherence, layout diversity and detail on closed cases, and the order of made cases on photographs."""

import math

import pytest
import torch

from benchmarks.pictures import photograph
from benchmarks.quality import EXPECTED, PAGE, measured, put_tables
from pgcn.imaging.scales import resize
from pgcn.metrics.coherence import QUERIES, SIDES, CoherenceTo, coherence, mean_nearest, spread
from pgcn.metrics.frechet import FrechetTo
from pgcn.metrics.layout_diversity import layout_diversity
from pgcn.metrics.nearest_patches import PatchKeys
from pgcn.metrics.quality import detail, metrics

DISAGREE = {
    ("the image, sharp halves, a grid, noise", "frechet_vgg22"),
    ("a mirrored image is a copy", "largest_piece"),
    ("an enlarged crop is a copy", "largest_piece"),
}
"""Defects that the metric does not find, as the page says."""


def noise(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def patches(x):
    return [x[0, :, i : i + 7, j : j + 7].double() for i in range(x.shape[2] - 6) for j in range(x.shape[3] - 6)]


def test_coherence_and_completeness_are_their_definition():
    sample, image = noise(18, 20), noise(20, 22, seed=1) * 0.8
    p, q = torch.stack(patches(sample)), torch.stack(patches(image))
    variance = (q - q.mean(0)).square().mean()
    distances = (p[:, None] - q).square().mean((2, 3, 4))
    found = coherence(sample, image)
    for side in SIDES:  # the pictures are smaller than all of them
        assert found[f"coherence_{side}"] == pytest.approx(float(distances.amin(1).mean() / variance), rel=1e-4)
        assert found[f"completeness_{side}"] == pytest.approx(float(distances.amin(0).mean() / variance), rel=1e-4)


def test_a_flat_sample_of_the_mean_is_one_away():
    image = noise(60, 60)
    flat = image.mean((2, 3), keepdim=True).expand_as(image)
    assert coherence(flat, image)["completeness_256"] == pytest.approx(1, rel=0.02)
    assert all(math.isnan(value) for value in coherence(image, flat).values())


def test_evenly_spread_patches_stand_for_all():
    image = photograph("06-cat.jpg", 96)
    sample = image.flip(3)
    chosen = spread((90, 58))
    assert len(chosen) <= QUERIES < 90 * 58
    rows, columns = chosen // 58, chosen % 58
    assert float(rows.float().mean()) == pytest.approx(44.5, abs=1.5)
    assert float(columns.float().mean()) == pytest.approx(28.5, abs=1.5)
    keys, queries = (torch.nn.functional.unfold(x, 7)[0].T for x in (image, sample))
    every = torch.cdist(queries, keys).square().amin(1).mean() / 147
    assert mean_nearest(queries[chosen], PatchKeys(keys)) == pytest.approx(float(every), rel=0.1)


def test_an_image_prepared_once_gives_each_sample_its_own_values():
    image = photograph("06-cat.jpg", 80)
    to = CoherenceTo(image)
    for sample in (image.flip(3), noise(40, 120), image[..., 5:], image.flip(3)):  # of other sizes, and one again
        assert to(sample) == coherence(sample, image)


def test_layout_diversity_of_pixels_in_random_order_is_one():
    image = photograph("06-cat.jpg", 48)
    image = resize(image, (32, 48))
    pixels = image.flatten(2)
    generator = torch.Generator().manual_seed(0)
    drawn = [pixels[..., torch.randperm(32 * 48, generator=generator)].view_as(image) for _ in range(8)]
    assert layout_diversity(torch.cat(drawn), image) == pytest.approx(1, abs=0.03)
    assert layout_diversity(torch.cat(drawn[:2]), image) == pytest.approx(1, abs=0.05)


def test_detail_is_no_diversity_of_layout():
    image = photograph("06-cat.jpg")
    grains = torch.cat([(image + 0.3 * noise(*image.shape[2:], seed=seed)).clamp(-1, 1) for seed in range(3)])
    assert layout_diversity(image.repeat(3, 1, 1, 1), image) == 0
    assert layout_diversity(grains, image) < 0.1
    assert layout_diversity(torch.cat([image, image.flip(3), image.flip(2)]), image) > 0.5
    assert math.isnan(layout_diversity(image, image))


def test_detail_of_added_noise_is_known():
    """Noise that the image does not have adds to its power; the image's own detail is at 1."""
    image = noise(64, 64) * 0.5
    assert detail(image, image) == pytest.approx(1)
    assert detail(image * 0.5, image) == pytest.approx(0.5, rel=1e-3)
    assert math.isnan(detail(image, torch.zeros_like(image)))


def test_large_images_are_measured_at_a_bounded_size(monkeypatch):
    image = photograph("06-cat.jpg", 150)
    monkeypatch.setattr("pgcn.metrics.frechet.FEATURE_PIXELS", 60 * 40)
    small = resize(image, (40, 60))
    assert FrechetTo(image)(image.flip(3)) == pytest.approx(FrechetTo(small)(resize(image.flip(3), (40, 60))), rel=1e-4)


def test_all_metrics_have_a_value_for_samples_of_another_size():
    image = photograph("02-launch.jpg", 64)
    found = metrics(image, torch.cat([image, image.flip(3)])[..., :40, :50])
    assert {"frechet_vgg22", "frechet_vgg33", "coherence_32", "completeness_256", "detail"} <= found.keys()
    assert {"largest_piece", "mean_piece", "in_place", "layout_diversity"} <= found.keys()
    assert all(math.isfinite(value) for value in found.values())


@pytest.fixture(scope="module")
def cat():
    return measured(photograph("06-cat.jpg", 128))


@pytest.mark.parametrize("said, name, rule", EXPECTED, ids=[f"{said}: {name}" for said, name, _ in EXPECTED])
def test_metrics_order_made_cases_as_a_person_does(said, name, rule, cat):
    assert rule(cat) == ((said, name) not in DISAGREE)


def test_tables_are_put_at_their_places():
    page = "a\n<!-- cases -->\nold\n<!-- end -->\nb\n<!-- order -->\n<!-- end -->\n"
    put = put_tables(page, {"cases": "| new |", "order": "| 1 |"})
    assert put == "a\n<!-- cases -->\n| new |\n<!-- end -->\nb\n<!-- order -->\n| 1 |\n<!-- end -->\n"
    with pytest.raises(ValueError, match="0 places"):
        put_tables("nothing", {"cases": ""})
    assert "<!-- cases -->" in PAGE.read_text()
