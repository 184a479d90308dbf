"""Nearest patches of a sample and its image: coherence, completeness, and how much of the sample is copied."""

from __future__ import annotations

import torch
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.metrics.patch_distribution import PATCH, known_patches, patches

SEARCH_SIDE = 64
"""Longest side at which patches are searched, px: the search is exact, and so quadratic in pixels (45 MB at most)."""

TIE = (0.5 / 255) ** 2
"""Patches this much farther than the nearest are as near: a quarter of an 8-bit level, squared."""


UNKNOWN = 1e3
"""Distance of patches that are not known: larger than any."""


def bidirectional(sample: Tensor, image: Tensor, known: Tensor | None = None) -> dict[str, float]:
    """`coherence`, `completeness` and `copy` of a sample, both `(1, C, H, W)` in [-1, 1], of any sizes.

    With all 7x7 patches P of the sample and Q of the image, at most 64 pixels on the longest side, and d the
    squared difference of two patches, mean over their values (Simakov et al., CVPR 2008):

    - coherence = mean_P min_Q d(P, Q): what is in the sample is from the image. 0 is equal;
    - completeness = mean_Q min_P d(P, Q): what is in the image is in the sample. 0 is equal;
    - copy: see `continued`.

    Only patches of `known` pixels of the image `(1, 1, H, W)` count, where not all are.
    """
    sample, image = to_search_size(sample, image, SEARCH_SIDE)
    distances = squared_distances(patches(sample), patches(image))
    if known is not None:
        whole = known_patches(known, image)
        distances = torch.where(whole, distances, UNKNOWN)
    return {
        "coherence": float(distances.amin(1).mean()),
        "completeness": float((distances if known is None else distances[:, whole]).amin(0).mean()),
        "copy": continued(distances.view(*patch_grid(sample), *patch_grid(image))),
    }


class PatchKeys:
    """Patches that others are compared with, `(m, d)`, prepared once for any number of queries.

    One centre is taken from keys and queries, so that the squares stay small in float32.
    """

    def __init__(self, keys: Tensor) -> None:
        self._centre = keys.mean(0)
        self._keys = keys - self._centre
        self._squares = self._keys.square().sum(1)

    def __len__(self) -> int:
        return len(self._keys)

    def distances(self, queries: Tensor) -> Tensor:
        """Mean squared difference per value of each of `queries` `(n, d)` from each key: `(n, m)`.

        From |q|² - 2qk + |k|².
        """
        queries = queries.to(self._keys.device) - self._centre
        squares = queries.square().sum(1, keepdim=True) + self._squares
        return torch.addmm(squares, queries, self._keys.T, alpha=-2).clamp_min_(0).div_(self._keys.shape[1])


def squared_distances(queries: Tensor, keys: Tensor) -> Tensor:
    """Mean squared difference per value of each of `queries` `(n, d)` from each of `keys` `(m, d)`: `(n, m)`."""
    return PatchKeys(keys).distances(queries)


def continued(distances: Tensor) -> float:
    """Share of a sample that continues shifted pieces of the image, in [0, 1], from `(h, w, H, W)` distances.

    Two by two neighbouring patches of the sample continue a piece where two by two neighbouring patches of the
    image are each the nearest of theirs, or one of the nearest (`TIE`). The share of such blocks, each weighted
    by log(patches of the image / nearest ones), what its place in the image would cost to write down: a patch of a
    flat sky is near to all of the sky, so that its place says nothing.

    The image and its crops give 1, exact copies of flat areas too; noise about 0.05, since neighbours overlap.
    NaN where no patch of the image is nearer than another: the image is of one colour.
    """
    positions = distances.shape[2] * distances.shape[3]
    near = distances <= distances.amin((2, 3), keepdim=True) + TIE
    cost = (positions / near.float().sum((2, 3))).log()  # as float: torch adds up bools ten times slower
    rows = near[1:, :, 1:] & near[:-1, :, :-1]
    blocks = (rows[:, 1:, :, 1:] & rows[:, :-1, :, :-1]).flatten(2).any(2)
    weights = (cost[1:, 1:] + cost[1:, :-1] + cost[:-1, 1:] + cost[:-1, :-1]).double()
    total = float(weights.sum())
    return float((weights * blocks).sum()) / total if total > 0 else float("nan")


def to_search_size(sample: Tensor, image: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Both by one factor, so that the longest of all sides is at most `side` px; never enlarged by it.

    Each is at least 8 px both ways: a block of two by two patches.
    """
    factor = min(1.0, side / max(*sample.shape[-2:], *image.shape[-2:]))
    small = [resize(x, _block_size(x, factor)) for x in (sample, image)]
    return small[0], small[1]


def patch_grid(x: Tensor) -> tuple[int, int]:
    """Rows and columns of the patches of `x` `(1, C, H, W)`."""
    return x.shape[-2] - PATCH + 1, x.shape[-1] - PATCH + 1


def _block_size(x: Tensor, factor: float) -> tuple[int, int]:
    height, width = (max(PATCH + 1, round(side * factor)) for side in x.shape[-2:])
    return height, width
