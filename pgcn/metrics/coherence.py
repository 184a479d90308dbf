"""Coherence and completeness at several scales, by exact nearest patches."""

from __future__ import annotations

import torch
from torch import Tensor

from pgcn.metrics.nearest_patches import patch_grid, squared_distances, to_search_size
from pgcn.metrics.patch_distribution import patches

SIDES = (32, 64, 128, 256)
"""Longest sides at which patches are searched, px: from the layout to fine detail."""

QUERIES = 1024
"""At most so many patches, evenly spread, are looked up at a scale, each among all of the other: cost is linear in
pixels, and the mean over these is within some percent of that over all."""


def coherence(sample: Tensor, image: Tensor) -> dict[str, float]:
    """`coherence_<px>` and `completeness_<px>` of a sample, both `(1, 3, H, W)` in [-1, 1], for each of `SIDES`.

    Both are reduced by one factor, to at most that many pixels on the longest side. With the 7x7 patches P of the
    sample and Q of the image, d the squared difference of two patches, mean over their 147 values, and V the mean of d
    between Q and their mean patch (after Simakov et al., CVPR 2008):

    - coherence = mean_P min_Q d / V: 0 where every patch of the sample is in the image;
    - completeness = mean_Q min_P d / V: 0 where every patch of the image is in the sample.

    1 is as far as a sample of one colour, the image's mean, is from the image's patches. The means are over at most
    1,024 evenly spread patches. NaN for an image of one colour. An image smaller than a side is measured as it is.
    """
    found: dict[str, float] = {}
    for side in SIDES:
        a, b = to_search_size(sample, image, side)
        keys = patches(b)
        variance = float(keys.var(0, correction=0).mean())
        coherent, complete = (mean_nearest(x, y) for x, y in ((a, b), (b, a)))
        found[f"coherence_{side}"] = coherent / variance if variance > 1e-9 else float("nan")
        found[f"completeness_{side}"] = complete / variance if variance > 1e-9 else float("nan")
    return found


def mean_nearest(a: Tensor, b: Tensor) -> float:
    """Mean squared distance from patches of `a`, at most `QUERIES` of them, to their nearest of all patches of `b`."""
    queries, keys = patches(a)[spread(patch_grid(a))].to(b.device), patches(b)
    nearest = [squared_distances(chunk, keys).amin(1) for chunk in queries.split(max(1, 2**22 // len(keys)))]
    return float(torch.cat(nearest).mean())


def spread(grid: tuple[int, int]) -> Tensor:
    """Indices of at most `QUERIES` positions of `grid`, rows and columns, on a lattice of one pitch both ways."""
    rows, columns = grid
    pitch = 1
    while -(-rows // pitch) * -(-columns // pitch) > QUERIES:
        pitch += 1
    # From the middle of the first cell, so that borders have the weight that they have in the whole grid.
    y, x = (torch.arange(min(pitch // 2, n - 1), n, pitch) for n in grid)
    return (y[:, None] * columns + x).flatten()
