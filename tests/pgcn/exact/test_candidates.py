"""The search: kernels against PyTorch, all candidates against the softmax, only known pixels, matches carried up."""

import dataclasses

import pytest
import torch

from pgcn.exact import plain
from pgcn.exact.candidates import Queries, carried, exhaustive, improve
from pgcn.exact.definition import denoised
from pgcn.exact.draw import SPREAD, drawn
from pgcn.exact.field import Field
from pgcn.exact.kernels import mixed
from pgcn.exact.patches import patches_of
from pgcn.exact.settings import DetailSettings
from pgcn.imaging.scales import resize

SMALL = DetailSettings(patch=7, components=12, completeness=0.01, coherence=0.4, random=3)


def picture(seed, height, width, coarse=5):
    generator = torch.Generator().manual_seed(seed)
    return resize(torch.rand(1, 3, coarse, coarse, generator=generator) * 2 - 1, (height, width)).contiguous()


def noisy(x, t, seed=0):
    return (1 - t) * x + t * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def any_field(size, image, top, seed=0):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, image[0] * image[1], (*size, top), generator=generator).int()
    return Field(index, torch.zeros(*size, top))


def in_double(patches):
    """The same in float64, which the compiled kernels do not take."""
    return dataclasses.replace(patches, **{n: getattr(patches, n).double() for n in ("image", "basis", "mean", "keys")})


def test_random_numbers_of_both_paths_are_the_same():
    positions = torch.tensor([0, 1, 77, 2**20, 2**28])
    for seed in (0, 5, 2**32 - 1):
        here = plain.mixed(seed, positions, 3).tolist()
        assert here == [mixed(seed, int(p), 3) for p in positions]
        assert len(set(here)) == len(here)


@pytest.mark.parametrize("wrap", [False, True], ids=["mirrored", "wrapped"])
@pytest.mark.parametrize("known", [False, True], ids=["all", "known"])
def test_compiled_search_finds_what_plain_search_finds(wrap, known):
    image, x = picture(0, 22, 25), picture(1, 19, 28)
    mask = (torch.arange(25) < 14).float().expand(1, 1, 22, 25) if known else None
    patches = patches_of(image, 7, 12, mask)
    fast = any_field((19, 28), (22, 25), 2)
    slow = Field(fast.index.clone(), fast.cost.double())
    y = noisy(x, 0.3)
    least = improve(Queries(patches, y, 0.7, wrap, 200), fast, SMALL, 9, torch.full((550,), 0.01))
    slow_patches = in_double(patches)
    queries = Queries(slow_patches, y.double(), 0.7, wrap, 200)
    slow_least = improve(queries, slow, SMALL, 9, torch.full((550,), 0.01, dtype=torch.float64))
    assert float((fast.index == slow.index).float().mean()) > 0.995  # near ties may be decided by rounding
    torch.testing.assert_close(fast.cost.double(), slow.cost, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(least.double(), slow_least, rtol=1e-3, atol=1e-6)


def test_compiled_drawing_draws_what_plain_drawing_draws():
    patches = patches_of(picture(2, 18, 20), 9, 16)
    field = any_field((17, 21), (18, 20), 3)
    field.cost.copy_(torch.rand(17, 21, 3, generator=torch.Generator().manual_seed(1)).sort(2).values * 0.05)
    settings = DetailSettings(patch=9, band=100)
    slow_field = Field(field.index, field.cost.double())
    for wrap in (False, True):
        fast = drawn(patches, settings, field, 0.5, wrap)
        slow = drawn(in_double(patches), settings, slow_field, 0.5, wrap)
        torch.testing.assert_close(fast.double(), slow, rtol=0, atol=1e-4)  # weights below 1e-4 are left out


@pytest.mark.parametrize("wrap", [False, True], ids=["mirrored", "wrapped"])
def test_bands_change_nothing_of_a_drawing(wrap):
    patches = patches_of(picture(2, 18, 20), 9, 16)
    field = any_field((17, 21), (18, 20), 2)
    field.cost.copy_(torch.rand(17, 21, 2, generator=torch.Generator().manual_seed(1)).sort(2).values * 0.05)
    whole = drawn(patches, DetailSettings(patch=9), field, 0.5, wrap)
    for rows in (1, 2, 5, 16):
        banded = drawn(patches, DetailSettings(patch=9, band=21 * rows), field, 0.5, wrap)
        torch.testing.assert_close(banded, whole, rtol=0, atol=1e-6)


def test_all_candidates_give_the_posterior_mean_of_the_definition():
    image, x, t = picture(3, 12, 13), picture(4, 11, 14), 0.3
    y = noisy(x, t)
    settings = DetailSettings(patch=7, components=3 * 49, top=12 * 13, completeness=torch.inf, coherence=0.0)
    patches = patches_of(image, 7, 3 * 49)
    field = exhaustive(Queries(patches, y, 1 - t, False, 50), settings)
    found = drawn(patches, settings, field, t)
    wanted = denoised(y.double(), image.double(), t, 7, spread=SPREAD)
    inner = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(found.double()[inner], wanted[inner], rtol=0, atol=1e-4)


def test_search_finds_the_image_in_itself_from_random_matches():
    image = picture(5, 40, 44, coarse=16)
    patches = patches_of(image, 7, 24)
    queries = Queries(patches, image, 1.0, False, 2**17)
    settings = dataclasses.replace(SMALL, passes=12, reach=40)
    field = any_field((40, 44), (40, 44), 2)
    improve(queries, field, settings, 0, torch.zeros(40 * 44))
    there = field.index[..., 0].view(-1) == torch.arange(40 * 44)
    assert float(there.float().mean()) > 0.9


def test_matches_are_carried_to_a_larger_scale():
    ids = torch.arange(10 * 12, dtype=torch.int32).view(10, 12, 1)
    below = Field(ids, torch.zeros(10, 12, 1))
    above = carried(below, (10, 12), (20, 24), (20, 24))
    assert torch.equal(above.index[..., 0], torch.arange(20 * 24, dtype=torch.int32).view(20, 24))
    shifted = Field((ids + 2).clamp_max(119), torch.zeros(10, 12, 1))
    rows, columns = carried(shifted, (10, 12), (20, 24), (20, 24)).sources((20, 24))[:, 5, :16]
    assert (rows == 5).all()
    assert torch.equal(columns, torch.arange(16) + 4)


def test_only_known_patches_are_matches():
    image = picture(6, 24, 30)
    known = (torch.arange(30) < 15).float().expand(1, 1, 24, 30)
    patches = patches_of(image, 7, 12, known)
    assert set((patches.allowed % 30).tolist()) == set(range(12))  # the patch's three pixels right of it are known too
    assert torch.equal(patches.snap[patches.allowed], patches.allowed)
    assert int(patches.snap[5 * 30 + 25]) == 5 * 30 + 11
    queries = Queries(patches, image, 1.0, False, 2**17)
    refined = any_field((24, 30), (24, 30), 2)
    improve(queries, refined, SMALL, 0, torch.zeros(720))
    for field in (exhaustive(queries, SMALL), refined):
        assert int((field.index % 30).max()) <= 11


def test_no_known_pixel_is_refused():
    with pytest.raises(ValueError, match="no pixel is known"):
        patches_of(picture(0, 12, 12), 7, 8, torch.zeros(1, 1, 12, 12))
