"""Sizes of the pyramid, and resizing."""

import itertools

import pytest
import torch

from pgcn.imaging.scales import check_image, image_pyramid, resize, scale_sizes, sizes_for
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
    ],
)
def test_sizes(name, image, coarsest, finest, scales):
    sizes = scale_sizes(*image, PAPER)
    assert (sizes[0], sizes[-1], len(sizes)) == (coarsest, finest, scales)
    assert all(a[0] <= b[0] and a[1] <= b[1] and a != b for a, b in itertools.pairwise(sizes))


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
    [torch.zeros(2, 3, 8, 8), torch.zeros(1, 1, 8, 8), torch.full((3, 8, 8), 2.0), torch.full((3, 8, 8), torch.nan)],
)
def test_what_is_not_an_image_is_refused(bad):
    with pytest.raises(ValueError, match="image"):
        check_image(bad)
