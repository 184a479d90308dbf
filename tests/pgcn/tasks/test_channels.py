"""Tasks on images of any channels, on pixels without data, and on another image's holes."""

import pytest
import torch
import torch.nn.functional as F

import pgcn
from pgcn.imaging.channels import Image, of_tensor
from pgcn.tasks.task import Inputs, find_task

SETTINGS = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 3})
H, W = 20, 24


def texture(channels, size=(H, W), seed=1):
    small = torch.rand(1, channels, 6, 7, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(small, size=size, mode="bicubic").clamp(-1, 1)


def square(size=(H, W)):
    mask = torch.zeros(1, 1, *size)
    mask[..., 6:12, 8:14] = 1
    return mask


@pytest.fixture(scope="module")
def two():
    """A pyramid of two bands, and its image."""
    image = texture(2)
    return pgcn.fit(image, settings=SETTINGS), image


@pytest.mark.parametrize(
    ("task", "inputs", "options"),
    [
        ("generate", {}, {"number": 1}),
        ("superres", {}, {"factor": 2}),
        ("inpaint", {"mask": square()}, {}),
        ("harmonize", {"target": texture(2, seed=2), "mask": square()}, {}),
        ("edit", {"target": texture(2, seed=2), "mask": square()}, {}),
        ("paint", {"target": texture(2, seed=2)}, {"colours": 3}),
        ("style", {"target": texture(2, seed=2)}, {}),
        ("translate", {"target": texture(2, seed=2), "mask": square()}, {}),
        ("recover", {}, {}),
        ("animate", {}, {"frames": 3}),
        ("energy", {"mask": square()}, {}),
    ],
)
def test_every_task_works_on_any_channels(two, task, inputs, options):
    pyramid, image = two
    made = pyramid.apply(task, image, **inputs, **options)
    assert all(x.shape[1] == (3 if name in made.drawn else 2) for name, x in made.images.items())
    assert bool(made.result.isfinite().all()) and made.metrics
    assert all(x.shape[1] == 3 for x in made.displayed(pyramid.channels).images.values())


def test_pixels_without_data_are_filled_without_a_mask():
    image, hole = texture(2), square()
    pyramid = pgcn.fit(Image(image, of_tensor(image), 1 - hole), settings=SETTINGS)
    made = find_task("inpaint")(pyramid, Inputs(image, unknown=hole), start_scale=0)
    assert torch.equal(made.result[:, :, hole[0, 0] == 0], image[:, :, hole[0, 0] == 0])
    assert not torch.equal(made.result, image)
    other = torch.zeros_like(hole)
    other[..., 1:3, 1:3] = 1
    both = find_task("inpaint")(pyramid, Inputs(image, mask=other, unknown=hole), start_scale=0)
    assert both.metrics["hole"] == pytest.approx(float((hole + other).mean()))


def test_holes_of_another_image_are_filled_with_this_image():
    """Its patches: a dark texture fills a bright image's hole with what is darker than a fill of its own would be."""
    dark, bright = texture(3) * 0.1 - 0.8, texture(3, (26, 40), seed=3) * 0.1 + 0.5
    pyramid = pgcn.fit(
        dark, settings=pgcn.make_settings("draft", {"max_size": 24, "learned_size": 12, "iterations": 20})
    )
    mask = torch.zeros(1, 1, 26, 40)
    mask[..., 6:20, 10:30] = 1
    made = pyramid.inpaint(dark, mask, target=bright, start_scale=0)
    assert made.shape == bright.shape
    assert torch.equal(made[:, :, mask[0, 0] == 0], bright[:, :, mask[0, 0] == 0])
    assert float(made[:, :, mask[0, 0] > 0].mean()) < float(bright.mean()) - 0.2


def test_an_image_itself_becomes_a_tile():
    pyramid, image = pgcn.example()
    made = pyramid.apply("generate", image, tile=True, keep=0.5, number=2)
    assert made.result.shape == (2, 3, 20, 24)
    changed = (made.result != image).any(1)
    assert 0 < float(changed.float().mean()) <= made.metrics["changed"] + 1e-6 < 0.8
    assert not bool(changed[:, 5:15, 6:18].any()), "the inner half of both sides stays"
    assert made.metrics["seam_step"] < made.metrics["seam_step_before"]
    assert not torch.equal(*made.result), "samples differ"


@pytest.mark.parametrize("options", [{"keep": 0.5}, {"keep": 0.5, "tile": True, "width": 8, "height": 8}, {"keep": 1}])
def test_what_cannot_be_kept_is_said_in_a_sentence(options):
    pyramid, image = pgcn.example()
    with pytest.raises(pgcn.TaskError, match="keep"):
        pyramid.apply("generate", image, **options)
