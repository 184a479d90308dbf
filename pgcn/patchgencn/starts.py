"""Starts of the synthesis chains: noise at scale 0, and above it the upsampled ends of the chains of the scale below.

Coarser scales are frozen, so a start depends on its noise alone, and starts are computed ahead in batches. Each is used
once, as in the published algorithm, or kept in a pool from which the iterations draw in turn. With windows, starts are
regions of large scales (`pgcn.patchgencn.windows`), and a pool of larger ones holds fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgcn.fused import is_fused
from pgcn.heartbeat import beat
from pgcn.imaging.noise import noise_start, normal_batch
from pgcn.imaging.normals import Project, applied
from pgcn.imaging.scales import Size
from pgcn.method import ChainOptions, State
from pgcn.patchgencn.cuda_graph import CudaGraphed
from pgcn.patchgencn.energy import RGB_CHANNELS
from pgcn.patchgencn.resume import joined
from pgcn.patchgencn.sampling import refine
from pgcn.patchgencn.weights import Weights
from pgcn.patchgencn.windows import enlarge, pool_count, region_place, region_size
from pgcn.settings import Settings

STARTS_AHEAD = 16
"""Number of starts computed together: the chains of the frozen scales run as a batch."""


class ChainStarts:
    """Starts at one scale for a batch of B images; image b draws from `generators[b]` alone. `rule` is applied to all
    states: it keeps normals at unit length.

    `drawn` `(P, B·C, h, w)` are the starts that are computed, of which the first `used` are given away; a pool is used
    again and again. `places` `(P, B, 2)`, on the CPU, are the rows and columns of the regions; zero for whole starts.
    """

    def __init__(
        self,
        frozen: Sequence[Weights],
        sizes: Sequence[Size],
        settings: Settings,
        generators: Sequence[torch.Generator],
        channels: int = 3,
        rule: Project | None = None,
    ) -> None:
        self.frozen, self.settings, self.generators, self.channels = frozen, settings, generators, channels
        self.rule = rule
        self.sizes = sizes[: len(frozen) + 1]
        self.regions = [region_size(size, settings) for size in self.sizes]
        self.drawn = torch.empty(0, channels * len(generators), *self.regions[-1], device=generators[0].device)
        self.places = torch.empty(0, len(generators), 2, dtype=torch.int64)
        self.used = 0
        self.pool = pool_count(self.sizes[-1], settings) if frozen else 0
        self._graphs: dict[int, CudaGraphed[Tensor]] = {}

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Starts of `count` chains for each image, `(count, B·C, h, w)`, and the places of their regions."""
        if self.pool:
            return self._from_pool(count)
        if self.used + count > len(self.drawn):
            drawn, places = self._ends(max(STARTS_AHEAD, count))
            self.drawn = torch.cat([self.drawn[self.used :], drawn])
            self.places = torch.cat([self.places[self.used :], places])
            self.used = 0
        self.used += count
        return self.drawn[self.used - count : self.used], self.places[self.used - count : self.used]

    def _from_pool(self, count: int) -> tuple[Tensor, Tensor]:
        if not len(self.drawn):
            parts = [self._ends(min(STARTS_AHEAD, self.pool - at)) for at in range(0, self.pool, STARTS_AHEAD)]
            self.drawn, self.places = (torch.cat(part) for part in zip(*parts, strict=True))
        taken = [(self.used + chain) % self.pool for chain in range(count)]
        self.used = (self.used + count) % self.pool
        return torch.stack([self.drawn[at] for at in taken]), torch.stack([self.places[at] for at in taken])

    def _ends(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` new starts and their places: upsampled ends of the frozen scales' chains, or noise at scale 0."""
        noise = torch.cat([noise_start(self.regions[0], [g], count, self.channels) for g in self.generators], dim=1)
        noise = applied(self.rule, noise)
        places = self._new_places(count)
        if not self.frozen:
            return noise, places[-1]
        fused = is_fused(noise) and self.channels == RGB_CHANNELS
        if fused and self.settings.frozen_sigma() == 0 and self._whole:
            beat()  # a replayed graph runs no Python, so its chains send no heartbeats
            ends = self._graphs.setdefault(count, CudaGraphed())(lambda x: self._from_noise(x, places), noise).clone()
        else:
            ends = self._from_noise(noise, places)
        return ends, places[-1]

    def tensors(self, image: int) -> dict[str, Tensor]:
        """The starts of one image of the batch, for a state."""
        own = {"starts": self.drawn[:, self.channels * image : self.channels * (image + 1)]}
        return own if self._whole else own | {"start_places": self.places[:, image : image + 1]}

    def load(self, states: Sequence[State]) -> None:
        """Take over the `tensors` of a batch's states."""
        self.drawn = joined(states, "starts", self.drawn, dim=1)
        if self._whole:
            self.places = torch.zeros(len(self.drawn), len(states), 2, dtype=torch.int64)
        else:
            self.places = joined(states, "start_places", self.places, dim=1)

    @property
    def _whole(self) -> bool:
        return list(self.regions) == list(self.sizes)

    def _new_places(self, count: int) -> list[Tensor]:
        """Places `(count, B, 2)` of new regions at every scale: each region follows one random point of the image."""
        if self._whole:
            return [torch.zeros(count, len(self.generators), 2, dtype=torch.int64)] * len(self.sizes)
        points = [torch.rand(count, 2, generator=g, device=g.device).tolist() for g in self.generators]
        return [
            torch.tensor([[region_place(of_image[at], size, region) for of_image in points] for at in range(count)])
            for size, region in zip(self.sizes, self.regions, strict=True)
        ]

    def _from_noise(self, noise: Tensor, places: Sequence[Tensor]) -> Tensor:
        options = ChainOptions(draw=normal_batch(self.generators), after=self.rule)
        x = noise
        for scale, net in enumerate(self.frozen):
            end = refine(x, net, self.settings, scale, options)
            x = enlarge(
                end, places[scale], self.sizes[scale], self.sizes[scale + 1], self.regions[scale + 1], places[scale + 1]
            )
            x = applied(self.rule, x)
        return x
