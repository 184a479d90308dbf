"""Masks, tiles, sizes, colours, measures and the choice of a start scale: what tasks are made of."""

import itertools

import pytest
import torch
import torch.nn.functional as F

import pgcn
from pgcn.imaging import colours, holes, masks, tiles
from pgcn.imaging.scales import resize
from pgcn.method import ChainOptions
from pgcn.metrics import pictures as measures
from pgcn.tasks import enlarge
from pgcn.tasks.chains import working_size
from pgcn.tasks.choose import choose
from pgcn.tasks.task import Injected


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def box(height, width, top, left, tall, wide):
    mask = torch.zeros(1, 1, height, width)
    mask[..., top : top + tall, left : left + wide] = 1
    return mask


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (1, 3, 6, 8)])
def test_masks_of_any_shape_become_one(shape):
    mask = torch.zeros(shape)
    mask[..., 2:4, 3:5] = 0.9
    assert torch.equal(masks.check_mask(mask), box(6, 8, 2, 3, 2, 2))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(1, 1, 5, 5), "chooses nothing"),
        (torch.ones(1, 1, 5, 5), "chooses everything"),
        (torch.full((1, 1, 5, 5), 2.0), r"in \[0, 1\]"),
        (torch.full((1, 1, 5, 5), float("nan")), r"in \[0, 1\]"),
        (torch.ones(2, 1, 5, 5), "a mask is a tensor"),
    ],
)
def test_what_is_no_mask_is_said(mask, words):
    with pytest.raises(ValueError, match=words):
        masks.check_mask(mask)


def test_fitting_a_mask_loses_nothing_on_the_way_down():
    small = masks.fit(box(100, 100, 40, 40, 1, 1), (10, 10))
    assert torch.equal(small, box(10, 10, 4, 4, 1, 1))
    up = masks.fit(box(10, 10, 4, 4, 2, 2), (40, 40))
    wrong = (up - box(40, 40, 16, 16, 8, 8)).abs()
    assert float(wrong.sum()) <= 4, "corners alone are rounded"


def test_the_difference_finds_what_was_pasted_and_not_what_jpeg_does():
    image = noise(1, 3, 40, 50) * 0.5
    changed = image + 0.03 * noise(1, 3, 40, 50, seed=1)
    changed[..., 10:20, 15:30] += 0.4
    assert torch.equal(masks.difference(changed, image), box(40, 50, 10, 15, 10, 15))


@pytest.mark.parametrize("rim", [0, 1, 2, 3, 4, 7, 12])
def test_weights_are_one_on_the_mask_and_zero_beyond_the_rim(rim):
    mask = box(60, 60, 25, 25, 8, 8)
    weights = masks.soft(mask, rim)
    torch.testing.assert_close(weights[mask > 0], torch.ones(64))
    assert float((weights * (1 - masks.grow(mask, rim))).max()) == 0
    if rim >= 4:
        assert 0 < float(weights[0, 0, 25 - rim, 28]) < 0.5


def test_a_blend_keeps_what_it_was_given_to_the_bit():
    made, given = noise(1, 3, 9, 9), noise(1, 3, 9, 9, seed=1)
    weights = box(9, 9, 3, 3, 3, 3) * 0.5
    result = masks.blend(made, given, weights)
    assert torch.equal(result[..., :3, :], given[..., :3, :])
    torch.testing.assert_close(result[..., 4, 4], (made + given)[..., 4, 4] / 2)


# Tiles and sizes.


@pytest.mark.parametrize("length", [10, 64, 65, 100, 200, 1000])
def test_pieces_cover_a_side_and_overlap(length):
    pieces = tiles.spans(length, tile=64, overlap=16)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == length
    assert all(end - start <= 64 for start, end in pieces)
    assert all(b[0] <= a[1] - 16 for a, b in itertools.pairwise(pieces))


def test_tiles_that_change_nothing_give_the_picture_and_are_never_large():
    x = noise(1, 3, 150, 90)
    seen = []

    def work(tile, where):
        assert torch.equal(tile, x[..., where[0], where[1]])
        seen.append(tile.shape[-2:])
        return tile

    torch.testing.assert_close(tiles.tiled(x, work, tile=64, overlap=16), x)
    assert len(seen) == 6
    assert max(max(shape) for shape in seen) == 64


