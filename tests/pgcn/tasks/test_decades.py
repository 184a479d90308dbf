"""Maps in decades: one unit for images, methods and lengths of steps."""

import math
from dataclasses import replace

import pytest
import torch

import pgcn
from pgcn.method import ChainOptions
from pgcn.methods import all_methods, make_settings
from pgcn.tasks.decades import in_decades, map_in_decades, moved
from pgcn.tasks.task import Inputs, find_task

TINY = {"max_size": 20, "min_size": 12, "iterations": 3, "langevin_steps": 2, "step_size": 0.2}
SIZE = 16, 20


def image(seed=0):
    spots = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(spots, size=SIZE, mode="bicubic").clamp(-1, 1)


def foreign():
    """The image with a square of noise, and its mask."""
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., 5:11, 7:13] = 1
    noise = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(9)) * 1.6 - 0.8
    return torch.where(mask > 0, noise, image()), mask


@pytest.mark.parametrize("method", list(all_methods()))
def test_the_trained_images_own_distribution_is_the_unit_for_every_method(method):
    more = {"scales": 2, "recovery_steps": 2, "noise_iterations": 2, "pool_size": 4} if method == "patchgencn" else {}
    model = pgcn.fit(image(), settings=make_settings("draft", {**TINY, **more}, method))
    there, own = map_in_decades(model, foreign()[0], image())
    assert there.shape == own.shape == (1, 1, *model.sizes[model.learned - 1])
    assert float(own.median()) == pytest.approx(math.log10(2), abs=0.03)
    assert float(own.quantile(0.9)) == pytest.approx(1, abs=0.06)
    assert there.isfinite().all() and float(there.min()) >= 0
    made = model.apply("energy", image(), target=foreign()[0], mask=foreign()[1])
    assert (made.values.unit, made.values.name) == ("decades", "decades")
    assert made.values.values.shape == (1, 1, *SIZE)
    assert made.metrics["decades"] == pytest.approx(float(there.mean()))
    assert made.metrics["decades_own"] == pytest.approx(float(own.mean()))
    assert 0 <= made.metrics["auroc_decades"] <= 1


def test_the_unit_does_not_depend_on_that_of_the_scores():
    generator = torch.Generator().manual_seed(0)
    own = [torch.rand(1, 1, *size, generator=generator) ** 2 for size in ((12, 14), (20, 24))]
    there = [torch.rand(1, 1, *size, generator=generator) * 2 for size in ((12, 15), (20, 25))]
    plain = in_decades(there, own)
    other = in_decades([5 * there[0] - 3, 0.1 * there[1] + 1], [5 * own[0] - 3, 0.1 * own[1] + 1])
    for a, b in zip(plain, other, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)
    assert plain[0].shape == (1, 1, 20, 25)
    assert float(plain[0].mean()) > 1.5 * float(plain[1].mean())


def test_one_scale_has_the_decades_of_its_exponential_tail():
    own = [torch.empty(1, 1, 200, 200).exponential_(generator=torch.Generator().manual_seed(0))]
    there, _ = in_decades([torch.tensor([math.log(1e4), math.log(10)]).view(1, 1, 1, 2)], own)
    torch.testing.assert_close(there[0, 0, 0], torch.tensor([4.0, 1.0]), atol=0.1, rtol=0)


def test_each_scale_counts_in_its_own_unit():
    """An image that is wholly unlike at the scale of small scores alone is far out in the trained image's unit."""
    generator = torch.Generator().manual_seed(0)
    own = [scale * torch.empty(1, 1, 40, 40).exponential_(generator=generator) for scale in (1000.0, 0.001)]
    there, usual = in_decades([own[0].flip(3), 20 * own[1]], own)
    assert float(there.median()) > 5 * float(usual.median())


def test_an_image_of_one_colour_has_finite_decades():
    flat = [torch.full((1, 1, 12, 12), -1000.0)]
    there, own = in_decades([torch.full((1, 1, 12, 12), -1000.0) + 1e-4], flat)
    assert there.isfinite().all() and own.isfinite().all()
    assert float(there.max()) < 10, "rounding is no anomaly"


def test_what_is_unlike_the_image_is_above_its_usual_values():
    model = pgcn.fit(image(), settings=make_settings("draft", {**TINY, "iterations": 25}, "convnet"))
    other, mask = foreign()
    made = model.apply("energy", image(), target=other, mask=mask)
    assert made.metrics["auroc_decades"] > 0.65
    assert made.metrics["decades"] > made.metrics["decades_own"]
    end = model.refine(other, model.learned - 1, ChainOptions(steps=3, noise_std=0.0))
    torch.testing.assert_close(moved(model, other, model.learned - 1, 3), (end - other).square().mean(1, keepdim=True))
    unknown = find_task("energy")(model, replace(Inputs(image(), target=other), unknown=mask))
    assert torch.equal(unknown.values.values.isnan(), mask > 0)
