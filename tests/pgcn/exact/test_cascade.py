"""All exact scales: seeds, sizes, bands, borders that meet, known pixels, energies, both of two textures."""

import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch

from pgcn.exact import DetailSettings, ExactDetail, Hold
from pgcn.exact.draw import resized
from pgcn.imaging.scales import resize

SIZES = [(16, 20), (32, 40), (64, 80)]
QUICK = DetailSettings(patch=7, components=16)


def picture(seed, height=64, width=80):
    """Large things with small detail on them."""
    generator = torch.Generator().manual_seed(seed)
    large, small = (torch.rand(1, 3, side, side, generator=generator) * 2 - 1 for side in (6, 32))
    return 0.6 * resize(large, (height, width)) + 0.4 * resize(small, (height, width))


def last(drawn):
    return list(drawn)[-1]


@pytest.fixture(scope="module")
def exact():
    return ExactDetail(picture(0), SIZES, QUICK)


@pytest.fixture(scope="module")
def layouts():
    """The image's own, and two of the image moved around: their patches are known, in other places."""
    return torch.cat([resize(picture(0).roll(shift, (2, 3)), (12, 15)) for shift in ((0, 0), (20, 30), (40, 10))])


def test_picture_depends_on_its_layout_and_seed_alone(exact, layouts):
    together = last(exact.draw(layouts, SIZES, [5, 6, 7]))
    alone = last(exact.draw(layouts[1:2], SIZES, [6]))
    assert torch.equal(together.picture[1:2], alone.picture)
    assert torch.equal(together.fields[1].index, alone.fields[0].index)
    other = last(exact.draw(layouts[1:2], SIZES, [8]))
    assert float((other.picture - alone.picture).abs().mean()) > 0.005


