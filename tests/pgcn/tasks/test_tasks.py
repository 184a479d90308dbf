"""Every task on a small pyramid: that it does what it says, keeps what it must keep, and refuses what cannot be."""

import doctest
import importlib

import pytest
import torch
import torch.nn.functional as F

import pgcn
from pgcn.imaging.scales import resize, resize_on_torus
from pgcn.method import ChainOptions
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.pictures import psnr
from pgcn.patchgencn.masked_trainer import MaskedTrainer, known_share
from pgcn.tasks import animate, chains, generate, inpaint, recover, region, task
from pgcn.tasks.task import TaskError, all_tasks, find_task

TASKS = {
    *("animate", "edit", "energy", "generate", "harmonize", "inpaint", "paint", "recover", "style", "superres"),
    "translate",
}


def brick_wall(height, width):
    """Light mortar on dark bricks, with some grain: something that a pyramid learns in seconds."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows = y // 6
    mortar = (y % 6 == 0) | ((x + 5 * (rows % 2)) % 10 == 0)
    grain = 0.1 * torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))
    colours = torch.where(mortar, 0.7, torch.tensor([0.1, -0.4, -0.6]).view(3, 1, 1))
    return F.avg_pool2d((colours + grain)[None], 3, 1, 1).clamp(-1, 1)


@pytest.fixture(scope="module")
def image():
    return brick_wall(32, 40)


@pytest.fixture(scope="module")
def pyramid(image):
    settings = pgcn.make_settings("draft", {"max_size": 40, "min_size": 14, "scales": 3, "iterations": 30})
    return pgcn.fit(image, settings=settings)


def square(height, width, top, left, side):
    mask = torch.zeros(1, 1, height, width)
    mask[..., top : top + side, left : left + side] = 1
    return mask


# The registry.


def test_all_are_found_and_say_what_they_are():
    assert set(all_tasks()) == TASKS
    for one in all_tasks().values():
        assert one.summary
        assert all(field.description for field in one.options.model_fields.values())
        assert all(getattr(one, name) for name in one.needs)


def test_a_new_file_is_a_new_task(tmp_path, monkeypatch):
    (tmp_path / "invert.py").write_text(
        "from pgcn.tasks.task import TaskResult, Options, Task\n"
        "TASK = Task('invert', 'the negative', Options, lambda p, inputs, o: TaskResult({'result': -inputs.image}))\n"
    )
    package = importlib.import_module("pgcn.tasks")
    pyramid, image = pgcn.example()
    with monkeypatch.context() as patch:
        patch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        all_tasks.cache_clear()
        assert torch.equal(pyramid.apply("invert", image).result, -image)
    all_tasks.cache_clear()
    assert set(all_tasks()) == TASKS


@pytest.mark.parametrize("module", ["pgcn", "pgcn.tasks.methods", "pgcn.fit", "pgcn.testing"])
def test_every_example_in_a_docstring_runs(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("name", "inputs", "options", "words"),
    [
        ("superes", {}, {}, "Did you mean 'superres'"),
        ("paint", {}, {}, "needs a target: the painting"),
        ("inpaint", {}, {}, "needs a mask: white on the missing pixels"),
        ("generate", {"target": True}, {}, "takes no target"),
        ("superres", {"mask": True}, {}, "takes no mask"),
        ("superres", {}, {"fator": 2}, "Did you mean 'factor'"),
        ("superres", {}, {"factor": -1}, "factor cannot be -1: input should be greater than 0"),
        ("superres", {}, {"factor": 0.5}, "is not larger than 24x20"),
        ("superres", {}, {"width": 50}, "both a width and a height"),
        ("superres", {}, {"factor": 64, "width": 20000, "height": 3}, "less than or equal to 16384"),
        ("paint", {"target": True}, {"start_scale": 7}, "start_scale is 0 to 1"),
        ("edit", {}, {}, "needs a mask, or a target"),
        ("edit", {"target": True}, {}, "no region differs"),
        ("generate", {}, {"width": 40}, "a width and a height"),
        ("generate", {}, {"tile": True, "width": 8, "height": 8}, "too small"),
        ("animate", {}, {"width": 40}, "a width and a height"),
        ("inpaint", {"mask": True}, {"number": 2}, "several results without noise are equal"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(name, inputs, options, words):
    pyramid, image = pgcn.example()
    given = {"target": image, "mask": square(20, 24, 4, 4, 6)}
    with pytest.raises(ValueError, match=words) as found:
        pyramid.apply(name, image, **{key: given[key] for key in inputs}, **options)
    assert "\n" not in str(found.value)


def test_only_what_it_needs_is_asked_of_a_task():
    with pytest.raises(TaskError, match="Choose one of animate, edit"):
        find_task("zzz")
    assert task.Criterion("a", "b", "lower").passes({"a": 1, "b": 2})
    assert not task.Criterion("a", "b", "higher").passes({"a": 1, "b": 2})


# generate


def test_samples_are_as_many_and_as_large_as_asked_and_their_own(pyramid, image):
    made = pyramid.apply("generate", image, number=3, width=30, height=20, seed=4)
    assert made.result.shape == (3, 3, 20, 30)
    assert torch.equal(made.result[1:2], pyramid.generate(image, 1, width=30, height=20, seed=5))
    assert made.metrics["patch_swd"] < 0.5 * made.metrics["patch_swd_noise"]
    assert not torch.equal(made.result, pyramid.generate(image, 3, width=30, height=20, seed=4, noise=0.05))


def test_a_torus_has_no_edges(pyramid):
    """Shifted noise gives the same tile, shifted: true of no chain that sees a border anywhere."""
    start = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = ChainOptions(wrap=True)
    plain, shifted = (chains.run(pyramid, x, [(20, 24)] * 3, 0, options) for x in (start, start.roll((7, 11), (2, 3))))
    torch.testing.assert_close(plain.roll((7, 11), (2, 3)), shifted, atol=1e-3, rtol=0)


def test_a_torus_is_brought_up_without_edges():
    x = torch.rand(1, 3, 10, 12) - 0.5
    up = resize_on_torus(x, (20, 24))
    torch.testing.assert_close(resize_on_torus(x.roll((3, 4), (2, 3)), (20, 24)), up.roll((6, 8), (2, 3)))


def test_seams_of_tiles_are_like_the_inside_and_those_of_plain_samples_are_not(pyramid, image):
    tiles = pyramid.apply("generate", image, number=4, tile=True)
    assert tiles.metrics["seam_step"] < tiles.metrics["inside_step_most"]
    assert tiles.images["tiled"].shape[-2:] == (64, 80)
    plain = generate.seam_errors(torch.linspace(-1, 1, 20).expand(1, 3, 20, 20))
    assert plain["seam_step"] > plain["inside_step_most"]


# superres


@pytest.mark.parametrize("options", [{"factor": 2}, {"factor": 3.3}, {"width": 97, "height": 65}])
def test_the_enlarged_has_the_exact_size_and_made_smaller_is_the_input(pyramid, image, options):
    made = pyramid.apply("superres", image, **options)
    height, width = made.result.shape[-2:]
    assert (height, width) == (
        (65, 97) if "width" in options else (round(32 * options["factor"]), round(40 * options["factor"]))
    )
    assert made.metrics["input_error"] < 0.5 < made.metrics["input_error_bicubic"]


def test_super_resolution_is_nearer_to_the_truth_than_bicubic(pyramid):
    truth = brick_wall(80, 100)
    low = resize(truth, (40, 50))
    figures = pyramid.apply("superres", low, truth=truth, factor=2).metrics
    assert figures["psnr"] > figures["psnr_bicubic"] + 0.3
    assert figures["ssim"] > figures["ssim_bicubic"]


# harmonize and edit


def pasted(image):
    composite = image.clone()
    composite[..., 8:18, 14:24] = torch.tensor([-0.8, 0.2, 0.9]).view(1, 3, 1, 1)
    return composite, square(32, 40, 8, 14, 10)


@pytest.mark.parametrize("name", ["harmonize", "edit"])
@pytest.mark.parametrize("factor", [1, 3])
def test_beyond_the_rim_every_pixel_stays(pyramid, image, name, factor):
    composite, mask = pasted(image)
    size = 32 * factor, 40 * factor
    composite, mask = resize(composite, size), F.interpolate(mask, scale_factor=factor)
    made = pyramid.apply(name, image, target=composite, mask=mask, rim=2)
    beyond = F.max_pool2d(mask, 4 * factor + 3, 1, 2 * factor + 1) == 0
    assert made.result.shape == composite.shape
    assert torch.equal(made.result * beyond, composite * beyond)
    assert made.metrics["outside_error"] == 0
    assert float((made.result - composite)[mask.expand_as(composite) > 0].abs().mean()) > 0.02


@pytest.mark.parametrize("name", ["harmonize", "edit"])
def test_beyond_the_rim_every_pixel_stays_at_the_working_size_too(pyramid, image, name):
    composite, mask = pasted(image)
    made = pyramid.apply(name, image, target=composite, mask=mask, rim=2, full_size=False)
    beyond = F.max_pool2d(mask, 5, 1, 2) == 0
    assert torch.equal(made.result * beyond, composite * beyond)
    within = (beyond == 0) & (mask == 0)
    assert float((made.result - composite)[within.expand_as(composite)].abs().mean()) > 0, "the rim is blended"


def test_a_regions_surroundings_are_held_by_the_chain_and_its_rim_is_mixed(pyramid, image, monkeypatch):
    composite, mask = pasted(image)
    asked = region.RegionOptions(rim=4)
    own, _ = region.region_of(pyramid, task.Inputs(image, composite, mask), asked, "edit")

    def white(pyramid, picture, scale, options, after, sizes):
        held = after(torch.ones_like(picture), len(pyramid.sizes) - 1)
        assert torch.equal(held == 1, (F.max_pool2d(mask, 9, 1, 4) > 0).expand_as(held)), "known beyond the rim"
        return torch.ones_like(picture)

    monkeypatch.setattr(region, "injected", white)
    made = own.from_scale(pyramid, 1, len(pyramid.sizes), seed=0)
    torch.testing.assert_close(made, composite + own.weights * (1 - composite))
    assert len(own.weights.unique()) > 3


def test_a_pasted_object_takes_on_the_scenes_colours(pyramid, image):
    composite, mask = pasted(image)
    chosen, free = (
        pyramid.apply("harmonize", image, target=composite, mask=mask, start_scale=scale).metrics for scale in (None, 1)
    )
    assert chosen["colour_distance"] < chosen["colour_distance_before"]
    assert free["colour_distance"] < 0.8 * free["colour_distance_before"]


def test_a_missing_mask_is_where_the_pictures_differ(pyramid, image):
    composite, mask = pasted(image)
    made = pyramid.apply("harmonize", image, target=composite)
    given = pyramid.apply("harmonize", image, target=composite, mask=mask)
    assert "no mask was given" in made.notes[0]
    assert torch.equal(made.images["mask"], given.images["mask"])


def test_a_mask_of_another_size_is_fitted_and_said(pyramid, image):
    composite, mask = pasted(image)
    made = pyramid.apply("edit", image, target=composite, mask=F.interpolate(mask, size=(64, 80)))
    assert made.notes == ["the mask of 80x64 px was fitted to 40x32 px"]


def test_editing_lessens_a_seam(pyramid, image):
    composite, mask = pasted(image)
    figures = pyramid.apply("edit", image, target=composite, mask=mask).metrics
    assert figures["seam_gradient"] < 0.9 * figures["seam_gradient_before"]


def test_a_step_of_brightness_around_a_moved_part_is_gone(pyramid, image):
    edited, mask = image.clone(), torch.zeros(1, 1, *image.shape[-2:])
    mask[..., 8:24, 10:30] = 1
    edited = edited + 0.2 * mask

    def made_with(even):
        return pyramid.apply("edit", image, target=edited, mask=mask, start_scale=2, even_colours=even)

    made, plain = made_with(True), made_with(False)
    step, left = (float(((x.result - image) * mask).sum() / mask.sum()) / 3 for x in (plain, made))
    assert step > 0.05
    assert abs(left) < 0.6 * step
    assert torch.equal(made.images["before"], edited)
    assert made.metrics["outside_error"] == 0


# paint and style


def test_a_painting_becomes_patches_of_the_image_in_its_own_shape(pyramid, image):
    painting = torch.full((1, 3, 60, 50), -0.5)
    painting[..., 20:30, :] = 0.8
    made = pyramid.apply("paint", image, target=painting, colours=4, sweep=True)
    assert made.result.shape == painting.shape
    assert made.images["sweep"].shape[0] == 3
    assert made.metrics["patch_swd"] < made.metrics["patch_swd_painting"]
    assert len(made.images["painting"].flatten(2).unique(dim=2)[0].T) <= 4


def test_a_finer_start_keeps_more_of_what_was_put_in(pyramid, image):
    content = resize(torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1, (48, 60))
    coarse, fine = (
        pyramid.apply("style", image, target=content, start_scale=scale, full_size=False) for scale in (0, 2)
    )
    assert fine.metrics["structure_error"] < coarse.metrics["structure_error"]
    assert coarse.metrics["patch_swd"] < coarse.metrics["patch_swd_content"]
    assert coarse.result.shape[-2:] == (32, 40)


# inpaint, and learning with holes


def test_what_lies_in_the_hole_is_never_learned(image):
    """Two images that differ in the hole alone give the same pyramid, to the bit."""
    settings = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 5})
    picture, mask = resize(image, (20, 24)), square(20, 24, 5, 8, 7)
    other = torch.where(mask > 0, torch.ones(()), picture)
    first, second = (pgcn.fit(x, mask=mask, settings=settings) for x in (picture, other))
    assert all(
        torch.equal(a, b)
        for one, two in zip(first.nets, second.nets, strict=True)
        for a, b in zip(one.kernels, two.kernels, strict=True)
    )
    assert torch.equal(first.inpaint(picture, mask), first.inpaint(other, mask) * mask + picture * (1 - mask))


def test_a_position_counts_by_what_it_knows():
    share = known_share(square(30, 30, 10, 10, 11))
    assert float(share[0, 0, 15, 15]) == 0
    assert float(share[0, 0, 0, 0]) == 1
    assert float(share[0, 0, 15, 10]) == pytest.approx(5 / 11)


def test_positions_that_see_the_hole_alone_are_left_out_of_the_loss(image):
    settings = pgcn.make_settings("draft", {"max_size": 40, "scales": 1, "iterations": 2, "min_size": 12})
    trainer, plain = (MaskedTrainer(image, square(32, 40, 8, 8, 13), settings, seed=0) for _ in range(2))
    assert float(trainer.positions[..., 13:16, 13:16].max()) == 0
    assert float(trainer.positions[..., 25:, 25:].min()) > 1
    assert float(trainer.positions.mean()) == pytest.approx(1)
    plain.positions = None
    trainer.iterate(), plain.iterate()
    assert not torch.equal(trainer.net.kernels[0], plain.net.kernels[0]), "what counts is used"


def test_the_hole_is_filled_better_than_with_a_mean_and_the_rest_stays(pyramid, image):
    mask = square(32, 40, 12, 12, 7)
    made = pyramid.apply("inpaint", image * (1 - mask), mask=mask, truth=image, start_scale=0)
    assert torch.equal(made.result * (1 - mask), image * (1 - mask))
    assert made.metrics["psnr"] > made.metrics["psnr_mean_fill"] + 1
    assert made.metrics["psnr"] > made.metrics["psnr_smooth_fill"] + 1
    several = pyramid.apply("inpaint", image * (1 - mask), mask=mask, number=2, noise=0.2)
    assert several.result.shape[0] == 2
    assert not torch.equal(several.result[0], several.result[1])


def test_known_pixels_are_held_by_the_chains_themselves(pyramid, image):
    mask = square(32, 40, 12, 12, 7)
    hole = inpaint.Hole.of(image, mask, pyramid)
    end = hole.filled_from(pyramid, 0, inpaint.InpaintOptions(), seed=0)
    assert torch.equal(end * (1 - mask), image * (1 - mask))
    assert not torch.equal(end, hole.smooth)


def test_a_larger_picture_is_inpainted_at_its_own_size(pyramid, image):
    large, mask = resize(image, (96, 120)), square(96, 120, 30, 30, 20)
    made = pyramid.apply("inpaint", large, mask=mask)
    assert torch.equal(made.result * (1 - mask), large * (1 - mask))


def test_masked_training_refuses_a_mask_of_another_size(image):
    with pytest.raises(ValueError, match="the mask is 24x20 px and the image 40x32"):
        pgcn.fit(image, mask=square(20, 24, 5, 8, 7))


# animate


def test_frames_are_a_loop_of_small_steps(pyramid, image):
    made = pyramid.apply("animate", image, frames=12, walk=0.2, noise=0.01)
    assert made.result.shape == (12, 3, 32, 40)
    assert 0 < made.metrics["frame_step"] < 0.6 * made.metrics["frames_apart"]
    last = float((made.result[0] - made.result[-1]).square().mean().sqrt()) * 127.5
    assert last < 2 * made.metrics["frame_step"]


def test_the_walk_keeps_the_law_of_the_noise():
    walk = animate.Walk(frames=5, walk=0.6, seed=0)
    normal = walk.normal((200, 200))
    assert normal.std((1, 2)).sub(1).abs().max() < 0.02
    uniform = animate.Walk(frames=3, walk=0.6, seed=1).uniform((200, 200))
    torch.testing.assert_close(uniform[1].flatten().sort().values, torch.linspace(-1, 1, 40_000), atol=0.02, rtol=0)


# energy


def test_other_pictures_are_more_unlike_and_foreign_spots_are_found(pyramid, image):
    assert pyramid.energy_score(image, image) == 0
    own = pyramid.energy_score(image, image.flip(-1))
    other = pyramid.energy_score(image, torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(2)) * 2 - 1)
    assert abs(own) < 0.2 < other
    composite, mask = pasted(image)
    made = pyramid.apply("energy", image, target=composite, mask=mask)
    assert made.metrics["auroc"] > 0.8
    assert made.result.shape == image.shape


# recover


def test_noise_is_measured_and_taken_away(pyramid, image):
    generator = torch.Generator().manual_seed(0)
    noisy = (image + 0.3 * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
    made = pyramid.apply("recover", image, target=noisy, truth=image)
    assert made.metrics["noise"] == pytest.approx(0.3, abs=0.05)
    assert made.metrics["psnr"] > made.metrics["psnr_corrupted"] + 2


def test_blur_is_lessened(pyramid, image):
    blurred = F.avg_pool2d(F.pad(image, [1] * 4, mode="replicate"), 3, 1)
    made = pyramid.apply("recover", image, target=blurred, truth=image, pull=0.1)
    assert made.metrics["noise"] == 0
    assert made.metrics["psnr"] > made.metrics["psnr_corrupted"] + 0.5


def test_two_estimates_are_weighed_by_their_errors():
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(1, 3, 60, 60)
    made, noisy = (truth + std * torch.randn(truth.shape, generator=generator) for std in (0.1, 0.2))
    both = recover.weighed(made, noisy, 0.2)
    assert psnr(both, truth) > max(psnr(made, truth), psnr(noisy, truth)) + 0.5


def test_every_task_leaves_a_finite_picture_in_range_and_repeats_itself(pyramid, image):
    composite, mask = pasted(image)
    for name, one in all_tasks().items():
        given = {"target": composite} if one.target else {}
        given |= {"mask": mask} if one.mask else {}
        options = {"frames": 3} if name == "animate" else {}
        made, again = (pyramid.apply(name, image, **given, **options) for _ in range(2))
        assert torch.isfinite(made.result).all(), name
        assert float(made.result.abs().max()) <= 1 + 1e-6, name
        assert torch.equal(made.result, again.result), name
    assert patch_swd(image, image) == 0
