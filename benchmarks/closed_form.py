"""The closed-form diffusion on patches (arXiv 2606.04299): no training, no layout, all patches compared with all.

A scale begins at a noise level t and goes to zero along the linear flow y = (1 - t)·x + t·ε; the estimate of x is the
posterior mean of all patches, put together. The definition is `pgcn.exact.definition`. Cost grows with the square of
the pixels: a sample of 250x167 px takes ten minutes of a core, one of 600x400 px some seven hours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.machine import clock
from pgcn.exact.definition import denoised, posterior_mean
from pgcn.imaging.scales import Size, resize

PATCH, SCALES, STEPS = 15, 4, 10
"""As published: patches of 15x15 px, four scales that halve, ten steps each."""

RESTART = 0.6
"""Noise level that a scale above the coarsest begins at, from the enlarged result below it: that of our own scales."""

FEW = (8, 20)
"""Sides of the pieces, px, from which the time of a step is extrapolated."""


def halving(finest: Size, scales: int = SCALES) -> list[Size]:
    """Sizes of the scales, coarsest first; each side at least one patch."""
    factors = [0.5**k for k in range(scales - 1, -1, -1)]
    return [(max(PATCH, round(finest[0] * f)), max(PATCH, round(finest[1] * f))) for f in factors]


def levels(start: float, steps: int = STEPS) -> list[float]:
    """Noise levels from `start`, falling by equal parts, with the 0 that the last step ends at."""
    return [start * (1 - k / steps) for k in range(steps)] + [0.0]


@contextmanager
def without_denormals() -> Iterator[None]:
    """Numbers below 1e-38 as 0: a mean over all patches has many weights as small, which cost six times the time."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@without_denormals()
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


@without_denormals()
def closed_form_seconds(image: Tensor, sizes: list[Size], patch: int = PATCH, steps: int = STEPS) -> float:
    """Seconds of one sample, without drawing it: `steps` steps of each size, each as `step_seconds`."""
    return steps * sum(step_seconds(resize(image, size), patch) for size in sizes)


def step_seconds(image: Tensor, patch: int = PATCH) -> float:
    """Seconds of a step at the size of `image` `(1, 3, H, W)`, as a line through those of two pieces of a picture.

    The piece's patches are compared with all patches of the image; its intercept is the making of these.
    """
    (few, low), (more, high) = [(side**2, _piece_seconds(image, side, patch)) for side in FEW]
    return low + (high - low) / (more - few) * (image.shape[2] * image.shape[3] - few)


def _piece_seconds(image: Tensor, side: int, patch: int) -> float:
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    began = clock("cpu")
    posterior_mean(noise, image, 0.5, patch)
    return clock("cpu") - began
