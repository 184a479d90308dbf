"""Tasks of a small pyramid with exact scales, on a made image."""

import math

import pytest
import torch
import torch.nn.functional as F

import pgcn
from pgcn.exact.cascade import Ascent
from pgcn.imaging.scales import resize
from pgcn.method import ChainOptions
from pgcn.tasks import animate, chains
from pgcn.tasks.enlarge import step_factor

HEIGHT, WIDTH = 48, 64
SETTINGS = {"max_size": 64, "learned_size": 16, "min_size": 12, "scales": 2, "iterations": 12}


def stripes(height=HEIGHT, width=WIDTH):
    """Slanted stripes of two colours with a little grain."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wave = torch.sin((x + 0.5 * y) * (2 * math.pi / 9))
    grain = 0.1 * torch.randn(height, width, generator=torch.Generator().manual_seed(0))
    return torch.stack([0.6 * wave, 0.3 * wave + 0.2, -0.5 * wave])[None].add(grain).clamp(-1, 1)


@pytest.fixture(scope="module")
def image():
    return stripes()


@pytest.fixture(scope="module")
def pyramid(image):
    made = pgcn.fit(image, settings=pgcn.make_settings("draft", SETTINGS))
    assert made.learned == 2
    assert made.sizes[made.learned :] == [(24, 32), (48, 64)]
    return made


@pytest.fixture(scope="module")
def hole():
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 14:30, 20:40] = 1
    return mask


def test_tasks_and_samples_draw_the_same_pictures(pyramid, image):
    assert torch.equal(pyramid.generate(image, 1, seed=3), pyramid.sample(1, seed=3))
    assert not torch.equal(pyramid.generate(image, 1, seed=4), pyramid.sample(1, seed=3))


def test_samples_have_any_size_and_tiles_fit_together(pyramid, image):
    assert pyramid.generate(image, 1, width=100, height=40).shape == (1, 3, 40, 100)
    made = pyramid.apply("generate", image, number=1, tile=True)
    assert made.metrics["seam_step"] < made.metrics["inside_step_most"]


def test_matches_are_searched_anew_at_the_first_scale_alone(pyramid, image, monkeypatch):
    searched = []
    plain = type(pyramid.exact.detail).matches
    monkeypatch.setattr(
        type(pyramid.exact.detail),
        "matches",
        lambda self, x, scale, **more: searched.append(scale) or plain(self, x, scale, **more),
    )
    chains.injected(pyramid, image, 2)
    assert searched == []
    chains.injected(pyramid, image, 3)
    assert searched == [1]


def test_after_is_applied_at_every_scale_and_known_pixels_stay(pyramid, image):
    known = torch.zeros(1, 1, HEIGHT, WIDTH)
    known[..., :16] = 1
    seen = set()

    def after(x, scale):
        seen.add((scale, x.shape[-1]))
        part = F.interpolate(known, size=x.shape[-2:], mode="nearest")
        return torch.where(part > 0, resize(image, (x.shape[-2], x.shape[-1])), x)

    sizes = pyramid.sizes
    end = chains.run(pyramid, resize(image, sizes[0]), sizes, 0, after=after)
    assert seen == {(scale, size[1]) for scale, size in enumerate(sizes)}
    assert torch.equal(end[..., :16], image[..., :16])
    assert not torch.equal(end[..., 16:], image[..., 16:])


def test_superres_is_made_of_finer_patches_and_agrees_with_its_input(pyramid, image):
    made = pyramid.apply("superres", image, factor=2)
    assert made.result.shape == (1, 3, 2 * HEIGHT, 2 * WIDTH)
    assert made.metrics["input_error"] < 0.2 * made.metrics["input_error_bicubic"]
    assert pyramid.superresolve(image, 3).shape == (1, 3, 3 * HEIGHT, 3 * WIDTH)
    assert step_factor(pyramid) == pytest.approx(2)


def test_an_enlargement_is_not_cut_into_tiles(pyramid, image, monkeypatch):
    from pgcn.tasks import enlarge

    monkeypatch.setattr(enlarge, "tiled", lambda *_: pytest.fail("tiles of exact scales are mixtures where they meet"))
    mask = torch.zeros(1, 1, 2 * HEIGHT, 2 * WIDTH)
    mask[..., 20:30, 50:60] = 1
    made = enlarge.enlarged(pyramid, image, (2 * HEIGHT, 2 * WIDTH), enlarge.Refinement(only=mask))
    plain = resize(image, (2 * HEIGHT, 2 * WIDTH))
    changed = (made != plain).any(1)[0].nonzero()
    margin = enlarge.MARGIN
    assert changed[:, 0].max() < 30 + margin
    assert changed[:, 1].min() >= 50 - margin


def test_a_hole_is_filled_from_known_pixels_alone(image, hole):
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    torn = torch.where(hole > 0, red, image)
    learned = pgcn.fit(torn, settings=pgcn.make_settings("draft", SETTINGS), mask=hole)
    made = learned.apply("inpaint", torn, mask=hole, truth=image)
    assert torch.equal(made.result[:, :, hole[0, 0] == 0], image[:, :, hole[0, 0] == 0])
    inside = made.result[:, :, hole[0, 0] > 0]
    assert float((inside[0, 0] - inside[0, 1]).max()) < 1.2, "no red of the hole, where the difference is 2"
    (field,) = learned.exact.detail.refine(torn, 1).fields
    rows, columns = field.sources((HEIGHT, WIDTH))
    assert float(hole[0, 0][rows, columns].max()) == 0, "even the hole's own pixels match known ones"
    assert made.metrics["psnr"] > made.metrics["psnr_mean_fill"]


@pytest.mark.parametrize("name", ["harmonize", "edit", "paint", "style"])
def test_tasks_with_a_second_image_have_its_size(pyramid, image, hole, name):
    target = image.clone()
    target[..., 14:30, 20:40] = image[..., 2:18, 40:60].flip(-1)
    mask = hole if name in ("harmonize", "edit") else None
    made = pyramid.apply(name, image, target=target, mask=mask)
    again = pyramid.apply(name, image, target=target, mask=mask)
    assert made.result.shape == image.shape
    assert torch.equal(made.result, again.result)
    if mask is not None:
        far = F.max_pool2d(mask, 17, 1, 8) == 0
        assert torch.equal(made.result * far, target * far)
    larger = pyramid.apply(name, image, target=resize(target, (72, 96)), mask=mask, start_scale=2)
    assert larger.result.shape == (1, 3, 72, 96)


def test_frames_of_a_clip_are_near_each_other(pyramid, image, monkeypatch):
    made = pyramid.apply("animate", image, frames=8)
    assert made.result.shape == (8, 3, HEIGHT, WIDTH)
    plain = chains.run
    monkeypatch.setattr(
        animate, "run", lambda m, x, s, f, o: plain(m, x, s, f, ChainOptions(noise_std=o.noise_std, draw=o.draw))
    )
    alone = pyramid.apply("animate", image, frames=8)
    assert made.metrics["frame_step"] < 0.8 * alone.metrics["frame_step"]


def test_a_frame_begins_with_the_matches_of_the_frame_before(pyramid):
    detail = pyramid.exact.detail
    x = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1)).expand(2, -1, -1, -1) * 2 - 1
    (first,) = detail.ascend(x, [(48, 64)], [5, 5], Ascent(first=1, frames=True))
    (apart,) = detail.ascend(x, [(48, 64)], [5, 5], Ascent(first=1))
    assert torch.equal(apart.picture[0], apart.picture[1])
    assert torch.equal(first.picture[0], apart.picture[0])
    assert not torch.equal(first.picture[0], first.picture[1]), "the second search goes on from the first one's end"


def test_energy_marks_foreign_parts_at_exact_scales(pyramid, image, hole):
    other = torch.where(hole > 0, torch.rand(image.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1, image)
    made = pyramid.apply("energy", image, target=other, mask=hole)
    assert made.metrics["auroc"] > 0.8
    assert made.metrics["score"] > 0
    assert pyramid.energy_score(image, image) == 0


def test_noise_is_removed(pyramid, image):
    noise = 0.3 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    made = pyramid.apply("recover", image, target=(image + noise).clamp(-1, 1), truth=image)
    assert made.metrics["psnr"] > made.metrics["psnr_corrupted"]


def test_from_an_exact_scale_on_the_inside_of_an_edited_part_stays(pyramid, image):
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 4:44, 6:58] = 1
    edited = torch.where(mask > 0, image.flip(3), image)
    given = {"target": edited, "mask": mask, "rim": 1, "even_colours": False}
    coarse, fine = (pyramid.apply("edit", image, start_scale=at, **given).result for at in (1, 2))
    inside = (slice(None), slice(None), slice(12, 36), slice(14, 50))
    assert torch.equal(fine[inside], edited[inside])
    assert not torch.equal(coarse[inside], edited[inside])
    border = (slice(None), slice(None), slice(4, 6), slice(8, 56))
    assert not torch.equal(fine[border], edited[border])
