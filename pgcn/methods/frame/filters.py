"""The fixed filters of FRAME: intensity, Laplacians of Gaussians, Gabor filters (Zhu, Wu and Mumford, 1998)."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 1.5
"""Half the side of a Gabor filter's window over its wavelength: its Gaussian has fallen to 0.32 along the wave's
crests, and to 0.01 across them."""

LEAST_NORM = 1e-3
"""Norm below which a filter is left out: at a wavelength of 2 px some sine filters vanish on the pixel grid."""


def gabor(wavelength: float, angle: float, phase: float) -> Tensor:
    """exp(-(4u² + v²)/2T²)·cos(2πu/T - φ): T is the wavelength, px, u and v are rotated by `angle`; `(side, side)`."""
    x, y = _grid(round(REACH * wavelength))
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    window = torch.exp(-(4 * u.square() + v.square()) / (2 * wavelength**2))
    wave = torch.cos(2 * math.pi * u / wavelength - phase)
    return window * (wave - (window * wave).sum() / window.sum())


def laplacian_of_gaussian(radius: float) -> Tensor:
    """(x² + y² - T²)·exp(-(x² + y²)/T²), T the radius, px, less its mean under the Gaussian; `(side, side)`."""
    x, y = _grid(max(1, math.ceil(2 * radius)))
    squares = x.square() + y.square()
    window = torch.exp(-squares / radius**2)
    return window * (squares - (window * squares).sum() / window.sum())


@cache
def bank(longest: int, orientations: int) -> tuple[Tensor, tuple[str, ...]]:
    """The filters `(K, side, side)` of sum zero and norm 1, centred in windows of one size, and their names.

    Gabor filters of wavelengths 2, 4, … to `longest` px, each in `orientations` directions as cosine and sine;
    Laplacians of Gaussians of radii 0.7, 1, 2, … to a third of `longest` px.
    """
    found = {f"Laplacian of Gaussian, {radius:g} px": laplacian_of_gaussian(radius) for radius in _radii(longest)}
    for wavelength in range(2, longest + 1, 2):
        for k in range(orientations):
            angle = math.pi * k / orientations
            where = f"{wavelength} px, {180 * k / orientations:.0f}°"
            found[f"Gabor cosine, {where}"] = gabor(wavelength, angle, 0.0)
            found[f"Gabor sine, {where}"] = gabor(wavelength, angle, math.pi / 2)
    kept = {name: each / each.norm() for name, each in found.items() if float(each.norm()) > LEAST_NORM}
    side = max(len(each) for each in kept.values())
    filters = torch.zeros(len(kept), side, side)
    for place, each in zip(filters, kept.values(), strict=True):
        margin = (side - len(each)) // 2
        place[margin : side - margin, margin : side - margin] = each
    return filters, tuple(kept)


@cache
def planes(channels: int) -> Tensor:
    """An orthonormal basis of C channels, `(C, C)`: the first row is their mean times √C, the others are opponents.

    It is the discrete cosine basis. Of RGB: brightness, red against blue, green against both.
    """
    at = torch.arange(channels, dtype=torch.float64)
    basis = torch.cos(math.pi * (at + 0.5) * at[:, None] / channels)
    return F.normalize(basis, dim=1).float()


def _radii(longest: int) -> list[float]:
    return [math.sqrt(0.5), *(float(radius) for radius in range(1, max(1, longest // 3) + 1))]


def _grid(reach: int) -> tuple[Tensor, Tensor]:
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    return line.expand(2 * reach + 1, -1), line[:, None].expand(-1, 2 * reach + 1)
