"""Sizes of the pyramid, and resizing."""

import itertools

import pytest
import torch

from pgcn.imaging.scales import (
    SHORTEST,
    check_image,
    exact_sizes,
    finest_size,
    image_pyramid,
    learned_sizes,
    resize,
    scale_sizes,
    sizes_for,
    thin_problem,
)
from pgcn.patchgencn.trainer import Trainer
from pgcn.settings import make_settings

PAPER = make_settings("paper")


@pytest.mark.parametrize(
    ("name", "image", "coarsest", "finest", "scales"),
    [
        ("landscape", (400, 600), (25, 37), (167, 250), 8),
        ("portrait", (600, 400), (37, 25), (250, 167), 8),
        ("square", (512, 512), (25, 25), (250, 250), 8),
        ("extreme", (100, 800), (25, 202), (31, 250), 8),
        ("small, never upsampled", (60, 80), (25, 33), (60, 80), 8),
        ("tiny", (9, 12), (9, 12), (9, 12), 1),
        ("thin", (100, 2500), (12, 300), (12, 300), 1),
        ("thin on end", (2500, 100), (300, 12), (300, 12), 1),
        ("thin and small", (9, 400), (9, 400), (9, 400), 1),
    ],
)
def test_sizes(name, image, coarsest, finest, scales):
    sizes = scale_sizes(*image, PAPER)
    assert (sizes[0], sizes[-1], len(sizes)) == (coarsest, finest, scales)
    assert all(a[0] <= b[0] and a[1] <= b[1] and a != b for a, b in itertools.pairwise(sizes))


@pytest.mark.parametrize("preset", ["draft", "small", "best", "paper"])
@pytest.mark.parametrize("image", [(400, 600), (100, 500), (1080, 1920), (300, 1500), (30, 12), (24, 24), (64, 13)])
def test_ordinary_images_have_the_size_that_max_size_gives(preset, image):
    settings = make_settings(preset)
    factor = min(1.0, settings.max_size / max(image))
    assert finest_size(*image, settings) == tuple(round(side * factor) for side in image)
    assert thin_problem(*image, settings) is None


@pytest.mark.parametrize("max_size", [32, 64, 128, 250, 1500])
@pytest.mark.parametrize("image", [(100, 1200), (40, 5000), (48, 256), (12, 4000), (5000, 40), (3000, 17)])
def test_thin_images_are_learned_at_a_short_side_of_12_px_or_refused(max_size, image):
    settings = make_settings("draft", {"max_size": max_size})
    finest = finest_size(*image, settings)
    assert min(finest) >= SHORTEST
    problem = thin_problem(*image, settings)
    assert (problem is None) == (finest[0] * finest[1] <= max_size**2)
    if problem is not None:
        needed = int(problem.split("set max_size=")[1].split(",")[0])
        assert thin_problem(*image, make_settings("draft", {"max_size": needed})) is None
        with pytest.raises(ValueError, match="too thin to be learned"):
            Trainer([torch.zeros(1, 3, *image)], settings, [0])


def test_a_max_size_that_cannot_be_set_is_not_asked_for():
    problem = thin_problem(12, 100_000, make_settings("draft"))
    assert problem is not None
    assert "set max_size" not in problem
    assert "cut it into shorter pieces" in problem


def test_sizes_are_geometric():
    sizes = scale_sizes(512, 512, PAPER)
    ratios = [b[0] / a[0] for a, b in itertools.pairwise(sizes)]
    assert max(ratios) / min(ratios) < 1.05


def test_equal_neighbours_merge():
    sizes = scale_sizes(26, 26, PAPER)
    assert sizes == [(25, 25), (26, 26)]


def test_sizes_for_another_output_keep_the_factors():
    trained = scale_sizes(400, 600, PAPER)
    wide = sizes_for((167, 500), trained)
    assert wide[-1] == (167, 500)
    assert wide[0] == (25, 74)
    assert sizes_for(trained[-1], trained) == trained


def test_resize_keeps_means_and_range_and_does_not_round():
    image = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = resize(image, (16, 12))
    assert small.shape == (1, 3, 16, 12)
    assert float((small.mean() - image.mean()).abs()) < 0.02
    assert float(small.abs().max()) <= 1
    levels = (small + 1) * 127.5
    assert float((levels - levels.round()).abs().mean()) > 0.1, "values between the 8-bit levels stay"


def test_down_sampling_is_antialiased():
    stripes = torch.tensor([-1.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    assert float(resize(stripes, (16, 16)).abs().max()) < 0.1


def test_the_pyramid_holds_the_image_at_each_size():
    image = torch.rand(1, 3, 40, 60) * 2 - 1
    sizes = scale_sizes(40, 60, make_settings("draft"))
    assert [tuple(level.shape[-2:]) for level in image_pyramid(image, sizes)] == sizes


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(2, 3, 8, 8), torch.zeros(1, 65, 8, 8), torch.full((3, 8, 8), 2.0), torch.full((3, 8, 8), torch.nan)],
)
def test_what_is_not_an_image_is_refused(bad):
    with pytest.raises(ValueError, match="image"):
        check_image(bad)


@pytest.mark.parametrize(("image", "scales"), [((300, 451), 4), ((427, 640), 4), ((2000, 1500), 4)])
def test_exact_sizes_double_from_the_learned_scales_to_the_image(image, scales):
    settings = make_settings("draft")
    sizes, learned = exact_sizes(*image, settings), learned_sizes(*image, settings)
    assert len(sizes) == scales and sizes[-1] == finest_size(*image, settings)
    assert 0.9 * min(learned[-1]) <= min(sizes[0]) < 2 * min(learned[-1])
    assert all(1.9 < above[0] / below[0] < 2.1 for below, above in itertools.pairwise(sizes))
    assert scale_sizes(*image, settings) == learned + sizes


def test_small_images_and_learned_detail_have_no_exact_scale():
    assert exact_sizes(30, 40, make_settings("draft")) == []
    assert exact_sizes(300, 451, make_settings("paper")) == []
