"""Metrics of tiles and of aligned maps: seams, alignment and repeats. Images are `(1, C, H, W)` in [-1, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgcn.imaging.channels import Channels
from pgcn.metrics.patch_distribution import known_pixels
from pgcn.metrics.pictures import gradients

MOST_TILES = 8
"""Tiles that metrics are taken of, at most."""

CYCLES = 4
"""Waves of fewer cycles a side are left out of `repeat`: slow changes of brightness are no repeats."""

NEAR = 8
"""Shifts below one part in so many of both sides are no repeats: neighbouring pixels are alike in every image."""


def seam_ratio(x: Tensor) -> float:
    """The step across the seams of a tile `(1, C, H, W)`, in units of the mean step between lines inside it.

    With s_i the mean of |x_i - x_(i-1)| over one line and all channels, i modulo the side: the mean over both axes of
    s_0 / mean of s_i for i > 0. About 1 where opposite sides fit together, more where they do not; 0 for one colour.
    """
    ratios = []
    for axis in (2, 3):
        steps = (x - x.roll(1, axis)).abs().transpose(0, axis).flatten(1).mean(1)
        ratios.append(float(steps[0] / steps[1:].mean().clamp_min(1e-6)))
    return sum(ratios) / 2


def alignment(x: Tensor, channels: Channels, known: Tensor | None = None) -> float:
    """How well edges of the maps of `x` `(1, C, H, W)` are at the same places, in [-1, 1].

    The mean over pairs of groups of the correlation over pixels of |∇a| and |∇b|, each the root of the mean square
    over the group's channels (`pgcn.metrics.pictures.gradients`). 0 for maps that have nothing to do with each other;
    the value of the image itself says what is good. Pixels that are not `known` `(1, 1, H, W)` are left out. NaN for
    one group, and where fewer than two maps have any edge.
    """
    maps = torch.cat([gradients(x[:, where]) for _, where in channels.slices()], dim=1)
    edges = known_pixels(known, maps).double()
    edges = edges - edges.mean(1, keepdim=True)
    norms = edges.norm(dim=1, keepdim=True)
    edges = (edges / norms.clamp_min(1e-9))[norms[:, 0] > 1e-9]
    count = len(edges)
    if count < 2:
        return float("nan")
    return float(((edges @ edges.T).sum() - count) / (count * (count - 1)))


def repeat(x: Tensor) -> float:
    """The largest similarity of `x` `(1, C, H, W)` with itself at a far shift, on a torus: 1 for a copy, 0 for noise.

    The maximum over shifts d of Σ x(p) x(p + d) / Σ x(p)², over pixels and channels, of `x` without its waves of fewer
    than `CYCLES` cycles along both sides; shifts below H / `NEAR` down and W / `NEAR` across are left out. A wall of
    bricks has much of it, in the image too. NaN for an image of one colour, and for one of less than 16 px a side.
    """
    height, width = x.shape[-2:]
    if min(height, width) < 2 * NEAR:
        return float("nan")
    waves = torch.fft.fft2(x[0].double())
    low, near = _around(height, width, (CYCLES, CYCLES)), _around(height, width, (height / NEAR, width / NEAR))
    power = waves.abs().square().sum(0).masked_fill(low.to(x.device), 0)
    similar = torch.fft.ifft2(power).real
    if float(similar[0, 0]) < 1e-9:
        return float("nan")
    return float((similar / similar[0, 0]).masked_fill(near.to(x.device), -1).max())


def _around(height: int, width: int, reach: tuple[float, float]) -> Tensor:
    """The places of a torus that are nearer to its origin than `reach` along both axes: bool `(height, width)`."""
    rows, columns = (torch.arange(side).minimum(side - torch.arange(side)) for side in (height, width))
    return (rows < reach[0])[:, None] & (columns < reach[1])


def tile_metrics(tiles: Tensor, image: Tensor, channels: Channels) -> dict[str, float]:
    """Means over the first tiles `(n, C, H, W)`, and values of `image` `(1, C, h, w)`, whose sides need not fit.

    `seam_ratio` (with `seam_ratio_<group>`, where there are several groups), `repeat`, and `..._image` of both. One
    without a value is left out.
    """
    tiles = tiles[:MOST_TILES]
    found = {"seam_ratio": _mean([seam_ratio(x) for x in tiles.split(1)]), "seam_ratio_image": seam_ratio(image)}
    if len(channels.groups) > 1:
        for group, where in channels.slices():
            found[f"seam_ratio_{group.name}"] = _mean([seam_ratio(x[:, where]) for x in tiles.split(1)])
    return _finite(found | {"repeat": _mean([repeat(x) for x in tiles.split(1)]), "repeat_image": repeat(image)})


def alignment_metrics(
    samples: Tensor, image: Tensor, channels: Channels, known: Tensor | None = None
) -> dict[str, float]:
    """`alignment`, the mean over the first samples, and `alignment_image`; empty for one group of channels.

    One without a value is left out.
    """
    if len(channels.groups) < 2:
        return {}
    mean = _mean([alignment(x, channels) for x in samples[:MOST_TILES].split(1)])
    return _finite({"alignment": mean, "alignment_image": alignment(image, channels, known)})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
