"""Copy shares of a sample from its own image and from the most similar one of many other images.

A pyramid sees one image, so a sample of A can only repeat B where A and B share content: overlapping scans, two files
of one picture. Search among all images is coarse: 32 px, and some patches of the sample; one exact search follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.scales import resize
from pgcn.metrics.nearest_patches import PatchKeys, bidirectional, patch_grid
from pgcn.metrics.patch_distribution import PATCH, patches

COARSE_SIDE = 32
"""Longest side, px, at which a sample is compared with every image: some 0.7 ms of a core each."""

STRIDE = 3
"""Distance of the patches of the sample that are searched there, px."""


class CopyShares(NamedTuple):
    """Copy shares of a sample from its own image, and from `image`, the most similar other one; None without others."""

    own: float
    other: float | None = None
    image: str | None = None


class Coarse(NamedTuple):
    """An image's patches at `COARSE_SIDE`, prepared for searches."""

    name: str
    keys: PatchKeys


def coarse(name: str, image: Tensor) -> Coarse:
    """The image `(1, 3, H, W)` for `most_similar`."""
    return Coarse(name, PatchKeys(patches(_reduced(image))))


def most_similar(sample: Tensor, images: Iterable[Coarse]) -> str | None:
    """The name of the image whose patches are nearest to those of `sample` `(1, 3, h, w)`; None without images."""
    small = _reduced(sample)
    rows, columns = patch_grid(small)
    every = torch.arange(rows * columns).view(rows, columns)[::STRIDE, ::STRIDE].flatten()
    queries, best = patches(small)[every], (float("inf"), "")
    for image in images:
        beat()
        best = min(best, (float(image.keys.distances(queries).amin(1).mean()), image.name))
    return best[1] or None


def copy_share(sample: Tensor, image: Tensor) -> float:
    """`copy` of `pgcn.metrics.nearest_patches.bidirectional`, both `(1, 3, h, w)` in [-1, 1], of any sizes."""
    return bidirectional(sample, image)["copy"]


def _reduced(x: Tensor) -> Tensor:
    factor = min(1.0, COARSE_SIDE / max(x.shape[-2:]))
    height, width = (max(PATCH, round(side * factor)) for side in x.shape[-2:])
    return resize(x, (height, width))
