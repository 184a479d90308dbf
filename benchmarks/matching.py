"""Direct patch matching without a generative model, as a reference for fidelity and time.

After GPDM (Elnekave and Weiss, CVPR 2022): an image is optimized, coarse to fine, until random projections
of its patches are distributed like those of the target.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.machine import clock
from pgcn.imaging.scales import Size, image_pyramid, resize
from pgcn.metrics.patch_distribution import PATCH

PROJECTIONS, STEPS, RATE = 64, 200, 0.02


def patch_distance(x: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Sliced Wasserstein distance of the 7x7 patches of two images, over fresh random directions."""
    kernels = torch.randn(PROJECTIONS, 3, PATCH, PATCH, generator=generator)
    kernels = kernels / kernels.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    mine, theirs = (F.conv2d(image, kernels).flatten(2).sort(dim=2).values for image in (x, target))
    if theirs.shape != mine.shape:  # as many of each, at the same quantiles
        theirs = F.interpolate(theirs, size=mine.shape[-1], mode="linear", align_corners=True)
    return (mine - theirs).abs().mean()


def match(image: Tensor, sizes: list[Size], seed: int = 0, steps: int = STEPS) -> Tensor:
    """An image of `image`'s patches, `(1, 3, *sizes[-1])`, from noise around the mean at the coarsest of `sizes`."""
    generator = torch.Generator().manual_seed(seed)
    pyramid = image_pyramid(image, sizes)
    x = pyramid[0].mean((2, 3), keepdim=True) + 0.75 * torch.randn(pyramid[0].shape, generator=generator)
    for target in pyramid:
        x = resize(x, (target.shape[-2], target.shape[-1])).detach().requires_grad_()
        adam = torch.optim.Adam([x], lr=RATE)
        for _ in range(steps):
            adam.zero_grad()
            patch_distance(x, target, generator).backward()
            adam.step()
            with torch.no_grad():
                x.clamp_(-1, 1)
    return x.detach()


def match_seconds(image: Tensor, sizes: list[Size], steps: int = 2) -> float:
    """Seconds of one sample, without drawing it: from `steps` steps at each scale."""
    began = clock("cpu")
    match(image, sizes, steps=steps)
    return (clock("cpu") - began) * STEPS / steps
