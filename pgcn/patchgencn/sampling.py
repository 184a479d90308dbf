"""Sampling: a chain at each scale, each starting from the upsampled end of the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.patchgencn.energy import Weights, crop, energy_gradient, pad
from pgcn.patchgencn.langevin import Draw, langevin
from pgcn.settings import Settings

Gradient = Callable[[Tensor], Tensor]
"""Maps padded images to ∇Σf there."""


def chain(start: Tensor, gradient: Gradient, settings: Settings, *, steps: int, noise_std: float, draw: Draw) -> Tensor:
    """One chain at one scale, on padded images: `(N, C, H, W)` in, `(N, C, H + 10, W + 10)` out.

    The border starts at zero and moves with the chain; `crop` takes it off.
    """
    return langevin(pad(start), gradient, settings.chain(steps, noise_std), draw)


def noise_start(size: Size, generators: Sequence[torch.Generator], each: int = 1) -> Tensor:
    """Gray noise U(-1, 1), copied to three channels: `(len(generators)·each, 3, *size)`, `each` of one generator."""
    gray = torch.cat([torch.rand(each, 1, *size, generator=g, device=g.device) * 2 - 1 for g in generators])
    return gray.expand(-1, 3, -1, -1)


def ascend(
    start: Tensor,
    nets: Sequence[Weights],
    sizes: Sequence[Size],
    settings: Settings,
    draw: Draw,
    first: int = 0,
) -> Iterator[Tensor]:
    """The ends of the chains at scales `first`, `first` + 1, … as far as `nets` go, each `(N, 3, *sizes[s])`.

    `start` is brought to the size of scale `first` and is where its chain begins.
    """
    x = start
    for scale in range(first, len(nets)):
        end = chain(
            resize(x, sizes[scale]),
            energy_gradient(nets[scale], settings.precision),
            settings,
            steps=settings.steps_at(scale),
            noise_std=settings.frozen_sigma(),
            draw=draw,
        )
        x = crop(end)
        yield x


def recover_start(observed: Tensor) -> Tensor:
    """Where the recovery chain of scale 0 begins: the image at three quarters of its size, and back."""
    h, w = observed.shape[-2:]
    return resize(resize(observed, (max(1, round(0.75 * h)), max(1, round(0.75 * w)))), (h, w))


def recovery_chain(start: Tensor, gradient: Gradient, settings: Settings) -> Tensor:
    """The recovery chain at one scale: no noise, so a function of its start and the net alone."""
    return chain(start, gradient, settings, steps=settings.recovery_steps, noise_std=0.0, draw=torch.zeros_like)


def recover(observed: Tensor, nets: Sequence[Weights], sizes: Sequence[Size], settings: Settings) -> Iterator[Tensor]:
    """The ends of the recovery chains, scale by scale: the image again, from its coarsest scale `observed`.

    A function of the nets alone: there is no noise in it.
    """
    x = recover_start(observed)
    for scale, weights in enumerate(nets):
        gradient = energy_gradient(weights, settings.precision)
        x = crop(recovery_chain(resize(x, sizes[scale]), gradient, settings))
        yield x


def seeded(seed: int, count: int) -> list[torch.Generator]:
    """Generators for samples `seed`, `seed` + 1, …: each sample is reproducible on its own."""
    return [torch.Generator().manual_seed(seed + index) for index in range(count)]
