"""Metrics of tiles and of aligned maps, against their definitions."""

import math

import pytest
import torch

from pgcn.imaging.channels import Channels, Group
from pgcn.metrics.maps import alignment, alignment_metrics, repeat, seam_ratio, tile_metrics

MAPS = Channels((Group("colour", "colour"), Group("height", "band"), Group("rough", "gray")))


def smooth(channels, side=48, seed=0):
    """Random waves that fit together at opposite sides, `(1, channels, side, side)`."""
    noise = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    waves = torch.fft.fft2(noise)
    k = torch.fft.fftfreq(side, 1 / side)
    waves[..., (k[:, None] ** 2 + k**2).sqrt() > 8] = 0
    x = torch.fft.ifft2(waves).real
    return x / x.abs().max()


def aligned():
    height = smooth(1)
    return torch.cat([height * t for t in (0.9, -0.5, 0.3)] + [height, height**2], dim=1)


def test_opposite_sides_of_a_tile_fit_and_those_of_a_cut_do_not():
    tile = smooth(3)
    assert seam_ratio(tile) == pytest.approx(1, abs=0.3)
    assert seam_ratio(tile.roll((11, 17), (2, 3))) == pytest.approx(1, abs=0.3)
    assert seam_ratio(tile[..., :37, :31]) > 2
    ramp = torch.linspace(-1, 1, 20).expand(1, 1, 20, 20)
    assert seam_ratio(ramp) == pytest.approx(19 / 2), "a step of 2 over steps of 2 / 19, and none down"
    assert seam_ratio(torch.zeros(1, 1, 8, 8)) == 0


def test_alignment_is_the_mean_correlation_of_gradients():
    x = aligned()
    only = Channels(MAPS.groups[:2])
    assert alignment(x[:, :4], only) == pytest.approx(1, abs=1e-3), "one is the other, in other units"
    shuffled = torch.cat([smooth(3, seed=1), smooth(1, seed=2), smooth(1, seed=3)], dim=1)
    assert abs(alignment(shuffled, MAPS)) < 0.15
    torn = torch.cat([x[:, :3], x[:, 3:].roll((20, 13), (2, 3))], dim=1)
    assert alignment(torn, MAPS) < alignment(x, MAPS) - 0.3
    known = torch.ones(1, 1, 48, 48)
    known[..., 24:] = 0
    half = torch.cat([x[..., :23], shuffled[..., 23:]], dim=-1)
    assert alignment(half[:, :4], only, known) > alignment(half[:, :4], only) + 0.2
    assert math.isnan(alignment(x[:, :3], Channels(MAPS.groups[:1])))


def test_copies_repeat_and_noise_does_not():
    noise = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert repeat(noise) < 0.2
    assert repeat(noise.repeat(1, 1, 2, 2)) == pytest.approx(1)
    assert repeat(noise + torch.linspace(-3, 3, 32)) < 0.9 and math.isnan(repeat(torch.zeros(1, 1, 32, 32)))


def test_rows_are_those_of_several_groups():
    x = aligned()
    assert alignment_metrics(x[:, :3], x[:, :3], Channels(MAPS.groups[:1])) == {}
    assert alignment_metrics(torch.cat([x, x]), x, MAPS)["alignment"] == pytest.approx(alignment(x, MAPS))
    assert {"seam_ratio_height", "seam_ratio_rough", "repeat_image"} <= tile_metrics(x, x, MAPS).keys()
    assert "seam_ratio_colour" not in tile_metrics(x[:, :3], x[:, :3], Channels(MAPS.groups[:1]))
