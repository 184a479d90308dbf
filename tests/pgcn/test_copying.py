"""Pieces of one shift: on closed cases, and against a slow plain version."""

import math

import pytest
import torch

from pgcn.metrics.copying import copying, half_pixel_distance, nearest_set, pieces, position_area, shifts
from pgcn.metrics.nearest_patches import TIE


def noise(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def swapped(image):
    middle = image.shape[3] // 2
    return torch.cat([image[..., middle:], image[..., :middle]], 3)


def flooded(shift):
    """The size of every position's piece, by flood fill."""
    h, w = shift.shape[:2]
    sizes = torch.zeros(h, w, dtype=torch.long)
    for start in ((i, j) for i in range(h) for j in range(w)):
        seen, waiting = {start}, [start]
        while waiting:
            i, j = waiting.pop()
            for y, x in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if 0 <= y < h and 0 <= x < w and (y, x) not in seen and torch.equal(shift[y, x], shift[start]):
                    seen.add((y, x))
                    waiting.append((y, x))
        sizes[start] = len(seen)
    return sizes


def test_pieces_are_those_of_a_flood_fill():
    shift = torch.randint(0, 2, (14, 11, 2), generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 0])
    shift[3:9, 4] = 5  # a winding piece
    shift[8, 4:10] = 5
    shift[2:9, 9] = 5
    label = pieces(shift)
    assert torch.equal(label.flatten().bincount(minlength=label.numel())[label], flooded(shift))


def test_the_nearest_set_is_its_definition():
    image, sample = noise(12, 13), noise(11, 12, seed=1)
    image[..., :8, :8] = image[..., :8, :8].mean()
    sample[..., 2:10, 3:12] = image[..., 1:9, 2:11]

    def patches(x):
        return [x[0, :, i : i + 7, j : j + 7].double() for i in range(x.shape[2] - 6) for j in range(x.shape[3] - 6)]

    keys, half = torch.stack(patches(image)), half_pixel_distance(image).double()
    slow = []
    for patch in patches(sample):
        distances = (keys - patch).square().mean((1, 2, 3))
        slow.append(distances <= torch.maximum(distances.min() + TIE, half))
    assert torch.equal(nearest_set(sample, image), torch.stack(slow))


def test_half_a_pixel_of_a_ramp_is_known():
    """A slope a along x and b along y differs from itself, moved by half a pixel both ways, by (a² + b²) / 4."""
    a, b = 0.02, 0.01
    ramp = (torch.arange(20.0) * a + torch.arange(16.0)[:, None] * b).expand(1, 3, -1, -1)
    expected = torch.full((9 * 13,), (a**2 + b**2) / 4)
    inner = half_pixel_distance(ramp).view(10, 14)[:9, :13].flatten()
    torch.testing.assert_close(inner, expected, rtol=1e-3, atol=1e-8)


def test_the_image_is_one_piece_in_place_and_a_crop_one_piece_elsewhere():
    image = noise(40, 44)
    assert copying(image, image) == {"largest_piece": 1, "mean_piece": 1, "in_place": 1}
    found = copying(image[..., 5:35, 6:40], image)
    assert found == {"largest_piece": pytest.approx(1), "mean_piece": pytest.approx(1), "in_place": 0}


def test_two_halves_are_two_pieces_of_known_area():
    image = noise(40, 46)
    found = copying(swapped(image), image)
    half = (23 - 6) / (46 - 6)  # positions whose patch does not cross the seam
    assert found["largest_piece"] == pytest.approx(half, abs=0.01)
    assert found["mean_piece"] == pytest.approx(2 * half**2, abs=0.01)
    assert found["in_place"] < 0.01


@pytest.mark.parametrize("change", [lambda x: x.flip(3), lambda x: noise(40, 44, seed=9)])
def test_a_mirrored_image_and_noise_have_no_large_piece(change):
    image = noise(40, 44)
    found = copying(change(image), image)
    assert found["largest_piece"] < 0.03
    assert found["in_place"] < 0.03


def test_a_piece_goes_on_over_a_flat_area():
    """Flat patches are near to all that are flat: they take the shift of what stands around them."""
    image = noise(30, 60)
    image[..., 22:40] = 0.25
    moved = image[..., 4:]
    near = nearest_set(moved, image).view(24, 50, 24, 54)
    found = shifts(near)
    assert torch.equal(found, torch.tensor([0, 4]).expand(24, 50, 2))
    area = position_area(near)
    assert float(area[:, 20:28].max()) < 0.5 < float(area[:, 40:].min())


def test_a_flat_area_in_common_is_hardly_a_copy():
    image, other = noise(40, 44), noise(40, 44, seed=3)
    image[..., :26, :] = other[..., :26, :] = 0.5
    assert copying(other, image)["in_place"] < 0.2


def test_an_image_moved_by_half_a_pixel_has_large_pieces_in_place():
    """The worst case, where four shifts are equally near: without the half-pixel distance the largest is 0.18."""
    smooth = torch.nn.functional.interpolate(noise(10, 10), size=(80, 80), mode="bicubic").clamp(-1, 1)
    image, moved = (torch.nn.functional.avg_pool2d(smooth[..., i : i + 78, i : i + 78], 2) for i in (0, 1))
    found = copying(moved, image)
    assert found["largest_piece"] > 0.4
    assert found["in_place"] > 0.9


def test_one_colour_has_no_pieces_and_a_flat_sample_is_no_copy():
    flat = torch.full((1, 3, 40, 44), 0.3)
    assert all(math.isnan(value) for value in copying(noise(40, 44), flat).values())
    assert copying(flat, noise(40, 44))["largest_piece"] < 0.1
