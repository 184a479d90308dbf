"""Regions of a map above a threshold: connected pixels, diagonals included."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Region:
    """One region of a map. Lengths are px of the map, rows and columns from its upper left pixel, 0.

    `area` is the number of its pixels, `box_y` and `box_x` are the first row and column of its box, `box_height` and
    `box_width` its sides, `y` and `x` the mean of its pixels' positions, `peak` its highest value, at `peak_y` and
    `peak_x`, and `mean` the mean of its values.
    """

    area: int
    y: float
    x: float
    box_y: int
    box_x: int
    box_height: int
    box_width: int
    peak: float
    peak_y: int
    peak_x: int
    mean: float


def regions_of(values: Tensor, threshold: float, least: int = 1) -> list[Region]:
    """The regions of `values` `(H, W)` above `threshold` with at least `least` pixels, the highest peak first."""
    above = values > threshold
    labels = components(above)[above]
    rows, columns = above.nonzero(as_tuple=True)
    order = labels.argsort(stable=True)
    _, counts = labels.unique(return_counts=True)
    split = [part.split(counts.tolist()) for part in (rows[order], columns[order], values[above][order])]
    found = [_region(*part) for part in zip(*split, strict=True) if len(part[0]) >= least]
    return sorted(found, key=lambda region: -region.peak)


def _region(rows: Tensor, columns: Tensor, values: Tensor) -> Region:
    top, left, highest = int(rows.min()), int(columns.min()), int(values.argmax())
    return Region(
        area=len(rows),
        y=float(rows.double().mean()),
        x=float(columns.double().mean()),
        box_y=top,
        box_x=left,
        box_height=int(rows.max()) - top + 1,
        box_width=int(columns.max()) - left + 1,
        peak=float(values[highest]),
        peak_y=int(rows[highest]),
        peak_x=int(columns[highest]),
        mean=float(values.double().mean()),
    )


def components(mask: Tensor) -> Tensor:
    """Labels `(H, W)`, int64, of a mask `(H, W)`: equal on connected pixels, -1 where the mask is False.

    Each pixel takes the largest label around it, then the label of the pixel that this label is the index of, so that
    long regions need few rounds.
    """
    height, width = mask.shape
    count = height * width
    label = torch.where(mask, torch.arange(count, device=mask.device).view(height, width), -1)
    while True:
        near = F.max_pool2d(label.double()[None, None], 3, stride=1, padding=1)[0, 0].long()
        new = torch.where(mask, near, label).flatten()
        for _ in range(2):
            new = torch.where(new >= 0, new[new.clamp_min(0)], new)
        if bool((new == label.flatten()).all()):
            return label
        label = new.view(height, width)
