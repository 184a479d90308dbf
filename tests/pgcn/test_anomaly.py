"""Maps of an image by itself: what is planted in it stands out, and no position explains itself."""

import math
from itertools import pairwise

import pytest
import torch

from pgcn.anomaly import CrossFit, Tail, cross_fitted, patch_bank, regions_of
from pgcn.anomaly.crossfit import folds, scale_energies
from pgcn.anomaly.regions import components
from pgcn.exact.patches import patches_of
from pgcn.metrics.localization import aupro, localization
from pgcn.pyramid import Pyramid
from pgcn.settings import make_settings
from pgcn.tasks.task import Inputs, TaskError, find_task

SMALL = CrossFit(scales=1, patch=5)


def waves(channels=3, height=40, width=48):
    """A smooth texture with a little noise."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    texture = 0.4 * torch.sin(x * 0.9) + 0.3 * torch.sin(y * 0.7 + x * 0.2)
    noise = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    return (texture + 0.05 * noise).clamp(-1, 1)


def scratched(image, rows=slice(12, 26), columns=slice(20, 22)):
    changed, mask = image.clone(), torch.zeros(1, 1, *image.shape[2:])
    changed[..., rows, columns] += 0.5
    mask[..., rows, columns] = 1
    return changed.clamp(-1, 1), mask


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_planted_scratch_has_the_highest_values(channels):
    image, mask = scratched(waves(channels))
    found = cross_fitted(image, settings=SMALL)[0, 0]
    (region, *_) = regions_of(found, 5.0)
    assert mask[0, 0, region.peak_y, region.peak_x] == 1
    assert localization([found], [mask[0, 0].long() - 1])["pixel_auroc"] > 0.95
    assert found.max() > 2 * cross_fitted(waves(channels), settings=SMALL).max(), "no position of the clean image"


@pytest.mark.parametrize("size", [(3, 4), (9, 40), (40, 48)])
def test_every_position_is_scored_once_in_each_board_and_finite(size):
    made = folds(size, 14)
    assert torch.equal(sum(fold.scored.int() for fold in made), torch.full(size, 2, dtype=torch.int32))
    assert all((fold.weight > 0).all() for fold in made)
    found = cross_fitted(waves(1, *size))
    assert found.shape[2:] == size
    assert found.isfinite().all()


def test_no_patch_explains_itself():
    """A spot that is in the image once has no patch in the other half; as part of what is learned it would."""
    image, mask = scratched(waves(), slice(20, 23), slice(20, 23))
    everywhere = torch.ones(image.shape[2:], dtype=torch.bool)
    apart = scale_energies(image, everywhere, SMALL)[mask[0, 0] > 0].min()
    patches = patches_of(image, SMALL.patch, SMALL.components)
    together = patch_bank([patches.keys], SMALL).energy(patches.keys).view(image.shape[2:])[mask[0, 0] > 0].max()
    assert apart > 2 * together


def test_the_energy_is_that_of_the_definition():
    keys, queries = (torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (20, 7))
    noise = keys.var(0) + SMALL.floor * keys.var(0).max()
    apart = ((queries[:, None] - keys).square() / noise).sum(2)
    t = 0.01
    limit = -(t**2) * (apart.double() / (-2 * t**2)).logsumexp(1)
    torch.testing.assert_close(patch_bank([keys], SMALL).energy(queries).double(), limit, atol=1e-3, rtol=1e-4)


def test_unknown_pixels_are_neither_learned_nor_found():
    image, known = waves(), torch.ones(1, 1, 40, 48)
    known[..., 8:14, 10:20] = 0
    garbage = torch.where(known > 0, image, torch.rand(image.shape))
    found = cross_fitted(garbage, known, SMALL)
    assert found.max() < 5 < cross_fitted(garbage, settings=SMALL).max()


def test_decades_are_those_of_an_exponential_tail():
    scores = torch.empty(200_000).exponential_(generator=torch.Generator().manual_seed(0))
    decades = Tail.of(scores).decades(torch.tensor([math.log(1e4), math.log(10), math.log(2)]))
    torch.testing.assert_close(decades, torch.tensor([4.0, 1.0, math.log10(2)]), atol=0.05, rtol=0)
    moved = Tail.of(3 * scores + 7).decades(torch.tensor([3 * math.log(1e4) + 7]))
    assert float(moved) == pytest.approx(float(decades[0]), abs=1e-3), (
        "the unit does not depend on the unit of the scores"
    )
    assert Tail.of(torch.ones(9)).decades(torch.ones(9)).isfinite().all()


def test_regions_are_connected_pixels_with_their_box_peak_and_mean():
    values = torch.zeros(9, 70)
    values[1, 2:5], values[2, 5] = 2.0, 8.0  # joined at a corner
    values[7, 60] = 3.0
    snake = torch.zeros(9, 70)
    snake[::2, :] = 1
    snake[1::4, -1] = snake[3::4, 0] = 1
    first, second = regions_of(values, 1.0)
    assert (first.area, first.box_y, first.box_x, first.box_height, first.box_width) == (4, 1, 2, 2, 4)
    assert (first.peak, first.peak_y, first.peak_x, first.mean) == (8.0, 2, 5, 3.5)
    assert (first.y, first.x) == (1.25, 3.5)
    assert (second.area, second.peak) == (1, 3.0)
    assert regions_of(values, 1.0, least=2) == [first]
    assert regions_of(values, 9.0) == []
    labels = components(snake > 0)
    assert len(labels[snake > 0].unique()) == 1
    assert (labels[snake == 0] == -1).all()


def slow_aupro(maps, labels, limit):
    """By the definition: thresholds from high to low, the mean share of regions, the share of normal pixels."""
    thresholds = torch.stack(maps).unique().flip(0)
    curve = [(0.0, 0.0)]
    for threshold in thresholds:
        shares = [
            float((one[label == number] >= threshold).float().mean())
            for one, label in zip(maps, labels, strict=True)
            for number in label[label >= 0].unique()
        ]
        false = torch.cat([one[label < 0] for one, label in zip(maps, labels, strict=True)]) >= threshold
        curve.append((float(false.float().mean()), sum(shares) / len(shares)))
    total = 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 >= limit:
            break
        end = min(x1, limit)
        y_end = y1 if x1 == x0 else y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        total += (end - x0) * (y0 + y_end) / 2
    return total / limit


def test_aupro_against_a_plain_one():
    generator = torch.Generator().manual_seed(0)
    labels = [torch.full((12, 16), -1) for _ in range(3)]
    labels[0][2:4, 2:9], labels[0][8, 3] = 5, 2
    labels[1][6:11, 6:12] = 0
    maps = [torch.rand(12, 16, generator=generator) + 0.3 * (label >= 0) for label in labels]
    maps[2] = (maps[2] * 5).round() / 5  # equal values
    for limit in (0.05, 0.3, 1.0):
        assert aupro(maps, labels, limit) == pytest.approx(slow_aupro(maps, labels, limit), abs=1e-6)
    perfect = [(label >= 0).float() for label in labels]
    assert localization(perfect, labels) == {"image_auroc": 1.0, "pixel_auroc": 1.0, "aupro": pytest.approx(1.0)}
    assert math.isnan(localization(maps[:1], labels[:1])["image_auroc"])
    with pytest.raises(ValueError, match="region"):
        aupro(maps[2:], labels[2:])


def test_the_task_maps_an_image_by_itself_without_a_scale():
    image, mask = scratched(waves())
    unknown = torch.zeros_like(mask)
    unknown[..., :5, :5] = 1
    task, model = find_task("energy"), Pyramid.untrained(image, make_settings("draft"))
    made = task(model, Inputs(image, mask=mask, unknown=unknown), self=True)
    assert made.metrics["auroc"] > 0.95
    assert made.metrics["regions"] == len(made.regions) > 0
    assert made.regions[0].peak == pytest.approx(made.metrics["peak"])
    assert made.result.shape == image.shape
    assert made.values.unit == "decades"
    assert torch.equal(made.values.values.isnan(), unknown > 0)
    with pytest.raises(TaskError, match="leave the target out"):
        task(model, Inputs(image, target=image), self=True)
    with pytest.raises(TaskError, match="set self=true"):
        task(model, Inputs(image), area=9)


def test_options_of_this_version_do_not_rename_finished_edits():
    task = find_task("energy")
    options = task.make_options({}).model_dump(mode="json")
    assert task.identifying(options) == {"seed": 0, "steps": 2}, "those of version 0.1"
    assert task.identifying(options | {"self": True}) == {"seed": 0, "steps": 2, "self": True}
