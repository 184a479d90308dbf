"""Coherence and completeness at several scales, by exact nearest patches."""

from __future__ import annotations

import torch
from torch import Tensor

from pgcn.imaging.scales import Size
from pgcn.metrics.nearest_patches import PatchKeys, patch_grid, to_search_size
from pgcn.metrics.patch_distribution import known_patches, patches

SIDES = (32, 64, 128, 256)
"""Longest sides at which patches are searched, px: from the layout to fine detail."""

QUERIES = 512
"""At most so many patches, evenly spread, are looked up at a scale, each among all of the other: cost is linear in
pixels, and the mean over these is within some percent of that over all."""

CHUNK = 2**22
"""Distances that are taken at a time: 16 MiB."""


class CoherenceTo:
    """Coherence and completeness of samples with one image `(1, C, H, W)` in [-1, 1], whose patches are taken once.

    Only patches of `known` pixels `(1, 1, H, W)` count, where not all are.
    """

    def __init__(self, image: Tensor, known: Tensor | None = None) -> None:
        self._image, self._known = image, known
        self._prepared: dict[Size, _Patches] = {}

    def __call__(self, sample: Tensor) -> dict[str, float]:
        """`coherence_<px>` and `completeness_<px>` of a sample `(1, C, h, w)` in [-1, 1], for each of `SIDES`.

        Both are reduced by one factor, to at most that many pixels on the longest side. With the 7x7 patches P of the
        sample and Q of the image, d the squared difference of two patches, mean over their values, and V the mean
        of d between Q and their mean patch (after Simakov et al., CVPR 2008):

        - coherence = mean_P min_Q d / V: 0 where every patch of the sample is in the image;
        - completeness = mean_Q min_P d / V: 0 where every patch of the image is in the sample.

        1 is as far as a sample of one colour, the image's mean, is from the image's patches. The means are over at
        most 512 evenly spread patches. NaN for an image of one colour. An image smaller than a side is measured as it
        is.
        """
        found: dict[str, float] = {}
        at_size: dict[tuple[Size, Size], tuple[float, float]] = {}
        for side in SIDES:
            a, b = to_search_size(sample, self._image, side)
            sizes = _size(a), _size(b)
            if sizes not in at_size:
                at_size[sizes] = self._of(a, b)
            found[f"coherence_{side}"], found[f"completeness_{side}"] = at_size[sizes]
        return found

    def _of(self, sample: Tensor, image: Tensor) -> tuple[float, float]:
        """Coherence and completeness at one size."""
        if _size(image) not in self._prepared:
            self._prepared[_size(image)] = _Patches(image, self._known)
        to, own = self._prepared[_size(image)], _Patches(sample)
        if to.variance <= 1e-9:
            return float("nan"), float("nan")
        return mean_nearest(own.queries, to.keys) / to.variance, mean_nearest(to.queries, own.keys) / to.variance


def coherence(sample: Tensor, image: Tensor) -> dict[str, float]:
    """`CoherenceTo(image)` of one sample."""
    return CoherenceTo(image)(sample)


class _Patches:
    """All patches of a picture as keys, and those of them that are looked up."""

    def __init__(self, x: Tensor, known: Tensor | None = None) -> None:
        every, whole, queried = patches(x), known_patches(known, x), spread(patch_grid(x))
        some = queried[whole[queried]]
        self.queries = every[some if len(some) else whole.nonzero()[:QUERIES, 0]]
        every = every[whole] if known is not None else every
        self.keys = PatchKeys(every)
        self.variance = float(every.var(0, correction=0).mean())


def mean_nearest(queries: Tensor, keys: PatchKeys) -> float:
    """Mean squared distance from each of `queries` `(n, d)` to the nearest of `keys`."""
    chunks = queries.split(max(1, CHUNK // len(keys)))
    return float(torch.cat([keys.distances(chunk).amin(1) for chunk in chunks]).mean())


def spread(grid: tuple[int, int]) -> Tensor:
    """Indices of at most `QUERIES` positions of `grid`, rows and columns, on a lattice of one pitch both ways."""
    rows, columns = grid
    pitch = 1
    while -(-rows // pitch) * -(-columns // pitch) > QUERIES:
        pitch += 1
    # From the middle of the first cell, so that borders have the weight that they have in the whole grid.
    y, x = (torch.arange(min(pitch // 2, n - 1), n, pitch) for n in grid)
    return (y[:, None] * columns + x).flatten()


def _size(x: Tensor) -> Size:
    return x.shape[-2], x.shape[-1]
