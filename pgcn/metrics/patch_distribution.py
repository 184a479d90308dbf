"""Measures of a sample against the image it was learned from. Fidelity and copying belong side by side.

Fidelity alone is won by returning the image; `copy` in `pgcn.metrics.nearest_patches` is the share of a sample
that is copied.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.masks import fit
from pgcn.imaging.scales import resize

PATCH = 7
PROJECTIONS = 256
QUANTILES = 512


def patches(image: Tensor) -> Tensor:
    """All 7x7 patches of `image` `(1, C, H, W)`, as rows: `((H - 6)·(W - 6), 49·C)`. H and W are at least 7."""
    return F.unfold(image, PATCH)[0].T


def known_patches(known: Tensor | None, image: Tensor) -> Tensor:
    """Which patches of `image` `(1, C, h, w)` have known pixels alone, `(n,)`; all of them where none has.

    `known` `(1, 1, H, W)` is 1 on known pixels of the same image, at any size; None: everywhere.
    """
    size = image.shape[-2], image.shape[-1]
    if known is None:
        return torch.ones((size[0] - PATCH + 1) * (size[1] - PATCH + 1), dtype=torch.bool, device=image.device)
    unknown = fit(1 - known, size)
    whole = F.max_pool2d(unknown, PATCH, stride=1).flatten() < 0.5
    return whole if bool(whole.any()) else torch.ones_like(whole)


def known_pixels(known: Tensor | None, image: Tensor) -> Tensor:
    """The values of known pixels of `image` `(1, C, h, w)`, `(C, n)`; `known` as for `known_patches`."""
    pixels = image[0].flatten(1)
    if known is None:
        return pixels
    return pixels[:, fit(1 - known, (image.shape[-2], image.shape[-1])).flatten() < 0.5]


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
    columns = values.T.contiguous()
    # NumPy sorts with the processor's vectors: five times as fast as torch.
    on_cpu = columns.device.type == "cpu"
    ordered = torch.from_numpy(np.sort(columns.detach().numpy(), axis=1)) if on_cpu else columns.sort(dim=1).values
    return F.interpolate(ordered.unsqueeze(1), size=QUANTILES, mode="linear", align_corners=True).squeeze(1).T


def patch_swd(a: Tensor, b: Tensor) -> float:
    """Patch-SWD of two images `(1, C, H, W)`, which may differ in size: the mean of `patch_swd_levels`."""
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


def diversity(samples: Tensor, image: Tensor, known: Tensor | None = None) -> float:
    """Mean over pixels of the std over samples `(n, C, H, W)`, divided by the std of the image's known pixels.

    0 where all samples are one picture (SinGAN, Shaham et al., 2019). Needs two samples: NaN for one.
    """
    if len(samples) < 2:
        return float("nan")
    return float(samples.std(0).mean() / known_pixels(known, image).std().clamp_min(1e-6))
