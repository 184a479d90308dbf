"""Holes in an image: the known pixels at each size, and smooth fills of the unknown ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.masks import blend, fit, shrink
from pgcn.imaging.scales import Size

KNOWN_SHARE = 0.25
"""Share of a coarse pixel's area from which on the pixel counts as known; its value is the mean over that share."""


ROUNDS = 100
"""Most rounds of conjugate gradients: on 64 px they converge, on larger holes the remaining error is not visible."""


def filled(image: Tensor, mask: Tensor) -> Tensor:
    """`image` `(1, C, H, W)` with smooth colours where `mask` `(1, 1, H, W)` is 1.

    Thin holes are filled by `biharmonic_fill`; in wide ones that overshoots, and they are filled by `push_pull`, which
    stays between the surrounding colours. Pixels inside the hole have no influence.
    """
    rough = push_pull(image, mask)
    return biharmonic_fill(rough, mask) if is_thin(mask) else rough


def is_thin(mask: Tensor) -> bool:
    """True where every pixel of the hole is near to known ones: within 1/32 of the longest side, 2 px at 64."""
    return not bool(shrink(mask, max(2, round(max(mask.shape[-2:]) / 32))).any())


def biharmonic_fill(image: Tensor, mask: Tensor) -> Tensor:
    """The image with the hole filled by biharmonic diffusion, min Σ(Δu)² over it, with conjugate gradients."""

    def bending(x: Tensor) -> Tensor:
        """The hole's part of ΔᵀΔx. With continued borders Δ is its own transpose, except at the border."""
        return mask * laplacian(laplacian(x))

    x = image
    left = -bending(x)
    direction, size = left, left.square().sum()
    for _ in range(ROUNDS):
        if float(size) < 1e-8:
            break
        bent = bending(direction)
        step = size / (direction * bent).sum().clamp_min(1e-12)
        x, left = x + step * direction, left - step * bent
        before, size = size, left.square().sum()
        direction = left + size / before * direction
    return torch.where(mask > 0, x.clamp(-1, 1), image)


def laplacian(x: Tensor) -> Tensor:
    """Δx with continued borders: the sum of the four neighbours less four times the pixel."""
    around = F.pad(x, [1] * 4, mode="replicate")
    return around[..., 1:-1, :-2] + around[..., 1:-1, 2:] + around[..., :-2, 1:-1] + around[..., 2:, 1:-1] - 4 * x


def push_pull(image: Tensor, mask: Tensor) -> Tensor:
    """`image` with rough colours in the hole (Gortler et al., 1996).

    Known pixels are averaged two by two until no hole is left, and holes are filled from there, coarse to fine.
    """
    known = 1 - mask
    if bool((known > 0).all()) or min(image.shape[-2:]) < 2:
        return image
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(image * known, 2, ceil_mode=True) / share.clamp_min(1e-6)
    below = push_pull(torch.where(share > 0, mean, torch.zeros_like(mean)), (share == 0).float())
    size = image.shape[-2], image.shape[-1]
    smooth = F.interpolate(below, size=size, mode="bilinear", align_corners=False)
    return torch.where(known > 0, image, smooth)


def hole_at(mask: Tensor, size: Size) -> Tensor:
    """The hole at another size; at a coarser one, the pixels of which less than a quarter is known."""
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    if mask.shape[-2] < size[0] or mask.shape[-1] < size[1]:
        return fit(mask, size)
    return (1 - F.interpolate(mask, size=size, mode="bilinear", antialias=True) < KNOWN_SHARE).float()


def clamp_known(x: Tensor, known: Tensor, hole: Tensor) -> Tensor:
    """`x` in the hole, `known` everywhere else."""
    return blend(x, known, hole)
