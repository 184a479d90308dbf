"""Metrics of anomaly maps against masks of true anomalies: AUROC of images and pixels, and AUPRO.

AUPRO (Bergmann et al., CVPR 2020) is the area under the mean share of each true region that is found (PRO) over the
share of normal pixels that are false alarms, up to a `limit`, divided by it: small regions count as much as large ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgcn.metrics.pictures import auroc

LIMIT = 0.3
"""The share of false alarms up to which AUPRO is taken, as it is published."""


def localization(maps: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, float]:
    """`image_auroc`, `pixel_auroc` and `aupro` of some images' maps; higher is better, NaN where it is not defined.

    `maps` `(H, W)` are higher where an image is unusual; the score of an image is its highest value. `labels`
    `(H, W)`, whole numbers of the same size, have a number for each true region, -1 elsewhere.
    """
    peaks = torch.stack([values.max() for values in maps])
    unusual = torch.tensor([bool((label >= 0).any()) for label in labels], device=peaks.device)
    values, chosen = (torch.cat([x.flatten() for x in every]) for every in (maps, [label >= 0 for label in labels]))
    both = bool(unusual.any()) and not bool(unusual.all())
    return {
        "image_auroc": auroc(peaks[unusual], peaks[~unusual]) if both else float("nan"),
        "pixel_auroc": auroc(values[chosen], values[~chosen]) if bool(chosen.any()) else float("nan"),
        "aupro": aupro(maps, labels) if bool(chosen.any()) else float("nan"),
    }


def aupro(maps: Sequence[Tensor], labels: Sequence[Tensor], limit: float = LIMIT) -> float:
    """AUPRO of all images together, in [0, 1]: `limit`/2 is chance. Arguments as in `localization`.

    Raises `ValueError` where there is no true region, or no normal pixel.
    """
    values = torch.cat([one.flatten() for one in maps]).double()
    regions = _numbered(labels)
    normal = regions < 0
    count = int(regions.max()) + 1
    if count == 0 or not bool(normal.any()):
        raise ValueError("AUPRO needs at least one true region and one normal pixel")
    areas = regions[~normal].bincount(minlength=count).double()
    found = torch.where(normal, 0.0, 1 / (areas[regions.clamp_min(0)] * count))
    false = normal.double() / normal.sum()
    order = values.argsort(descending=True)
    values, found, false = values[order], found[order].cumsum(0), false[order].cumsum(0)
    last = torch.cat([values[1:] != values[:-1], values.new_ones(1, dtype=torch.bool)])  # equal scores fall together
    start = values.new_zeros(1)
    return _area(torch.cat([start, false[last]]), torch.cat([start, found[last]]), limit) / limit


def _numbered(labels: Sequence[Tensor]) -> Tensor:
    """The labels of all images as one row, regions numbered from 0 over all of them; -1 elsewhere."""
    rows, first = [], 0
    for label in labels:
        _, numbers = label.flatten().clamp_min(-1).unique(return_inverse=True)
        if bool((label < 0).any()):
            numbers = numbers - 1
        rows.append(torch.where(numbers >= 0, numbers + first, -1))
        first += int(numbers.max()) + 1
    return torch.cat(rows)


def _area(x: Tensor, y: Tensor, limit: float) -> float:
    """The area under straight lines through `(x, y)`, x ascending from 0 to 1, from 0 to `limit`."""
    inside = int((x <= limit).sum())
    if inside < len(x):
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        end = y[inside - 1] + share * (y[inside] - y[inside - 1])
        x, y = torch.cat([x[:inside], x.new_tensor([limit])]), torch.cat([y[:inside], end[None]])
    return float(torch.trapezoid(y, x))
