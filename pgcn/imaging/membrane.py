"""Colours of a pasted part that meet those around it, by a smooth change: Pérez et al., 2003, Poisson image editing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.holes import push_pull

STEP = 0.3
"""Largest step across the border, in [-1, 1], that is evened out: a larger one is an edge between two things."""

GRID = 256
"""Longest side that the change is computed at: it is smooth."""

ROUNDS = 200
"""Rounds of averaging, from a rough fill: on the grid, more change no value by a level of 255."""


def evened(image: Tensor, mask: Tensor) -> Tensor:
    """`image` `(1, C, H, W)` with a smooth change where `mask` `(1, 1, H, W)` is 1: no step of colour at its border.

    The change is, at the border, the difference between the means outside and inside, and harmonic between there: its
    Laplacian is 0, so that the detail inside stays. Where the difference is larger than `STEP`, an object ends at the
    border, and that part of the border is left out, as are the sides of the image. Where nothing is left of the border,
    the image is returned as it is.
    """
    height, width = image.shape[-2:]
    shrunk = max(height, width) / GRID
    size = (height, width) if shrunk <= 1 else (max(1, round(height / shrunk)), max(1, round(width / shrunk)))
    inside, near_inside = _means(image, mask, size)
    outside, near_outside = _means(image, 1 - mask, size)
    step = outside - inside
    border = near_inside * near_outside * (step.abs().amax(1, keepdim=True) <= STEP)
    if not bool(border.any()):
        return image
    change = _harmonic(torch.where(border > 0, step, torch.zeros_like(step)), border)
    change = F.interpolate(change, size=(height, width), mode="bilinear", align_corners=False)
    return torch.where(mask > 0, (image + change).clamp(-1, 1), image)


def _means(image: Tensor, where: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The means of the pixels of `where` in each 3×3 cells of a grid, and 1 for cells that have such pixels near."""
    share, total = F.adaptive_avg_pool2d(where, size), F.adaptive_avg_pool2d(image * where, size)
    share, total = (F.avg_pool2d(x, 3, stride=1, padding=1) for x in (share, total))
    return total / share.clamp_min(1e-6), (share > 0).float()


def _harmonic(values: Tensor, fixed: Tensor) -> Tensor:
    """A function with `values` where `fixed` is 1, and elsewhere nearly the mean of its neighbours."""
    x = push_pull(values, 1 - fixed)
    for _ in range(ROUNDS):
        x = torch.where(fixed > 0, values, F.avg_pool2d(F.pad(x, [1] * 4, mode="replicate"), 3, stride=1))
    return x
