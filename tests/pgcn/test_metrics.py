"""Measures on made cases, and against slow plain implementations."""

import math

import numpy as np
import pytest
import torch

from pgcn.metrics.patch_distribution import (
    diversity,
    patch_swd,
    patch_swd_levels,
    patches,
    sliced_wasserstein,
)


@pytest.fixture
def image():
    """A smooth random picture with structure at several sizes."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        torch.nn.functional.interpolate(
            torch.rand(1, 3, side, side, generator=generator), size=(48, 48), mode="bicubic", align_corners=False
        )
        for side in (3, 9, 48)
    ]
    picture = 0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2]
    return ((picture - picture.mean()) * 3).clamp(-1, 1)


def shuffled(image):
    """The image with its 8x8 tiles in another order."""
    tiles = image.unfold(2, 8, 8).unfold(3, 8, 8).reshape(3, 36, 8, 8)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(1))
    return tiles[:, order].reshape(1, 3, 6, 6, 8, 8).permute(0, 1, 2, 4, 3, 5).reshape(1, 3, 48, 48)


def noise():
    return torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_sliced_wasserstein_of_shifted_points_is_the_shift():
    """W1 of a set and itself moved by v, along unit directions d, is |v·d|: its mean over directions is known."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(500, 147, generator=generator)
    move = torch.zeros(147)
    move[0] = 1.0
    expected = math.sqrt(2 / (math.pi * 147))  # mean |d₀| of a unit vector, for many dimensions
    assert sliced_wasserstein(points, points + move) == pytest.approx(expected, rel=0.1)
    assert sliced_wasserstein(points, points) == 0


def test_sets_of_different_size_have_equal_weight():
    points = torch.randn(300, 10, generator=torch.Generator().manual_seed(0))
    assert sliced_wasserstein(points, points.repeat(3, 1)) < 0.02 * float(points.std())


def test_sliced_wasserstein_is_its_definition():
    """The same 256 directions, one by one, with NumPy's quantiles."""
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(700, 20, generator=generator), torch.rand(90, 20, generator=generator)
    drawn = torch.randn(20, 256, generator=torch.Generator().manual_seed(0)).numpy()
    at = np.linspace(0, 1, 512)
    slow = []
    for direction in drawn.T / np.linalg.norm(drawn, axis=0)[:, None]:
        slow.append(np.abs(np.quantile(a.numpy() @ direction, at) - np.quantile(b.numpy() @ direction, at)).mean())
    assert sliced_wasserstein(a, b) == pytest.approx(np.mean(slow), rel=1e-4)


def test_patches_are_the_images_own():
    picture = torch.arange(3 * 9 * 8).float().reshape(1, 3, 9, 8)
    rows = patches(picture)
    assert rows.shape == (3 * 2, 147)
    assert torch.equal(rows[3].reshape(3, 7, 7), picture[0, :, 1:8, 1:8])


def test_patch_swd_orders_made_cases(image):
    same, tiles, far = (patch_swd(x, image) for x in (image, shuffled(image), noise()))
    assert same == 0
    assert same < tiles < far
    assert len(patch_swd_levels(image, image)) == 2


def test_patch_swd_takes_other_sizes(image):
    assert patch_swd(torch.cat([image, image], 3), image) < 0.25 * patch_swd(noise(), image)
    assert math.isfinite(patch_swd(image[..., :5, :20], image))


def test_diversity(image):
    assert diversity(image.repeat(4, 1, 1, 1), image) == 0
    spread = torch.cat([image.roll(shift, 3) for shift in range(0, 48, 6)])
    assert 0.5 < diversity(spread, image) < 1.5
    assert math.isnan(diversity(image, image))


def test_diversity_is_its_definition():
    samples = torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    stds = [np.std(pixel, ddof=1) for pixel in samples.reshape(5, -1).double().numpy().T]
    assert diversity(samples, image) == pytest.approx(np.mean(stds) / np.std(image.double().numpy(), ddof=1), rel=1e-5)
