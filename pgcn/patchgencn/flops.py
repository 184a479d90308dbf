"""Operations of a training, for the share of work that is done and for estimates of time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from pgcn.generator import GeneratorNet
from pgcn.imaging.scales import Size
from pgcn.patchgencn.curvature import EVERY, POWER_STEPS
from pgcn.patchgencn.energy import NARROW, WIDE
from pgcn.patchgencn.weights import PAD
from pgcn.patchgencn.windows import pool_count, region_size, window_size
from pgcn.settings import Settings


def energy_operations(size: Size, *, wide: bool, inputs: int = 3) -> float:
    """Multiplications and additions of one forward pass of f on a padded image of this size with `inputs` channels."""
    channels = (inputs, *(WIDE if wide else NARROW))
    total = 0
    for layer, (c_in, c_out) in enumerate(itertools.pairwise(channels)):
        border = 2 * (PAD - 1 - layer)
        total += 2 * 9 * c_in * c_out * (size[0] + border) * (size[1] + border)
    return float(total)


def step_operations(size: Size, scale_size: Size, settings: Settings) -> float:
    """Operations of a Langevin step on a part of `size` of a scale of `scale_size`."""
    return 2 * energy_operations(size, wide=settings.is_wide(max(scale_size)))


def scale_operations(scale: int, sizes: list[Size], settings: Settings) -> float:
    """Operations of training one scale: chains, steps of Adam, and the chains below that make starts.

    On windows all of these are bounded, except for one recovery chain of the whole scale below.
    """
    size = sizes[scale]
    iterations = settings.iterations_at(scale)
    chains = settings.chains * settings.steps_at(scale) + settings.recovery_steps / settings.recovery_every
    learning = 1.5 * (settings.chains + 2)
    if settings.max_curvature:
        learning += 2 * 2 * POWER_STEPS / EVERY  # two gradients for each of two images
    starts = pool_count(size, settings) or iterations * settings.chains
    below = sum(
        settings.steps_at(at) * step_operations(region_size(sizes[at], settings), sizes[at], settings)
        for at in range(scale)
    )
    recovery = settings.recovery_steps * step_operations(sizes[scale - 1], sizes[scale - 1], settings) if scale else 0.0
    one = step_operations(window_size(size, settings), size, settings)
    return iterations * (chains + learning) * one + starts * below + recovery


def training_operations(sizes: list[Size], settings: Settings) -> float:
    """Operations of training the whole pyramid, with its distillation."""
    work = [scale_operations(scale, sizes, settings) for scale in range(len(sizes))]
    if settings.distil:
        work += [distillation_operations(scale, sizes, settings) for scale in range(len(sizes))]
    return sum(work)


def sampling_operations(sizes: list[Size], settings: Settings) -> float:
    """Operations of one sample, from the coarsest to the finest of the learned scales `sizes`."""
    if settings.sampling == "generator":
        return sum(generator_operations(size) for size in sizes)
    return sum(settings.steps_at(scale) * step_operations(size, size, settings) for scale, size in enumerate(sizes))


def pool_of_starts(size: Size) -> int:
    """Number of starts whose ends the generator of a scale of `size` learns: fewer where they are large."""
    return min(128, max(8, 2**18 // (size[0] * size[1])))


def taught_starts(size: Size) -> int:
    """Number of starts that one iteration of distillation learns at a scale of `size`."""
    return min(4, max(1, 2**16 // (size[0] * size[1])))


def distillation_operations(scale: int, sizes: list[Size], settings: Settings) -> float:
    """Operations of distilling one scale: the chains of its starts, and the steps of its generator."""
    size = sizes[scale]
    chain = settings.steps_at(scale) * step_operations(size, size, settings)
    proposals = 3 * settings.distil * taught_starts(size)  # a gradient by weights costs three passes
    return pool_of_starts(size) * chain + proposals * generator_operations(size)


def generator_operations(size: Size) -> float:
    """Operations of one pass of the generator of a scale of `size`."""
    return GeneratorNet(3, 0, [torch.Generator()]).operations(size)


def joint_rate(works: Sequence[float], units: Sequence[float], coarsest: float, finest: float) -> float:
    """Operations per second of a training of `works` operations at each scale, from the rates at its two ends.

    A unit of `units[s]` operations, such as one iteration of scale s, takes a + b·`units[s]` seconds: small nets of
    small images take time that does not depend on their operations. `coarsest` and `finest` are the measured rates, in
    operations per second, of a unit of the first and the last scale.
    """
    inverse = 1 / units[0] - 1 / units[-1]
    a = max(0.0, (1 / coarsest - 1 / finest) / inverse) if inverse > 0 else 0.0
    b = max(0.0, 1 / finest - a / units[-1])
    return sum(works) / sum(work * (b + a / unit) for work, unit in zip(works, units, strict=True))