def test_threads_and_bands_change_nothing(exact, layouts):
    whole = last(exact.draw(layouts[:1], SIZES, [3]))
    banded = ExactDetail(picture(0), SIZES, dataclasses.replace(QUICK, band=300))
    found = last(banded.draw(layouts[:1], SIZES, [3]))
    torch.testing.assert_close(found.picture, whole.picture, rtol=0, atol=1e-3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(last(banded.draw(layouts[:1], SIZES, [3])).picture, found.picture)
    finally:
        torch.set_num_threads(threads)


def test_any_size_and_every_scale_is_drawn(exact, layouts):
    sizes = [(13, 41), (26, 82), (52, 164)]
    stages = list(exact.draw(resize(layouts[:2], (11, 33)), sizes, [0, 1]))
    assert [tuple(stage.picture.shape) for stage in stages] == [(2, 3, *size) for size in sizes]
    assert all(bool(stage.picture.isfinite().all()) and float(stage.picture.abs().max()) <= 1 for stage in stages)
    rows, columns = stages[-1].fields[0].sources(SIZES[-1])
    assert int(rows.min()) >= 0 and int(rows.max()) < 64
    assert int(columns.min()) >= 0 and int(columns.max()) < 80


def test_layout_of_the_image_gives_the_image(exact, layouts):
    drawn = last(exact.draw(layouts[:1], SIZES, [0])).picture
    blurred = resized(layouts[:1], SIZES[-1])
    apart = [float((x - picture(0)).square().mean()) for x in (drawn, blurred)]
    assert apart[0] < 0.3 * apart[1]


def test_detail_is_held_to_the_layout(layouts):
    exact = ExactDetail(picture(0), SIZES, dataclasses.replace(QUICK, settle=0))
    for layout in layouts.split(1):
        drawn = last(exact.draw(layout, SIZES, [0])).picture
        low = resized(drawn, (12, 15))
        assert float((low - layout).square().mean()) < 0.4 * float(layout.var())


def test_wrapped_picture_continues_at_its_borders():
    image = picture(1)
    exact = ExactDetail(image, SIZES, QUICK)
    layout = resize(picture(2), (12, 15))
    layout = (layout + layout.flip(3) + layout.flip(2) + layout.flip(2, 3)) / 4  # meets itself at its borders

    def seam(x):
        within = (x[..., 1:] - x[..., :-1]).square().mean()
        return float((x[..., 0] - x[..., -1]).square().mean() / within)

    assert seam(last(exact.draw(layout, SIZES, [0], wrap=True)).picture) < 1.5
    ramp = torch.linspace(-0.5, 0.5, 15).expand(1, 3, 12, 15).contiguous()
    assert seam(resized(ramp, (24, 30))) > 3 * seam(resized(ramp, (24, 30), wrap=True))


def test_wrapped_resize_commutes_with_a_shift():
    x = picture(3, 12, 16)
    moved = resized(x.roll(3, 3), (24, 32), wrap=True)
    torch.testing.assert_close(moved, resized(x, (24, 32), wrap=True).roll(6, 3), rtol=0, atol=1e-5)


def test_only_known_pixels_are_drawn_from():
    image = picture(4)
    image[..., 40:] = 1.0  # what must not be seen
    known = (torch.arange(80) < 40).float().expand(1, 1, 64, 80)
    exact = ExactDetail(image, SIZES, QUICK, known)
    layout = resize(picture(5), (12, 15))
    drawn = last(exact.draw(layout, SIZES, [0]))
    assert int(drawn.fields[0].sources(SIZES[-1])[1].max()) < 40
    assert float(drawn.picture.amin(1).max()) < float(image[..., :40].amin(1).max()) + 0.1


def test_many_small_holes_leave_patches_at_every_scale(layouts):
    """At the coarse scales no pixel is wholly known: those of which most is known are drawn from."""
    known = (torch.rand(1, 1, 64, 80, generator=torch.Generator().manual_seed(1)) > 0.6).float()
    known[..., 40:] = 0
    exact = ExactDetail(picture(0), SIZES, QUICK, known)
    drawn = last(exact.draw(layouts[:1], SIZES, [0]))
    assert bool(drawn.picture.isfinite().all())
    for scale, (_, width) in enumerate(SIZES):
        assert 0 < int((exact.patches(scale).allowed % width).max()) <= width // 2, "only where pixels are known"
    with pytest.raises(ValueError, match="no pixel is known"):
        ExactDetail(picture(0), SIZES, QUICK, torch.zeros_like(known)).patches(0)


def test_refine_keeps_known_pixels_and_changes_the_rest(exact):
    x = picture(0).roll((20, 30), (2, 3))
    known = torch.zeros(1, 1, 64, 80)
    known[..., :30] = 1
    drawn = exact.refine(x, 2, noise=0.9, hold=Hold(pixels=x, known=known), seed=1)
    torch.testing.assert_close(drawn.picture[..., :30], x[..., :30], rtol=0, atol=1e-6)
    assert float((drawn.picture[..., 30:] - x[..., 30:]).abs().mean()) > 0.01
    again = exact.refine(drawn.picture, 2, noise=0.1, fields=drawn.fields)
    assert float((again.picture - drawn.picture).abs().mean()) < 0.08


def test_refined_picture_is_more_like_the_image(exact):
    low = resized(picture(0).roll((20, 30), (2, 3)), (20, 25))
    x = resized(low, SIZES[-1])
    before, after = (exact.energy(y, 2, 0.2) for y in (x, exact.refine(x, 2, hold=Hold(low)).picture))
    assert tuple(after.shape) == (64, 80)
    assert float(after.mean()) < 0.95 * float(before.mean())


def test_energy_of_matches_is_near_the_definition(exact, monkeypatch):
    x = exact.refine(picture(0).roll((20, 30), (2, 3)), 2).picture
    wanted = exact.energy(x, 2, 0.2)
    monkeypatch.setattr("pgcn.exact.cascade.COMPARISONS", 0)
    found = exact.energy(x, 2, 0.2)
    assert float(torch.corrcoef(torch.stack([found.flatten(), wanted.flatten()]))[0, 1]) > 0.8


def test_completeness_keeps_both_textures():
    """A rare texture between flat ones: without completeness the flat patches win where the layout says little."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 3, 64, 80)
    image[..., 48:] = 0.8 * torch.sign(torch.randn(1, 1, 64, 32, generator=generator))
    layout = resize(image, (12, 15))

    def contrast(completeness):
        exact = ExactDetail(image, SIZES, dataclasses.replace(QUICK, completeness=completeness))
        return float(last(exact.draw(layout, SIZES, [0])).picture[..., 52:76].std() / image[..., 52:76].std())

    assert contrast(0.002) > 0.8
    assert contrast(0.002) > contrast(math.inf)


def test_numbers_that_do_not_fit_are_refused(exact, layouts):
    with pytest.raises(ValueError, match="3 exact scales and 3 layouts"):
        exact.draw(layouts, SIZES[:2], [0, 1, 2])
    with pytest.raises(ValueError, match="at least one size"):
        ExactDetail(picture(0), [], QUICK)
    for wrong in ({"patch": 8}, {"noise": 1.0}, {"completeness": 0.0}, {"steps": 0}, {"coherence": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DetailSettings(**wrong)


MEMORY = """
import resource, torch
from pgcn.exact import DetailSettings, ExactDetail, candidates
torch.set_num_threads(1)
candidates.KEPT = 0
settings = DetailSettings(patch=7, steps=2, passes=1, random=0, components=8, band=2**14)
exact = ExactDetail(torch.rand(1, 3, 20, 20) * 2 - 1, [(10, 10), (20, 20)], settings)
def peak(width):
    for _ in exact.draw(torch.zeros(1, 3, 64, width // 4), [(128, width // 2), (256, width)], [0]):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
peak(64)
small = peak(2048)
print((peak(3072) - small) / (256 * 1024))
"""


def test_memory_of_a_sample_is_that_of_a_few_pictures():
    """Picture, estimate and matches are 40 bytes a pixel, coarser scales and the rest 14; one more copy is 12."""
    mapped = os.environ | {"MALLOC_MMAP_THRESHOLD_": "262144"}  # glibc gives every picture back, as it does large ones
    found = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=120, env=mapped
    )
    assert float(found.stdout) < 63
