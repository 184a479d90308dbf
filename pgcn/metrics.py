"""Measures of a sample against the image it was learned from. Fidelity and copying belong side by side.

Fidelity alone is won by returning the image; `copy_share` says how much of a sample is just that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.pyramid import resize

PATCH = 7
PROJECTIONS = 256
QUANTILES = 512


def patches(image: Tensor) -> Tensor:
    """All 7x7 patches of `image` `(1, 3, H, W)`, as rows: `((H - 6)·(W - 6), 147)`. H and W are at least 7."""
    return F.unfold(image, PATCH)[0].T


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Sliced 1-Wasserstein distance between two sets of points, `(n, d)` and `(m, d)`.

    Mean over fixed random unit directions of ∫₀¹ |F⁻¹_a(q) - F⁻¹_b(q)| dq, taken at 512 quantiles, so that
    sets of different size have equal weight (Rabin et al., 2011).
    """
    generator = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(a.shape[1], PROJECTIONS, generator=generator), dim=0).to(a)
    return float((_quantiles(a @ directions) - _quantiles(b @ directions)).abs().mean())


def _quantiles(values: Tensor) -> Tensor:
    """Values at 512 evenly spaced quantiles of each column, interpolated: `(n, k)` to `(512, k)`."""
    ordered = values.sort(dim=0).values.T.unsqueeze(1)
    return F.interpolate(ordered, size=QUANTILES, mode="linear", align_corners=True).squeeze(1).T


def patch_swd(a: Tensor, b: Tensor) -> float:
    """Patch-SWD of two images `(1, 3, H, W)`, which may differ in size: the mean of `patch_swd_levels`."""
    levels = patch_swd_levels(a, b)
    return sum(levels) / len(levels)


def patch_swd_levels(a: Tensor, b: Tensor) -> list[float]:
    """Sliced Wasserstein distance of the 7x7 patches, finest level first.

    Levels halve both images until a further halving would leave a short side under 14 pixels (two patches).
    """
    distances = [sliced_wasserstein(patches(_at_least_a_patch(a)), patches(_at_least_a_patch(b)))]
    while min(*a.shape[-2:], *b.shape[-2:]) >= 4 * PATCH:
        a, b = (resize(x, (x.shape[-2] // 2, x.shape[-1] // 2)) for x in (a, b))
        distances.append(sliced_wasserstein(patches(a), patches(b)))
    return distances


def _at_least_a_patch(x: Tensor) -> Tensor:
    h, w = x.shape[-2:]
    return resize(x, (max(h, PATCH), max(w, PATCH)))


def diversity(samples: Tensor, image: Tensor) -> float:
    """Mean over pixels of the std over samples `(n, 3, H, W)`, divided by the std of the image's pixels.

    0 where all samples are one picture (SinGAN, Shaham et al., 2019). Needs two samples: NaN for one.
    """
    if len(samples) < 2:
        return float("nan")
    return float(samples.std(0).mean() / image.std().clamp_min(1e-6))


SEARCH_SIDE = 64
"""Longest side at which nearest patches are searched, px: the search is exact, and so quadratic in pixels."""

TIE = 1e-3
"""Squared distance, summed over a patch, below which two patches are one: a third of an 8-bit level a value."""


def bidirectional(sample: Tensor, image: Tensor) -> dict[str, float]:
    """`coherence`, `completeness` and `copy` of a sample, from one search; both `(1, 3, H, W)`.

    With patches P of the sample and Q of the image, at most 64 pixels on the longest side, and d² the squared
    difference of two patches, mean over their 147 values (Simakov et al., "Summarizing visual data using
    bidirectional similarity", CVPR 2008):

    - coherence = mean_P min_Q d²(P, Q): everything in the sample is from the image. 0 is equal;
    - completeness = mean_Q min_P d²(Q, P): everything in the image is in the sample. 0 is equal;
    - copy, see `copy_share`.
    """
    sample, image = _for_search(sample, image)
    queries, keys = patches(sample), patches(image)
    near, nearest = nearest_patches(queries, keys)
    far, _ = nearest_patches(keys, queries)
    values = queries.shape[1]
    return {
        "coherence": float(near.mean()) / values,
        "completeness": float(far.mean()) / values,
        "copy": _continued(sample, image, near, nearest),
    }


def copy_share(sample: Tensor, image: Tensor) -> float:
    """How much of `sample` is one shifted piece of `image`, in [0, 1]; both `(1, 3, H, W)`.

    Each 7x7 patch of the sample has its nearest patch in the image. Its neighbour, right or below, continues the
    piece where the neighbour of that nearest patch is as near to it as any other. The share of neighbours that
    do, each pair weighted by the lesser contrast (std of a patch's values), so that a flat sky, which is near to
    all of itself, says nothing. The image itself and its crops give 1, unrelated noise about 0.
    """
    sample, image = _for_search(sample, image)
    near, nearest = nearest_patches(patches(sample), patches(image))
    return _continued(sample, image, near, nearest)


def nearest_patches(queries: Tensor, keys: Tensor, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """Squared distance to the nearest of `keys` `(m, d)`, and its index, for each of `queries` `(n, d)`. Exact."""
    found = [torch.cdist(part, keys).min(1) for part in queries.split(chunk)]
    return torch.cat([part.values for part in found]).square(), torch.cat([part.indices for part in found])


def _continued(sample: Tensor, image: Tensor, near: Tensor, nearest: Tensor) -> float:
    queries, keys = (_grid(x) for x in (sample, image))
    rows, columns = keys.shape[:2]
    near, nearest = near.view(queries.shape[:2]), nearest.view(queries.shape[:2])
    contrast = queries.std(-1)
    continued, weight = 0.0, 0.0
    for down, right in ((0, 1), (1, 0)):
        here = nearest[: len(nearest) - down, : nearest.shape[1] - right]
        row, column = here // columns + down, here % columns + right
        inside = (row < rows) & (column < columns)
        follower = keys[row.clamp_max(rows - 1), column.clamp_max(columns - 1)]
        distance = (queries[down:, right:] - follower).square().sum(-1)
        lesser = contrast[: len(nearest) - down, : nearest.shape[1] - right]
        counts = torch.minimum(lesser, contrast[down:, right:]).double()
        continued += float((counts * (inside & (distance <= near[down:, right:] + TIE))).sum())
        weight += float(counts.sum())
    return min(1.0, continued / weight) if weight > 0 else 1.0


def _grid(x: Tensor) -> Tensor:
    """Patches where they are: `(H - 6, W - 6, 147)`."""
    return patches(x).view(x.shape[-2] - PATCH + 1, x.shape[-1] - PATCH + 1, -1)


def _for_search(sample: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    factor = min(1.0, SEARCH_SIDE / max(*sample.shape[-2:], *image.shape[-2:]))
    sample, image = (
        _at_least_a_patch(resize(x, (round(x.shape[-2] * factor), round(x.shape[-1] * factor))))
        for x in (sample, image)
    )
    return sample, image
