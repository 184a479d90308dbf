"""Translation: chains that start at another image, what they change, and its map."""

import pytest
import torch

import pgcn
from pgcn.imaging.scales import resize
from pgcn.method import ChainOptions
from pgcn.tasks.enlarge import resize_free
from pgcn.tasks.task import Inputs, find_task
from pgcn.tasks.translate import LEVELS, Recorder, TranslateOptions, translated
from tests.pgcn.tasks.test_exact_scales import SETTINGS, stripes


@pytest.fixture(scope="module")
def pyramid():
    """Two learned scales and two exact ones."""
    return pgcn.fit(stripes(), settings=pgcn.make_settings("draft", SETTINGS))


def spotted():
    """The stripes with a square of noise, and its mask."""
    image, mask = stripes(), torch.zeros(1, 1, 48, 64)
    mask[..., 12:36, 24:48] = 1
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(5)) * 2 - 1
    return torch.where(mask > 0, noise, image), mask


def test_at_one_learned_scale_it_is_a_chain_from_the_target_itself():
    pyramid, image = pgcn.example()
    other, states = image.flip(-1), []

    def kept(state):
        states.append(state)
        return state

    options = ChainOptions(steps=4, noise_std=0.0, after=kept)
    end = pyramid.refine(other, 1, options)
    made = pyramid.apply("translate", image, target=other, steps=4)
    assert made.metrics["start_scale"] == 1 == pyramid.learned - 1
    assert torch.equal(made.result, end)
    moves = [(b - a).abs().mean(1, keepdim=True) for a, b in zip([other, *states], states, strict=False)]
    assert len(moves) == 4
    torch.testing.assert_close(made.values.values, LEVELS * sum(moves))


def test_the_change_of_a_scale_is_carried_to_the_next_one_with_the_targets_own_detail(pyramid):
    other = spotted()[0]
    options = TranslateOptions(steps=3, detail_steps=0)
    end, saliency = translated(pyramid, other, 1, pyramid.sizes, options)
    at = pyramid.sizes[1]
    small = resize(other, at)
    change = pyramid.refine(small, 1, ChainOptions(steps=3, noise_std=0.0)) - small
    middle = (resize(other, pyramid.sizes[2]) + resize_free(change, pyramid.sizes[2])).clamp(-1, 1)
    expected = (other + resize_free(middle - resize(other, pyramid.sizes[2]), pyramid.sizes[3])).clamp(-1, 1)
    torch.testing.assert_close(end, expected)
    assert saliency.shape == (1, 1, 48, 64)
    assert float(saliency.mean()) > 0


def test_saliency_is_highest_on_what_is_unlike_the_image(pyramid):
    other, mask = spotted()
    made = pyramid.apply("translate", stripes(), target=other, mask=mask, detail_steps=1)
    assert made.metrics["area_of_mask"] == pytest.approx(float(mask.mean()))
    assert made.metrics["saliency_in_mask"] > 1.5 * made.metrics["area_of_mask"]
    share = float((made.values.values * mask).sum() / made.values.values.sum())
    assert made.metrics["saliency_in_mask"] == pytest.approx(share, rel=1e-4)
    assert made.metrics["patch_swd"] < made.metrics["patch_swd_content"]
    assert (made.values.name, made.values.unit) == ("saliency", "levels")
    assert made.images["saliency"].shape == made.result.shape


def test_the_start_scale_is_a_choice_and_the_result_has_the_targets_size(pyramid):
    other = resize(spotted()[0], (72, 96))
    made = pyramid.apply("translate", stripes(), target=other, sweep=True)
    assert made.metrics["start_scale"] == 1
    assert made.result.shape == (1, 3, 72, 96)
    assert made.values.values.shape == (1, 1, 72, 96)
    assert len(made.images["sweep"]) == 4
    free, near = (pyramid.apply("translate", stripes(), target=other, start_scale=s).metrics for s in (0, 3))
    assert near["saliency"] < free["saliency"]
    small = pyramid.apply("translate", stripes(), target=other, full_size=False)
    assert small.result.shape[2:] == small.values.values.shape[2:] == (48, 64)
    with pytest.raises(ValueError, match="start_scale is 0 to 3"):
        pyramid.apply("translate", stripes(), target=other, start_scale=4)


def test_pixels_without_data_have_no_saliency(pyramid):
    other, mask = spotted()
    made = find_task("translate")(pyramid, Inputs(stripes(), other, unknown=mask))
    assert torch.equal(made.values.values.isnan(), mask > 0)
    assert made.metrics["saliency"] > 0


def test_a_recorder_adds_up_moves_and_returns_the_state():
    record = Recorder.at(torch.zeros(1, 2, 1, 1))
    for value in (1.0, 0.5):
        state = torch.full((1, 2, 1, 1), value)
        assert record(state) is state
    assert float(record.moved) == 1.5
