"""Layouts of learned chains drawn again at their own size, before exact detail."""

import dataclasses
from pathlib import Path

import pytest
import torch

import pgcn
from pgcn.exact.definition import log_density
from pgcn.exact.draw import drawn, noise_scale
from pgcn.exact.field import Field
from pgcn.exact.patches import patches_of
from pgcn.exact.scales import ExactScales
from pgcn.exact.settings import DetailSettings
from pgcn.imaging.noise import normal_each, seeded
from pgcn.imaging.scales import resize
from pgcn.method import ChainOptions
from pgcn.settings import SettingsError, make_settings
from tests.pgcn.exact.test_cascade import picture

EXAMPLES = Path(__file__).parents[3] / "examples" / "images"

LAYOUT = (16, 20)
SETTINGS = DetailSettings(patch=7, components=16, layout_patch=9)


def scales(settings=SETTINGS):
    image = picture(0).add(1).mul(127.5).round().to(torch.uint8)
    return ExactScales(image, None, [(32, 40), (64, 80)], settings)


@pytest.fixture(scope="module")
def broken():
    """Layouts of the image with a piece from elsewhere in the middle, so that no patch there fits."""
    own = resize(picture(0), LAYOUT).repeat(2, 1, 1, 1)
    own[:, :, 5:11, 6:13] = own[:, :, 9:15, 0:7].flip(3)
    return own


def options(*seeds, **more):
    return ChainOptions(draw=normal_each([torch.Generator().manual_seed(seed) for seed in seeds]), **more)


def test_settled_layout_is_nearer_to_the_image(broken):
    own = resize(picture(0), LAYOUT)
    settled = scales().settled(broken, LAYOUT, options(0, 1))
    assert settled.shape == broken.shape
    before, after = (float(log_density(x[:1], own, 0.1, 9).mean()) for x in (broken, settled))
    assert after > 0.6 * before  # both negative: at 0 every patch is one of the image
    assert float((settled - broken).abs().mean()) > 0.02


def test_a_layout_depends_on_its_own_start_and_noise(broken):
    noisy = scales(dataclasses.replace(SETTINGS, layout_noise=0.9, layout_steps=2))
    both = noisy.settled(broken, LAYOUT, options(3, 4))
    second = noisy.settled(broken[1:], LAYOUT, options(4))
    assert torch.equal(both[1:], second)
    assert not torch.equal(both[:1], both[1:])


@pytest.mark.parametrize("more", [{"steps": 2}, {"last": 1}, {"frames": True}])
def test_frames_and_chains_with_steps_of_their_own_keep_their_layout(broken, more):
    assert scales().settled(broken, LAYOUT, options(0, 1, **more)) is broken


def test_without_a_layout_patch_nothing_is_drawn(broken):
    numbers = options(0, 1)
    plain = scales(dataclasses.replace(SETTINGS, layout_patch=0))
    assert plain.settled(broken, LAYOUT, numbers) is broken
    fresh = normal_each([torch.Generator().manual_seed(seed) for seed in (0, 1)])
    like = torch.zeros(2, 1, 1, 1)
    assert torch.equal(numbers.draw(like), fresh(like))  # no random number is used either


def test_known_pixels_stay(broken):
    mask = torch.zeros(1, 1, *LAYOUT)
    mask[..., :8, :] = 1
    target = resize(picture(0), LAYOUT)
    settled = scales().settled(broken[:1], LAYOUT, options(0), lambda x: x + mask * (target - x))
    assert torch.allclose(settled[..., :8, :], target[..., :8, :].clamp(-1, 1), atol=1e-5)
    assert float((settled - broken[:1])[..., 8:, :].abs().mean()) > 0.01


def test_layouts_of_other_sizes_and_tori(broken):
    wide = resize(broken[:1], (16, 47))
    for wrap in (False, True):
        settled = scales().settled(wide, LAYOUT, ChainOptions(draw=normal_each(seeded(0, 1)), wrap=wrap))
        assert settled.shape == wide.shape
        assert bool(settled.isfinite().all())


@pytest.mark.parametrize("value", [5, 8, 14])
def test_a_patch_is_odd_and_not_too_small(value):
    with pytest.raises(SettingsError, match="layout_patch"):
        make_settings("draft", {"layout_patch": value})
    with pytest.raises(ValueError, match="layout_patch"):
        DetailSettings(layout_patch=value)


def test_gray_as_one_channel_is_drawn_as_gray_in_three():
    """Costs are means over values, so equal costs must weigh the same, whatever the number of channels."""
    gray = picture(0).mean(1, keepdim=True)
    index = torch.randint(0, 64 * 80, (20, 24, 2), generator=torch.Generator().manual_seed(1)).int()
    cost = torch.rand(20, 24, 2, generator=torch.Generator().manual_seed(2)).sort(2).values * 0.01
    one, three = (
        drawn(patches_of(gray.repeat(1, count, 1, 1), 7, 16), SETTINGS, Field(index, cost), 0.6) for count in (1, 3)
    )
    torch.testing.assert_close(one.expand(-1, 3, -1, -1), three)
    assert noise_scale(3) == 1
    assert noise_scale(1) == pytest.approx(3**-0.5)


def test_an_enlarged_wall_has_fewer_joints_in_its_bricks():
    """Patches of joints fit nowhere there: completeness would prefer them, and triple the error of bicubic."""
    wall = pgcn.read_image(EXAMPLES / "01-bricks.jpg").tensor.expand(-1, 3, -1, -1)
    large, small = resize(wall, (96, 124)), resize(wall, (48, 62))
    exact = ExactScales(small.add(1).mul(127.5).round().to(torch.uint8), None, [(24, 31), (48, 62)], DetailSettings())
    start, numbers = resize(small, (96, 124)), ChainOptions(draw=normal_each(seeded(0, 1)))
    drawn = exact.refine(start, 1, (48, 62), numbers)
    assert float((drawn - large).square().mean()) < 2.7 * float((start - large).square().mean())
    assert float((drawn - start).abs().mean()) > 0.005, "and there is detail"
