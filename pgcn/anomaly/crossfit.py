"""Cross-fitting: each position is scored with the exact energy of patches from other parts of the same image.

The image is cut into blocks as a checkerboard. The patches of the white blocks give the energy of the black ones, and
the other way round, so that no patch explains itself or a neighbour that it overlaps. A second checkerboard, moved by
half a block, is weighted so that no edge of a block shows. The energy is that of `pgcn.exact.definition` with noise in
the proportions of the patches' own components Σ, instead of equal noise in all pixels, in the limit of little noise,
-t² log Σ_i exp(-|q - p_i|² / 2t²) for t → 0, where the nearest patch decides:

    E(q) = min_i (q - p_i)ᵀ(Σ + εI)⁻¹(q - p_i) / 2,   q a scored patch, p_i the learned ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.anomaly.tail import Tail
from pgcn.exact.patches import Patches, bordered, nearest_usable, patches_of, usable
from pgcn.heartbeat import beat
from pgcn.imaging.scales import Size, resize

COMPARED = 4_000_000
"""Pairs of patches that are compared together: bounds memory (16 MB)."""

STRIDE = 2_654_435_761
"""A stride that no row is a multiple of: chosen positions are spread evenly."""

FLAT = 1e-3
"""Least distance of the quantiles of the energies of one scale: an image of one colour has no tail."""


@dataclass(frozen=True)
class CrossFit:
    """Settings of the map.

    - `side`: longest side at which an image is looked at, px; larger ones are reduced.
    - `scales`: sizes at which patches are compared, each half the one before; the map is the mean over them.
    - `patch`, `components`: side of a patch, px, odd, and its principal components.
    - `blocks`: blocks along the shorter side of the image, at the most; each is at least two patches wide.
    - `keys`: most patches that a position is compared with, spread evenly over the others.
    - `floor`: ε as a share of the largest variance of a component.
    """

    side: int = 512
    scales: int = 2
    patch: int = 5
    components: int = 32
    blocks: int = 4
    keys: int = 4096
    floor: float = 1e-3


@dataclass(frozen=True, eq=False)
class Fold:
    """Positions that are `scored` together, `(h, w)`, and the `weight` of their scores."""

    scored: Tensor
    weight: Tensor


def folds(size: Size, block: int) -> list[Fold]:
    """Both halves of two checkerboards of blocks of `block` px; every position is scored once in each board."""
    made = []
    for moved in (0, block // 2):
        (row, y), (column, x) = ((_blocks(side, block, moved)) for side in size)
        black = (row[:, None] + column) % 2 == 1
        weight = y[:, None] * x
        made += [Fold(black, weight), Fold(~black, weight)]
    return made


def _blocks(side: int, block: int, moved: int) -> tuple[Tensor, Tensor]:
    """The block of each of `side` positions, and a weight that falls from 1 in its middle to almost 0 at its edges."""
    at = torch.arange(side) + moved
    within = (at % block + 0.5) / block
    return at // block, 1 - (2 * within - 1).abs() + 1e-3


@dataclass(frozen=True, eq=False)
class PatchBank:
    """Learned patches `(m, components)` in units of (Σ + εI)^½, and the `scale` that gives queries these units."""

    keys: Tensor
    scale: Tensor

    def energy(self, queries: Tensor) -> Tensor:
        """E of `queries` `(n, components)`: `(n,)`; lower is more like the learned patches."""
        squares = self.keys.square().sum(1)
        found = []
        for q in (queries * self.scale).split(max(1, COMPARED // len(self.keys))):
            beat()
            apart = torch.addmm(squares, q, self.keys.T, alpha=-2).amin(1) + q.square().sum(1)
            found.append(apart.clamp_min(0) / 2)
        return torch.cat(found)


def patch_bank(learned: Sequence[Tensor], settings: CrossFit) -> PatchBank:
    """The bank of patches `(n, components)` of one or more images, all in the same components."""
    rows = torch.cat([_spread(rows, -(-settings.keys // len(learned))) for rows in learned])
    variance = rows.var(0) if len(rows) > 1 else torch.ones_like(rows[0])
    largest = variance.max().clamp_min(1e-12)
    scale = (variance + settings.floor * largest).rsqrt()
    return PatchBank(rows * scale, scale)


def _spread(rows: Tensor, most: int) -> Tensor:
    """At most `most` of the rows, spread evenly."""
    if len(rows) <= most:
        return rows
    return rows[((torch.arange(most) * STRIDE) % len(rows)).to(rows.device)]


def cross_fitted(image: Tensor, known: Tensor | None = None, settings: CrossFit | None = None) -> Tensor:
    """The anomaly map of `image` `(1, C, H, W)` in [-1, 1], in decades of its own tail: `(1, 1, h, w)`.

    Its longest side is at most `settings.side`. Pixels where `known` `(1, 1, H, W)` is 0 are not learned from.
    Positions whose patch has such pixels, or reaches over the border, take the value of the nearest one whose patch is
    whole. Raises `ValueError` where no pixel is known.
    """
    settings = settings or CrossFit()
    maps = []
    for size in map_sizes((image.shape[-2], image.shape[-1]), settings):
        where = whole_patches(size, None if known is None else F.adaptive_avg_pool2d(known, size), settings.patch)
        where = where.to(image.device)
        energies = scale_energies(resize(image, size), where, settings)
        decades = Tail.of(energies[where], FLAT).decades(energies)
        maps.append(decades.flatten()[nearest_usable(where)].view(1, 1, *size))
    finest = maps[0].shape[-2:]
    together = sum(F.interpolate(one, size=finest, mode="bilinear", align_corners=False) for one in maps)
    assert isinstance(together, Tensor)
    return Tail.of(together).decades(together)


def whole_patches(size: Size, known: Tensor | None, patch: int) -> Tensor:
    """Positions `(h, w)` whose patch is known and inside the image; smaller parts of it where no patch is.

    `known` `(1, 1, h, w)` is the known share of each pixel; None: all.
    """
    inside = torch.ones(1, 1, *size) if known is None else (known > 0.99).float()
    margin = patch // 2
    if min(size) > 2 * margin:
        whole = F.max_pool2d(F.pad(1 - inside, [margin] * 4, value=1.0), patch, stride=1)[0, 0] < 0.5
        if bool(whole.any()):
            return whole
    return usable(inside, patch)


def map_sizes(full: Size, settings: CrossFit) -> Iterator[Size]:
    """The sizes of the scales, finest first; at coarser ones than the first the short side has eight patches."""
    factor = min(1.0, settings.side / max(full))
    for scale in range(settings.scales):
        height, width = (max(1, round(side * factor / 2**scale)) for side in full)
        if scale and min(height, width) < 8 * settings.patch:
            return
        yield height, width


def scale_energies(image: Tensor, where: Tensor, settings: CrossFit) -> Tensor:
    """The cross-fitted energy of every position of `image` `(1, C, h, w)`: `(h, w)`.

    Patches are learned at positions `where` `(h, w)`.
    """
    patches = patches_of(image, settings.patch, settings.components)
    size = patches.size
    total, weights = patches.keys.new_zeros(size), patches.keys.new_zeros(size)
    block = max(2 * settings.patch, -(-min(size) // settings.blocks))
    for fold in folds(size, block):
        scored, weight = fold.scored.to(image.device), fold.weight.to(image.device)
        if not bool(scored.any()):
            continue
        bank = patch_bank([_learned(patches, scored, where)], settings)
        weight = weight[scored]
        total[scored] += weight * bank.energy(patches.keys[scored.flatten()])
        weights[scored] += weight
    return total / weights


def _learned(patches: Patches, scored: Tensor, where: Tensor) -> Tensor:
    """The patches that have no scored pixel; of an image that is too small for one, those around others, or all."""
    for side in (patches.patch, 1):
        near = F.max_pool2d(bordered(scored.float()[None, None], side // 2), side, stride=1)[0, 0] > 0
        chosen = (where & ~near).flatten()
        if bool(chosen.any()):
            return patches.keys[chosen]
    return patches.keys[where.flatten()]
