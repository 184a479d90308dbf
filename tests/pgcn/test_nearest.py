"""Coherence, completeness and copy against their definitions, and on made cases whose order is known."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from pgcn.metrics.nearest_patches import TIE, bidirectional, continued, squared_distances


def textured(seed, height=48, width=48):
    """A random picture with structure at several sizes."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        weight * F.interpolate(torch.rand(1, 3, n, n, generator=generator), size=(height, width), mode="bicubic")
        for weight, n in ((0.5, 3), (0.3, 9), (0.2, 48))
    ]
    mixed = sum(layers)
    return ((mixed - mixed.mean()) * 3).clamp(-1, 1)


def noise():
    return torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1


def shuffled(image):
    """The image with its 8x8 tiles in another order."""
    tiles = image.unfold(2, 8, 8).unfold(3, 8, 8).reshape(3, 36, 8, 8)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(1))
    return tiles[:, order].reshape(1, 3, 6, 6, 8, 8).permute(0, 1, 2, 4, 3, 5).reshape(1, 3, 48, 48)


def swapped(image):
    """Left and right half exchanged."""
    return torch.cat([image[..., 24:], image[..., :24]], 3)


def under_a_sky(ground, colour):
    """One flat colour in the upper two thirds."""
    return torch.cat([torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 32, 48), ground[..., :16, :]], 2)


def every_patch(x):
    return [x[0, :, i : i + 7, j : j + 7].double() for i in range(x.shape[-2] - 6) for j in range(x.shape[-1] - 6)]


def slow_mean_nearest(a, b):
    others = torch.stack(every_patch(b))
    return float(torch.stack([(others - p).square().mean((1, 2, 3)).min() for p in every_patch(a)]).mean())


def slow_continued(distances):
    """The definition, block by block and place by place."""
    h, w, rows, columns = distances.shape
    least = distances.amin((2, 3))
    near = {
        (i, j): {(y, x) for y in range(rows) for x in range(columns) if distances[i, j, y, x] <= least[i, j] + TIE}
        for i in range(h)
        for j in range(w)
    }
    found = total = 0.0
    for i, j in itertools.product(range(h - 1), range(w - 1)):
        block = [(0, 0), (0, 1), (1, 0), (1, 1)]
        weight = sum(math.log(rows * columns / len(near[i + a, j + b])) for a, b in block)
        total += weight
        if any(all((y + a, x + b) in near[i + a, j + b] for a, b in block) for y, x in near[i, j]):
            found += weight
    return found / total


@pytest.mark.parametrize("offset", [0.0, 0.9])  # far from zero, where squares are large and differences small
def test_squared_distances_are_mean_squared_differences(offset):
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.rand(n, 147, generator=generator) * 0.1 + offset for n in (20, 31))
    keys[3] = queries[5]
    slow = [[float((q.double() - k.double()).square().mean()) for k in keys] for q in queries]
    torch.testing.assert_close(squared_distances(queries, keys), torch.tensor(slow), rtol=1e-4, atol=1e-7)


def test_both_directions_are_the_definition_at_other_sizes():
    sample, image = shuffled(textured(0))[..., 4:25, 3:31] * 0.8, textured(0)[..., :20, :]
    found = bidirectional(sample, image)
    assert found["coherence"] == pytest.approx(slow_mean_nearest(sample, image), rel=1e-4)
    assert found["completeness"] == pytest.approx(slow_mean_nearest(image, sample), rel=1e-4)


def test_a_piece_is_coherent_but_not_complete_and_the_image_beside_noise_the_other_way():
    image = textured(0)
    piece = bidirectional(image[..., :24], image)
    assert piece["coherence"] < 1e-6 < 0.01 < piece["completeness"]
    beside = bidirectional(torch.cat([image, noise()[..., :16]], 3), image)
    assert beside["completeness"] < 1e-6 < 0.01 < beside["coherence"]


@pytest.mark.parametrize("levels", [4, 1000])  # with many ties, with hardly one
def test_continued_is_the_definition(levels):
    drawn = torch.rand(4, 5, 6, 4, generator=torch.Generator().manual_seed(0))
    distances = (drawn * levels).floor() / levels
    for i, j in itertools.product(range(3), range(2)):
        distances[i, j, i + 1, j + 1] = -1.0  # a piece of three by two patches
    assert continued(distances) == pytest.approx(slow_continued(distances))
    assert continued(distances) > 0


def test_copy_orders_made_cases():
    image = textured(0)
    cases = (image, image[..., 5:40, 3:37], swapped(image), shuffled(image), noise())
    same, crop, halves, tiles, far = (bidirectional(x, image)["copy"] for x in cases)
    assert same == crop == 1
    assert 1 > halves > 0.7 > 0.4 > tiles > 0.05
    assert tiles > 2 * far
    assert bidirectional(textured(5), image)["copy"] < 0.1


def test_copy_does_not_depend_on_the_way_pictures_are_turned():
    sample, image = shuffled(textured(0)), textured(0)
    assert bidirectional(sample.flip(2), image.flip(2))["copy"] == pytest.approx(
        bidirectional(sample, image)["copy"], abs=1e-3
    )


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (-0.7, 0.1, 0.9)])  # gray, and saturated
def test_a_flat_sky_copied_is_a_copy_and_one_in_common_is_not(colour):
    image = under_a_sky(textured(0), colour)
    assert bidirectional(image, image)["copy"] == 1
    assert bidirectional(image[..., 3:, 5:], image)["copy"] == 1
    assert bidirectional(under_a_sky(textured(5), colour), image)["copy"] < 0.25


def test_a_flat_sample_copies_nothing_and_a_flat_image_has_no_pieces():
    flat = torch.full((1, 3, 48, 48), 0.5)
    assert bidirectional(flat, textured(0))["copy"] < 0.05
    assert math.isnan(bidirectional(noise(), flat)["copy"])


def test_large_pictures_and_very_small_ones_are_measured():
    large = F.interpolate(textured(0), size=(96, 150), mode="bicubic").clamp(-1, 1)
    assert bidirectional(large, large)["copy"] == 1
    assert bidirectional(textured(0)[..., :5, :20], textured(0)).keys() == {"coherence", "completeness", "copy"}