def test_a_chain_in_tiles_is_nearly_the_chain_on_the_whole():
    pyramid, image = pgcn.example()
    x = resize(image, (60, 72))

    def work(tile, where=None):
        return pyramid.refine(tile, 1, ChainOptions(steps=2))

    whole, pieces = work(x), tiles.tiled(x, work, tile=44, overlap=24)
    assert float((whole - x).abs().max()) > 1e-3, "the chain moves"
    torch.testing.assert_close(pieces[..., 10:-10, 10:-10], whole[..., 10:-10, 10:-10], atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("end", "count"), [((40, 60), 2), ((41, 59), 2), ((20, 30), 0), ((10, 15), 0), ((200, 300), 6)]
)
def test_steps_up_are_even_and_end_exactly(end, count):
    sizes = enlarge.sizes_up((20, 30), end, 1.5)
    assert len(sizes) == count
    if count:
        assert sizes[-1] == end
        grown = [(20, 30), *sizes]
        assert max(b[0] / a[0] for a, b in itertools.pairwise(grown)) < 1.56


def test_back_projection_gives_the_known_again():
    known, x = noise(1, 3, 20, 24) * 0.6, noise(1, 3, 60, 72, seed=1) * 0.6
    before = float((resize(x, (20, 24)) - known).abs().mean())
    after = float((resize(enlarge.back_projected(x, known), (20, 24)) - known).abs().mean())
    assert after < 0.03 * before


def test_a_picture_of_the_images_own_shape_has_the_trained_size():
    pyramid, image = pgcn.example()
    assert working_size(image, pyramid) == (20, 24)
    assert working_size(noise(1, 3, 199, 240), pyramid) == (20, 24)
    assert working_size(noise(1, 3, 240, 120), pyramid) == (24, 12)


# Holes.


def test_a_hole_is_filled_smoothly_and_what_is_known_stays():
    ramp = torch.linspace(-1, 1, 40).expand(1, 3, 30, 40).clone()
    mask = box(30, 40, 8, 10, 12, 16)
    torn = torch.where(mask > 0, torch.full_like(ramp, 0.9), ramp)
    whole = holes.filled(torn, mask)
    assert torch.equal(whole * (1 - mask), ramp * (1 - mask))
    assert float((whole - ramp).abs().max()) < 0.35
    assert torch.equal(whole, holes.filled(torch.where(mask > 0, torch.zeros_like(ramp), ramp), mask)), (
        "it looks inside"
    )


def test_a_scratch_across_a_bow_is_filled_along_the_bow():
    """The least bent surface continues a parabola, which averages of what is around would flatten."""
    bow = (torch.linspace(-1, 1, 41) ** 2 - 0.5).expand(1, 3, 30, 41).clone()
    mask = box(30, 41, 0, 18, 30, 4)
    torn = torch.where(mask > 0, torch.zeros_like(bow), bow)
    torch.testing.assert_close(holes.filled(torn, mask), bow, atol=0.003, rtol=0)
    assert float((holes.push_pull(torn, mask) - bow).abs().max()) > 0.01
    assert not holes.is_thin(box(30, 41, 8, 8, 9, 9))


def test_scattered_holes_close_at_coarse_sizes_and_large_ones_do_not():
    pepper = (torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0)) < 0.6).float()
    assert holes.hole_at(pepper, (10, 10)).mean() < 0.1
    assert torch.equal(holes.hole_at(box(40, 40, 8, 8, 16, 16), (10, 10))[..., 3:5, 3:5], torch.ones(1, 1, 2, 2))


# Colours.


def test_a_palette_has_the_colours_that_are_there():
    image = torch.full((1, 3, 10, 10), -0.5)
    image[..., :5, :] = 0.5
    found = colours.palette(image, 2)
    torch.testing.assert_close(found.sort(0).values, torch.tensor([[-0.5] * 3, [0.5] * 3]))
    assert torch.equal(colours.in_palette(image + 0.1, found), image)


