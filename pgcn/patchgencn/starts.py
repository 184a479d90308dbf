"""Starts of the synthesis chains: noise at scale 0, and above it the upsampled ends of the chains of the scale below.

Coarser scales are frozen, so a start depends on its noise alone, and starts are computed ahead in batches. Each is used
once, as in the published algorithm, or kept in a pool from which the iterations draw in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.noise import noise_start, normal_batch
from pgcn.imaging.scales import Size, ascend, resize
from pgcn.method import ChainOptions
from pgcn.patchgencn.cuda_graph import CudaGraphed
from pgcn.patchgencn.energy import RGB_CHANNELS, is_fused
from pgcn.patchgencn.sampling import refine
from pgcn.patchgencn.weights import Weights
from pgcn.settings import Settings

STARTS_AHEAD = 16
"""Number of starts computed together: the chains of the frozen scales run as a batch."""


class ChainStarts:
    """Starts at one scale for a batch of B images; image b draws from `generators[b]` alone.

    `drawn` `(P, B·C, H, W)` are the starts that are computed, of which the first `used` are given away; a pool is used
    again and again.
    """

    def __init__(
        self,
        frozen: Sequence[Weights],
        sizes: Sequence[Size],
        settings: Settings,
        generators: Sequence[torch.Generator],
        channels: int = 3,
    ) -> None:
        self.frozen, self.sizes, self.settings, self.generators = frozen, sizes, settings, generators
        self.channels = channels
        self.drawn = torch.empty(0, channels * len(generators), *sizes[len(frozen)], device=generators[0].device)
        self.used = 0
        self._graphs: dict[int, CudaGraphed[Tensor]] = {}

    def draw(self, count: int) -> Tensor:
        """Starts of `count` chains for each image: `(count, B·C, H, W)`."""
        if self.frozen and self.settings.pool_size > 0:
            return self._from_pool(count)
        if self.used + count > len(self.drawn):
            self.drawn = torch.cat([self.drawn[self.used :], self._ends(max(STARTS_AHEAD, count))])
            self.used = 0
        self.used += count
        return self.drawn[self.used - count : self.used]

    def _from_pool(self, count: int) -> Tensor:
        pool = self.settings.pool_size
        if not len(self.drawn):
            parts = [self._ends(min(STARTS_AHEAD, pool - at)) for at in range(0, pool, STARTS_AHEAD)]
            self.drawn = torch.cat(parts)
        taken = [(self.used + chain) % pool for chain in range(count)]
        self.used = (self.used + count) % pool
        return torch.stack([self.drawn[at] for at in taken])

    def _ends(self, count: int) -> Tensor:
        """`count` new starts: the upsampled ends of the frozen scales' chains; noise at scale 0."""
        noise = torch.cat([noise_start(self.sizes[0], [g], count, self.channels) for g in self.generators], dim=1)
        if not self.frozen:
            return noise
        if is_fused(noise) and self.channels == RGB_CHANNELS and self.settings.frozen_sigma() == 0:
            beat()  # a replayed graph runs no Python, so its chains send no heartbeats
            return self._graphs.setdefault(count, CudaGraphed())(self._from_noise, noise).clone()
        return self._from_noise(noise)

    def _from_noise(self, noise: Tensor) -> Tensor:
        options = ChainOptions(draw=normal_batch(self.generators))

        def chain(x: Tensor, scale: int) -> Tensor:
            return refine(x, self.frozen[scale], self.settings, scale, options)

        *_, end = ascend(noise, self.sizes[: len(self.frozen)], chain)
        return resize(end, self.sizes[len(self.frozen)])
