"""Reproducible random numbers of chains: one generator for each state or for each image of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pgcn.imaging.scales import Size

Draw = Callable[[Tensor], Tensor]
"""Maps a tensor to standard normal noise of its shape, on its device."""


def seeded(seed: int, count: int) -> list[torch.Generator]:
    """Generators of seeds `seed`, `seed` + 1, …: every sample is reproducible on its own."""
    return [torch.Generator().manual_seed(seed + index) for index in range(count)]


def normal_batch(generators: Sequence[torch.Generator]) -> Draw:
    """Noise for a batch of B images `(N, B·C, H, W)`: one generator for each image, each on its own device."""

    def draw(x: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1] // len(generators), *x.shape[2:])
        return torch.cat([torch.randn(shape, generator=g, device=g.device) for g in generators], dim=1).to(x)

    return draw


def normal_each(generators: Sequence[torch.Generator]) -> Draw:
    """Noise for N states `(N, C, H, W)`: one generator for each, so that a sample does not depend on its neighbours."""

    def draw(x: Tensor) -> Tensor:
        each = [torch.randn(x.shape[1:], generator=g, device=g.device) for g in generators]
        return torch.stack(each).to(x)

    return draw


def noise_start(size: Size, generators: Sequence[torch.Generator], each: int = 1, channels: int = 3) -> Tensor:
    """Gray noise U(-1, 1), copied to all channels: `(len(generators)·each, channels, *size)`, `each` of one generator.

    The copies are those of the paper for RGB. Other channels have them too: one field of noise decides one layout, on
    which all channels agree.
    """
    gray = torch.cat([torch.rand(each, 1, *size, generator=g, device=g.device) * 2 - 1 for g in generators])
    return gray.expand(-1, channels, -1, -1)
