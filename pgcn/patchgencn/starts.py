"""Where synthesis chains begin: noise at scale 0, and above it the upsampled ends of the chains of the scale below.

Frozen scales make a start a function of noise alone, so starts are drawn ahead, in batches: each used once, as the
published algorithm does, or kept as a pool that updates go through in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.patchgencn.cuda_graph import CudaGraphed
from pgcn.patchgencn.energy import Weights, is_fused
from pgcn.patchgencn.langevin import normal_stack
from pgcn.patchgencn.sampling import ascend, noise_start
from pgcn.settings import Settings

AHEAD = 16
"""Starts drawn together where each is used once: the frozen scales run as a batch, not one by one."""


class ChainStarts:
    """Starts at one scale for a stack of B images; image b draws from `generators[b]` alone.

    `drawn` `(P, B·3, H, W)` are there already, the first `used` of them given away; a pool is gone through again and
    again.
    """

    def __init__(
        self,
        frozen: Sequence[Weights],
        sizes: Sequence[Size],
        settings: Settings,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.frozen, self.sizes, self.settings, self.generators = frozen, sizes, settings, generators
        self.drawn = torch.empty(0, 3 * len(generators), *sizes[len(frozen)], device=generators[0].device)
        self.used = 0
        self._graphs: dict[int, CudaGraphed[Tensor]] = {}

    def draw(self, count: int, on_alive: Callable[[], None] = lambda: None) -> Tensor:
        """Starts of `count` chains for each image: `(count, B·3, H, W)`. `on_alive` is called while many are drawn."""
        if self.frozen and self.settings.pool_size > 0:
            return self._from_pool(count, on_alive)
        if self.used + count > len(self.drawn):
            self.drawn = torch.cat([self.drawn[self.used :], self._ends(max(AHEAD, count), on_alive)])
            self.used = 0
        self.used += count
        return self.drawn[self.used - count : self.used]

    def _from_pool(self, count: int, on_alive: Callable[[], None]) -> Tensor:
        pool = self.settings.pool_size
        if not len(self.drawn):
            self.drawn = torch.cat([self._ends(min(AHEAD, pool - at), on_alive) for at in range(0, pool, AHEAD)])
        taken = [(self.used + chain) % pool for chain in range(count)]
        self.used = (self.used + count) % pool
        return torch.stack([self.drawn[at] for at in taken])

    def _ends(self, count: int, on_alive: Callable[[], None]) -> Tensor:
        """The chains of all scales below, run for `count` new starts from noise; at scale 0 the noise itself."""
        noise = torch.cat([noise_start(self.sizes[0], [g], count) for g in self.generators], dim=1)
        if not self.frozen:
            return noise
        if is_fused(noise) and self.settings.frozen_sigma() == 0:
            on_alive()
            return self._graphs.setdefault(count, CudaGraphed())(self._rise, noise).clone()
        return self._rise(noise, on_alive)

    def _rise(self, noise: Tensor, on_alive: Callable[[], None] = lambda: None) -> Tensor:
        x = noise
        for end in ascend(x, self.frozen, self.sizes, self.settings, normal_stack(self.generators)):
            x = end
            on_alive()
        return resize(x, self.sizes[len(self.frozen)])
