"""Matches of the positions of a picture, and what one round of the search for better ones is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pgcn.exact.patches import Patches
from pgcn.exact.settings import DetailSettings

NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


@dataclass(frozen=True, eq=False)
class Field:
    """The best matches of every position, the best first.

    `index` `(H, W, top)`, int32: positions in the image, y·w + x. `cost` `(H, W, top)`: what they were chosen by, a
    mean squared difference per value with the factors of `DetailSettings.completeness` and `coherence`; `inf` where a
    position has fewer matches.
    """

    index: Tensor
    cost: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, px."""
        return self.index.shape[0], self.index.shape[1]

    def copy(self) -> Field:
        """The same matches in memory of their own: the search overwrites those that it begins with."""
        return Field(self.index.clone(), self.cost.clone())

    def sources(self, image: tuple[int, int]) -> Tensor:
        """Row and column in the image, of that size, that each position is drawn from: `(2, H, W)`, int64."""
        best = self.index[..., 0].long()
        return torch.stack([best // image[1], best % image[1]])


@dataclass(frozen=True, eq=False)
class Round:
    """One round: every position takes the best of its matches, its neighbours' best ones and some random ones.

    `alpha` is 1 - t. `least` `(h·w,)` are the smallest squared differences of any position to each patch, 0 where
    none is known. `jumps` `(j, 3)`, int32, are the neighbours, as rows, columns and votes for coherence.
    """

    patches: Patches
    settings: DetailSettings
    alpha: float
    least: Tensor
    jumps: Tensor
    seed: int
    wrap: bool


def jumps_of(number: int) -> Tensor:
    """Neighbours of the `number`th round of a step: the nearest eight, and four more at a distance that alternates."""
    far = (3, 7)[number % 2]
    more = [(-far, 0), (far, 0), (0, -far), (0, far)]
    return torch.tensor([(*n, 1) for n in NEIGHBOURS] + [(*n, 0) for n in more], dtype=torch.int32)
