"""Holes in an image: what is known of it at each size, and smooth colours where nothing is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.pyramid import Size
from pgcn.tasks.masks import blend, fit

KNOWN_SHARE = 0.25
"""Share of a coarse pixel's area that has to be known for the pixel to be: its value is the mean over that share."""


def filled(image: Tensor, mask: Tensor) -> Tensor:
    """`image` `(1, 3, H, W)` with smooth colours where `mask` `(1, 1, H, W)` is 1: push-pull (Gortler et al., 1996).

    Known pixels are averaged two by two until all is known, and holes are filled from there, coarse to fine.
    """
    known = 1 - mask
    if bool((known > 0).all()) or min(image.shape[-2:]) < 2:
        return image
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(image * known, 2, ceil_mode=True) / share.clamp_min(1e-6)
    below = filled(torch.where(share > 0, mean, torch.zeros_like(mean)), (share == 0).float())
    size = image.shape[-2], image.shape[-1]
    smooth = F.interpolate(below, size=size, mode="bilinear", align_corners=False)
    return torch.where(known > 0, image, smooth)


def hole_at(mask: Tensor, size: Size) -> Tensor:
    """The hole at a coarser size: pixels of which less than a quarter is known."""
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    if mask.shape[-2] < size[0] or mask.shape[-1] < size[1]:
        return fit(mask, size)
    return (1 - F.interpolate(mask, size=size, mode="bilinear", antialias=True) < KNOWN_SHARE).float()


def put_back(x: Tensor, known: Tensor, hole: Tensor) -> Tensor:
    """`x` in the hole, `known` everywhere else."""
    return blend(x, known, hole)
