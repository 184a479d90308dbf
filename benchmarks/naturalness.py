"""NIQE: the distance of an image's patch statistics from those of photographs, without the true image.

Mittal, Soundararajan and Bovik, "Making a 'Completely Blind' Image Quality Analyzer", 2013: of every patch, at two
scales, 18 shape parameters of its locally normalized gray values and of the products of neighbours; then the
Mahalanobis distance between the Gaussian of the image's patches and that of good photographs. The published
reference is not part of any package that this project uses, so it is fitted here to the bundled photographs, less the
one that the image is a crop of, and to patches of 48 px, since images are small: compare values with each other only.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.pictures import photograph
from benchmarks.trained import NAMES
from pgcn.imaging.scales import resize
from pgcn.metrics.pictures import gray

PATCH, STRIDE = 48, 24
"""Of a patch at the first scale, px; patches overlap by half."""

SHARP = 0.75
"""Patches of photographs count from this share of their sharpest one's deviation on."""

WINDOW, SIGMA = 7, 7 / 6
"""Of the Gaussian that local means and deviations are taken with."""

Numbers = NDArray[np.float64]

SHAPES: Numbers = np.arange(0.2, 10, 0.001)


class Statistics(NamedTuple):
    """Gaussian of the features of patches: mean `(36,)` and covariance `(36, 36)`."""

    mean: Numbers
    covariance: Numbers


def naturalness(picture: Tensor, without: str) -> float:
    """NIQE of `(1, 3, H, W)` in [-1, 1], at least 48 px on one side and 72 on the other; lower is more natural.

    `without` is the bundled photograph that the picture was made from.
    """
    found, good = _statistics(_features(picture)[0]), _of_photographs(without)
    apart = found.mean - good.mean
    inverse = np.linalg.pinv((found.covariance + good.covariance) / 2)
    return float(np.sqrt(apart @ inverse @ apart))


@cache
def _of_photographs(without: str) -> Statistics:
    kept = []
    for name in NAMES:
        if name != without:
            features, deviations = _features(photograph(name))
            kept.append(features[deviations > SHARP * deviations.max()])
    return _statistics(np.concatenate(kept))


def _statistics(features: Numbers) -> Statistics:
    return Statistics(features.mean(0), np.cov(features, rowvar=False))


def _features(picture: Tensor) -> tuple[Numbers, Numbers]:
    """The features of every patch, `(n, 36)`, and the mean deviation within it, `(n,)`."""
    luma = gray(picture.double())
    half = resize(luma, (luma.shape[2] // 2, luma.shape[3] // 2))
    height, width = half.shape[2] * 2, half.shape[3] * 2
    corners = [(y, x) for y in range(0, height - PATCH + 1, STRIDE) for x in range(0, width - PATCH + 1, STRIDE)]
    normalized, deviation = _normalized(luma)
    coarse, _ = _normalized(half)
    rows = [
        _parameters(normalized[y : y + PATCH, x : x + PATCH])
        + _parameters(coarse[y // 2 : (y + PATCH) // 2, x // 2 : (x + PATCH) // 2])
        for y, x in corners
    ]
    return np.array(rows), np.array([deviation[y : y + PATCH, x : x + PATCH].mean() for y, x in corners])


def _normalized(luma: Tensor) -> tuple[Numbers, Numbers]:
    """(I - μ)/(σ + 1), with the mean and deviation around each position, in levels of 255; and σ."""
    levels = (luma + 1) * 127.5
    at = torch.arange(WINDOW, dtype=levels.dtype) - WINDOW // 2
    line = torch.exp(-(at**2) / (2 * SIGMA**2))
    kernel = (line[:, None] * line / line.sum() ** 2)[None, None]

    def around(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, [WINDOW // 2] * 4, mode="replicate"), kernel)

    mean = around(levels)
    sigma = (around(levels**2) - mean**2).abs().sqrt()
    return ((levels - mean) / (sigma + 1))[0, 0].numpy(), sigma[0, 0].numpy()


def _parameters(patch: Numbers) -> list[float]:
    """18 features of a patch: shape, width of its values; shape, mean, both widths of four products of neighbours."""
    shape, left, right = asymmetric_gaussian(patch)
    found = [shape, (left + right) / 2]
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        product = patch * np.roll(patch, (dy, dx), (0, 1))
        shape, left, right = asymmetric_gaussian(product)
        found += [shape, (right - left) * _gamma_ratio(2 / shape, 1 / shape), left, right]
    return found


def asymmetric_gaussian(values: Numbers) -> tuple[float, float, float]:
    """Shape α and the widths β on both sides of p(x) ∝ exp(-(|x|/β)^α), by moments (Lasmar et al., 2009)."""
    left, right = _root_mean_square(values[values < 0]), _root_mean_square(values[values > 0])
    ratio = left / right if right else 1.0
    spread = float(np.mean(np.abs(values))) ** 2 / max(float(np.mean(values**2)), 1e-12)
    wanted = spread * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(SHAPES[np.argmin((_moment_ratios() - wanted) ** 2)])
    width = _gamma_ratio(1 / shape, 3 / shape) ** 0.5
    return shape, left * width, right * width


def _root_mean_square(values: Numbers) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


@cache
def _moment_ratios() -> Numbers:
    """Γ(2/α)²/(Γ(1/α)·Γ(3/α)) for every shape α."""
    first, second, third = (torch.lgamma(torch.from_numpy(k / SHAPES)) for k in (1, 2, 3))
    ratios: Numbers = torch.exp(2 * second - first - third).numpy()
    return ratios


def _gamma_ratio(a: float, b: float) -> float:
    """Γ(a)/Γ(b)."""
    return math.exp(math.lgamma(a) - math.lgamma(b))
