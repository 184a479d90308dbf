"""Windows: the parts of a scale that one iteration trains on, so that its cost does not grow with the image.

A scale larger than `Settings.window` is trained on random windows. Start, observed image and recovery start are cut at
the same place, with the five pixels around it as the border of the chain: f at a position of the window is that of
the whole image, and so is the gradient at pixels five or more from the window's edge. At the edges of the image the
border is zero, as it is for whole images.

Starts are computed in *regions*, at most twice as large as windows a side. A region follows one point of the image
from scale to scale; windows are cut out of it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.patchgencn.energy import pad
from pgcn.patchgencn.weights import PAD
from pgcn.settings import Settings

Place = tuple[int, int]
"""Row and column of the first pixel of a window or region in its scale."""

REGION = 2
"""Sides of a region in sides of a window: room for windows, and for a margin that the next finer region leaves off."""


def window_size(size: Size, settings: Settings) -> Size:
    """The size of the windows of a scale of `size`: the whole scale where it is no larger, or without windows."""
    return _at_most(size, settings.window)


def region_size(size: Size, settings: Settings) -> Size:
    """The size of the regions that starts are computed in at a scale of `size`."""
    return _at_most(size, REGION * settings.window)


def _at_most(size: Size, side: int) -> Size:
    return (min(size[0], side), min(size[1], side)) if side else size


def pool_count(size: Size, settings: Settings) -> int:
    """Number of starts that the pool of a scale of `size` holds: as many pixels as `pool_size` windows have."""
    window, region = window_size(size, settings), region_size(size, settings)
    share = window[0] * window[1] / (region[0] * region[1])
    return max(1, round(settings.pool_size * share)) if settings.pool_size else 0


def cut(x: Tensor, places: Sequence[Place], size: Size) -> Tensor:
    """Windows with their border: `(N, B·C, H, W)` to `(N, B·C, h + 10, w + 10)` for a `size` of (h, w).

    The window of image b of the batch is at `places[b]`; pixels beyond the edge of `x` are zero.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return pad(x)
    count, (height, width) = len(places), x.shape[-2:]
    at, border = torch.tensor(places), torch.arange(-PAD, max(size) + PAD)
    rows = (at[:, :1] + border[: size[0] + 2 * PAD]).to(x.device)
    columns = (at[:, 1:] + border[: size[1] + 2 * PAD]).to(x.device)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    image = torch.arange(count, device=x.device)[:, None, None]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    apart = x.unflatten(1, (count, -1))
    found = apart[:, image, :, rows[:, :, None], columns[:, None]]  # (B, h + 10, w + 10, N, C)
    windows: Tensor = (found * inside[..., None, None]).permute(3, 0, 4, 1, 2).flatten(1, 2)
    return windows.contiguous()


def region_place(point: Sequence[float], size: Size, region: Size) -> Place:
    """The place of a region around a point of the image, in shares of its sides, at a scale of `size`."""
    row, column = (
        min(max(0, round(share * whole - side / 2)), whole - side)
        for share, whole, side in zip(point, size, region, strict=True)
    )
    return row, column


def enlarge(
    regions: Tensor, places: Tensor, size: Size, finer: Size, finer_region: Size, finer_places: Tensor
) -> Tensor:
    """Regions of the next finer scale out of those of a scale of `size`: `(P, B·C, h, w)` to `(P, B·C, *finer_region)`.

    `places` and `finer_places` `(P, B, 2)` are theirs. A region is resized alone, and its place rounded to a pixel.
    """
    if finer_region == finer:
        return resize(regions, finer)
    region = (regions.shape[-2], regions.shape[-1])
    enlarged = tuple(round(side * after / before) for side, before, after in zip(region, size, finer, strict=True))
    x = resize(regions, (enlarged[0], enlarged[1]))
    parts = []
    for start, row, finer_row in zip(x.split(1), places.tolist(), finer_places.tolist(), strict=True):
        own = start.chunk(places.shape[1], dim=1)
        cuts = []
        for part, place, wanted in zip(own, row, finer_row, strict=True):
            for axis in (0, 1):
                # A region at the edge of the image is enlarged to a region at the edge.
                at_edge = place[axis] + region[axis] == size[axis]
                begin = finer[axis] - enlarged[axis] if at_edge else round(place[axis] * finer[axis] / size[axis])
                inner = min(max(0, wanted[axis] - begin), enlarged[axis] - finer_region[axis])
                part = part.narrow(axis - 2, inner, finer_region[axis])
            cuts.append(part)
        parts.append(torch.cat(cuts, dim=1))
    return torch.cat(parts)


class Windows:
    """The windows of one scale of `size`, for a batch of images with these `seeds`; they are the same in any batch."""

    def __init__(self, scale: int, size: Size, settings: Settings, seeds: Sequence[int]) -> None:
        self.scale, self.size, self.seeds = scale, size, seeds
        self.window, self.region = window_size(size, settings), region_size(size, settings)
        self.places: list[Place] = [(0, 0)] * len(seeds)
        """Place of the present window of each image."""

    @property
    def whole(self) -> bool:
        """True where a window is the whole scale."""
        return self.window == self.size

    def cut_starts(self, starts: Tensor, regions: Tensor, iteration: int) -> Tensor:
        """A random window of each start with its border; those of the first start become `places`.

        `starts` `(chains, B·C, *region)` are at `regions` `(chains, B, 2)`; the result is
        `(chains, B·C, h + 10, w + 10)`.
        """
        if self.whole:
            return pad(starts)
        choices = [random.Random(f"{seed} {self.scale} {iteration}") for seed in self.seeds]  # noqa: S311 (no secret)
        cuts, places = [], []
        for start, row in zip(starts.split(1), regions.tolist(), strict=True):
            chosen = [self._choose(region, choice) for region, choice in zip(row, choices, strict=True)]
            inner = [(place[0] - at[0], place[1] - at[1]) for place, at in zip(chosen, row, strict=True)]
            cuts.append(cut(start, inner, self.window))
            places.append(chosen)
        self.places = places[0]
        return torch.cat(cuts)

    def cut(self, x: Tensor, places: Sequence[Place] | None = None) -> Tensor:
        """The present windows of the images `x` `(N, B·C, H, W)`, or those at `places`, with their border."""
        return cut(x, self.places if places is None else places, self.window)

    def _choose(self, region_at: Sequence[int], choice: random.Random) -> Place:
        """A random place of a window whose border is in its region too, except beyond the edges of the image."""
        row, column = (
            choice.randint(at + (PAD if at > 0 else 0), at + side - part - (PAD if at + side < whole else 0))
            for at, side, part, whole in zip(region_at, self.region, self.window, self.size, strict=True)
        )
        return row, column
