"""The closed-form diffusion on patches (arXiv 2606.04299): no training, no layout, all patches compared with all.

A scale begins at a noise level t and goes to zero along the linear flow y = (1 - t)·x + t·ε; the estimate of x is the
posterior mean of all patches, put together. The definition is `pgcn.exact.definition`. Cost grows with the square of
the pixels: 10 steps of 250x167 px take minutes of a core.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from pgcn.exact.definition import denoised
from pgcn.imaging.scales import Size, resize

PATCH, SCALES, STEPS = 15, 4, 10
"""As published: patches of 15x15 px, four scales that halve, ten steps each."""

RESTART = 0.6
"""Noise level that a scale above the coarsest begins at, from the enlarged result below it: that of our own scales."""


def halving(finest: Size, scales: int = SCALES) -> list[Size]:
    """Sizes of the scales, coarsest first; each side at least one patch."""
    factors = [0.5**k for k in range(scales - 1, -1, -1)]
    return [(max(PATCH, round(finest[0] * f)), max(PATCH, round(finest[1] * f))) for f in factors]


def levels(start: float, steps: int = STEPS) -> list[float]:
    """Noise levels from `start`, falling by equal parts, with the 0 that the last step ends at."""
    return [start * (1 - k / steps) for k in range(steps)] + [0.0]


def closed_form(image: Tensor, sizes: list[Size], seed: int = 0, patch: int = PATCH, steps: int = STEPS) -> Tensor:
    """One sample `(1, 3, *sizes[-1])` in [-1, 1] from the patches of `image` `(1, 3, H, W)` alone."""
    generator = torch.Generator().manual_seed(seed)
    x: Tensor | None = None
    for size in sizes:
        own = resize(image, size)
        noise = torch.randn(own.shape, generator=generator)
        schedule = levels(1.0 if x is None else RESTART, steps)
        y = noise if x is None else (1 - schedule[0]) * resize(x, size) + schedule[0] * noise
        for t, after in itertools.pairwise(schedule):
            estimate = denoised(y, own, t, patch)
            y = (1 - after) * estimate + after * (y - (1 - t) * estimate) / t
        x = y.clamp(-1, 1)
    assert x is not None
    return x
