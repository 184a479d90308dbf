"""Time of the published algorithm at sizes where its training takes days, from single Langevin steps.

Some steps at each scale are timed in the plain implementation (`benchmarks.reference`), and the steps of a whole
training are counted. In an update, each picture of the loss takes about as long as a step: the gradient of the weights
instead of that of the pixels. At 64 px this gave 42,600 and 44,900 s, and two whole iterations at each scale 37,800 and
38,300 s, by turns on one machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from benchmarks.machine import clock
from benchmarks.reference import Net, langevin, pad
from pgcn.imaging.scales import Size, scale_sizes
from pgcn.settings import Settings

SMALL = 128 * 128
"""Pixels up to which more steps are timed: with two of them, times of the coarse scales were up to twice too long."""


class Expected(NamedTuple):
    """Seconds of a training, and of one sample."""

    training: float
    sample: float


def expected(size: Size, settings: Settings, device: str) -> Expected:
    """Times of the plain implementation on an image of `size`, extrapolated from some steps at each scale."""
    sizes = scale_sizes(*size, settings)
    return summed([step_seconds(size, settings, device) for size in sizes], settings)


def summed(step: Sequence[float], settings: Settings) -> Expected:
    """Times by the seconds of a step at each scale, coarsest first.

    An iteration at a scale runs the chains of all scales below it, its own chain, and in some iterations recovery. Its
    loss is of the image, the end of the chain, and in these iterations of recovery.
    """
    training = chains = 0.0
    for scale, seconds in enumerate(step):
        chains += settings.steps_at(scale) * seconds
        recovery = (settings.recovery_steps + 1) / settings.recovery_every
        training += settings.iterations_at(scale) * (chains + (recovery + 2) * seconds)
    return Expected(training, chains)


def step_seconds(size: Size, settings: Settings, device: str) -> float:
    """Seconds of a Langevin step at one scale: the mean of some, after as many on a small image."""
    steps = 10 if size[0] * size[1] <= SMALL else 3
    generator = torch.Generator(device).manual_seed(0)
    net = Net(settings.is_wide(max(size)), "call", generator)
    chain = settings.chain(steps, settings.frozen_sigma())
    langevin(pad(torch.zeros(1, 3, 8, 8, device=device)), net, chain, generator)
    x = pad(torch.rand(1, 3, *size, generator=generator, device=device) * 2 - 1)
    began = clock(device)
    langevin(x, net, chain, generator)
    return (clock(device) - began) / steps
