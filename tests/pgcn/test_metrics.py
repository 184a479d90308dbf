"""Measures on made cases, and against slow plain implementations."""

import math

import pytest
import torch

from pgcn.metrics import (
    bidirectional,
    copy_share,
    diversity,
    nearest_patches,
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


def test_copy_share_orders_made_cases(image):
    same = copy_share(image, image)
    crop = copy_share(image[..., 5:40, 3:37], image)
    tiles = copy_share(shuffled(image), image)
    assert same == crop == pytest.approx(1)
    assert 0.02 < tiles < 0.7
    assert copy_share(noise(), image) < tiles


def test_a_flat_sky_is_no_copy_and_hides_none(image):
    """Every shift continues a flat area: it must not count, and its ties must not hide a copy."""
    sky = image.clone()
    sky[:, :, :24] = 0.5
    other = noise()
    other[:, :, :24] = 0.5
    assert copy_share(sky, sky) == copy_share(sky[..., 3:37], sky) == pytest.approx(1)
    assert copy_share(other, sky) < 0.4
    assert copy_share(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 30, 30)) == 1


def test_two_halves_swapped_are_a_copy_but_for_the_seam(image):
    swapped = torch.cat([image[..., 24:], image[..., :24]], 3)
    assert 0.8 < copy_share(swapped, image) < 1


def test_nearest_patches_against_a_slow_search(image):
    queries, keys = patches(shuffled(image)[..., :12, :14]), patches(image)
    distances, indices = nearest_patches(queries, keys, chunk=7)
    for at in (0, 13, 47):
        slow = [float((key - queries[at]).square().sum()) for key in keys]
        assert int(indices[at]) == min(range(len(keys)), key=slow.__getitem__)
        assert float(distances[at]) == pytest.approx(min(slow), abs=1e-3)


def test_bidirectional_distances_against_their_definition(image):
    sample = noise()[..., :11, :13]
    piece = image[..., :14, :12]
    found = bidirectional(sample, piece)
    p, q = patches(sample), patches(piece)
    table = [[float((a - b).square().mean()) for b in q] for a in p]
    assert found["coherence"] == pytest.approx(sum(min(row) for row in table) / len(p), rel=1e-4)
    columns = list(zip(*table, strict=True))
    assert found["completeness"] == pytest.approx(sum(min(column) for column in columns) / len(q), rel=1e-4)
    assert found["copy"] == copy_share(sample, piece)


def test_a_crop_is_coherent_but_not_complete(image):
    found = bidirectional(image[..., :20, :20], image)
    assert found["coherence"] == pytest.approx(0, abs=1e-5)
    assert found["completeness"] > 0.01


def test_diversity(image):
    assert diversity(image.repeat(4, 1, 1, 1), image) == 0
    spread = torch.cat([image.roll(shift, 3) for shift in range(0, 48, 6)])
    assert 0.5 < diversity(spread, image) < 1.5
    assert math.isnan(diversity(image, image))