def test_colours_are_brought_to_anothers_mean_and_covariance():
    a, b = noise(1, 3, 30, 30) * 0.2, noise(1, 3, 40, 20, seed=1) * torch.tensor([0.5, 0.2, 0.1]).view(1, 3, 1, 1)
    b = b + 0.3 * b.flip(1)
    moved = colours.with_moments(a, b)[0].flatten(1)
    torch.testing.assert_close(moved.mean(1), b[0].flatten(1).mean(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(moved), torch.cov(b[0].flatten(1)), atol=1e-3, rtol=0)


# Measures.


def test_psnr_and_rmse_are_those_of_their_formulas():
    a = torch.zeros(1, 3, 8, 8)
    assert measures.psnr(a, a) == 99
    assert measures.rmse(a, a + 2 / 255) == pytest.approx(1, rel=1e-4)
    assert measures.psnr(a, a + 2 / 255) == pytest.approx(48.13, abs=0.01)
    assert measures.rmse(a, a + box(8, 8, 0, 0, 4, 8), box(8, 8, 0, 0, 4, 8)) == pytest.approx(127.5)


def test_ssim_is_one_for_equal_pictures_and_less_for_others():
    a = noise(1, 3, 24, 24)
    assert measures.ssim(a, a) == pytest.approx(1)
    assert measures.ssim(a, noise(1, 3, 24, 24, seed=1)) < 0.3
    skimage = pytest.importorskip("skimage.metrics")
    b = (a + 0.3 * noise(1, 3, 24, 24, seed=1)).clamp(-1, 1)
    x, y = ((measures.gray(image)[0, 0].numpy() + 1) / 2 for image in (a, b))
    wanted = skimage.structural_similarity(
        x, y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert measures.ssim(a, b) == pytest.approx(wanted, abs=2e-3)


def test_auroc_is_the_share_of_pairs_in_order():
    assert measures.auroc(torch.tensor([2.0, 3]), torch.tensor([0.0, 1])) == 1
    assert measures.auroc(torch.tensor([1.0, 1]), torch.tensor([1.0])) == 0.5
    assert measures.auroc(torch.tensor([0.0, 3]), torch.tensor([1.0, 2])) == 0.5


def test_a_seam_is_an_edge_like_others_in_one_texture_and_more_around_a_patch():
    image, mask = noise(1, 3, 40, 40), box(40, 40, 10, 10, 20, 20)
    assert measures.seam_gradient(image, mask) == pytest.approx(1, abs=0.1)
    assert measures.seam_gradient(image * 0.1 + mask, mask) > 3


def test_colours_of_a_piece_of_the_scene_are_near_and_layouts_ignore_brightness():
    image = noise(1, 3, 40, 40) * torch.tensor([0.9, 0.3, 0.1]).view(1, 3, 1, 1)
    mask = box(40, 40, 10, 10, 20, 20)
    assert measures.colour_distance(image, mask, image) < 0.05
    assert measures.colour_distance(image.flip(1) + 0.2, mask, image) > 0.4
    assert measures.layout_error(image * 0.5 + 0.2, image) == pytest.approx(0, abs=1e-4)
    assert measures.layout_error(-image, image) == pytest.approx(2, abs=1e-3)
    assert measures.structure_error(image, image) == pytest.approx(0, abs=1e-4)
    assert measures.structure_error(F.avg_pool2d(noise(1, 3, 40, 40, seed=3), 3, 1, 1), image) > 0.7


# The choice of a start scale.


def test_the_scale_is_chosen_that_is_like_the_image_and_true_to_what_was_put_in():
    pyramid, _ = pgcn.example()
    made = {0: torch.zeros(1, 3, 4, 4), 1: torch.ones(1, 3, 4, 4)}

    def chosen(unlike, astray, **options):
        at = {id(picture): scale for scale, picture in made.items()}
        return choose(
            pyramid,
            Injected(**options),
            lambda scale, _: made[scale],
            style_distance=lambda x: unlike[at[id(x)]],
            content_distance=lambda x: astray[at[id(x)]],
            baseline=lambda _: 2.0,
        )

    assert chosen([1.0, 1.9], [0.4, 0.0]).best.scale == 0
    assert chosen([1.0, 1.9], [0.6, 0.0]).best.scale == 1
    only = chosen([1.0, 1.9], [0.4, 0.0], start_scale=1)
    assert [one.scale for one in only.tried] == [1]
    assert only.sheet() == {}
    swept = chosen([1.0, 1.9], [0.4, 0.0], start_scale=1, sweep=True)
    assert swept.best.scale == 1
    assert swept.sheet()["sweep"].shape == (2, 3, 4, 4)
