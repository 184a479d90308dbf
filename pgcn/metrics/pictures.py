"""Metrics of task results. Images are `(1, C, H, W)` in [-1, 1], masks `(1, 1, H, W)` of zeros and ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.conversion import LUMA
from pgcn.imaging.masks import grow, shrink
from pgcn.imaging.scales import Size, resize


def rmse(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Root mean squared difference in levels of 255, over the mask where there is one."""
    squared = (a - b).square() * 127.5**2
    if mask is None:
        return float(squared.mean().sqrt())
    return float(((squared * mask).sum() / (mask.sum() * a.shape[1]).clamp_min(1)).sqrt())


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal to noise ratio, dB, 20·log₁₀(255 / rmse); 99 for equal pictures."""
    error = rmse(a, b, mask)
    return min(99.0, 20 * math.log10(255 / error)) if error > 0 else 99.0


def gray(image: Tensor) -> Tensor:
    """Luma (BT.601) of three channels, else the mean of all: `(1, C, H, W)` to `(1, 1, H, W)`, in the same range."""
    if image.shape[1] != 3:
        return image.mean(1, keepdim=True)
    return (image * image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def gradients(image: Tensor) -> Tensor:
    """Size of the gradient at each pixel, mean over channels: `(1, 1, H, W)`, in [-1, 1] units a pixel."""
    padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
    dx, dy = padded[..., :-1, 1:] - image, padded[..., 1:, :-1] - image
    return (dx.square() + dy.square()).mean(1, keepdim=True).sqrt()


def seam_gradient(image: Tensor, mask: Tensor) -> float:
    """Mean gradient across the mask's edge, in units of the picture's own outside it: 1 is an edge like any place."""
    edge = grow(mask, 1) - shrink(mask, 1)
    outside = 1 - grow(mask, 1)
    g = gradients(image)

    def mean(where: Tensor) -> float:
        return float((g * where).sum() / where.sum().clamp_min(1))

    return mean(edge) / max(mean(outside), 1e-6)


def colour_distance(image: Tensor, mask: Tensor, scene: Tensor) -> float:
    """Fréchet distance between the colours on the mask and all of `scene`'s, as Gaussians, in [-1, 1] units.

    d² = |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2(Σ_b^½ Σ_a Σ_b^½)^½) over the three channels: colour cast, contrast, saturation.
    """
    inside = image[0].flatten(1)[:, mask.flatten() > 0].double()
    mean_a, cov_a = _gaussian(inside)
    mean_b, cov_b = _gaussian(scene[0].flatten(1).double())
    values, vectors = torch.linalg.eigh(cov_b)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_a @ root).clamp_min(0).sqrt().sum()
    squared = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return math.sqrt(max(0.0, float(squared)))


def _gaussian(values: Tensor) -> tuple[Tensor, Tensor]:
    mean = values.mean(1)
    centred = values - mean[:, None]
    return mean, centred @ centred.T / values.shape[1]


def layout_error(a: Tensor, b: Tensor, side: int = 16) -> float:
    """Difference of the layouts of two images, in [0, 2]: 1 - correlation of their luma at `side` px.

    Free of brightness and contrast, so that a picture in other colours can have the layout of a painting.
    """
    height, width = b.shape[-2:]
    factor = side / max(height, width)
    size: Size = max(2, round(height * factor)), max(2, round(width * factor))
    return 1 - _correlation(gray(resize(a, size)), gray(resize(b, size)))


def structure_error(a: Tensor, b: Tensor) -> float:
    """1 - correlation of gradient sizes, smoothed over 3 px: whether edges are where they were. In [0, 2]."""
    b = resize(b, (a.shape[-2], a.shape[-1]))
    x, y = (F.avg_pool2d(gradients(gray(image)), 3, stride=1, padding=1) for image in (a, b))
    return 1 - _correlation(x, y)


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-9))


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity of luma (Wang et al., 2004): Gaussian window, σ = 1.5, 11 px. 1 is equal."""
    x, y = ((gray(image) + 1) / 2 for image in (a, b))
    line = torch.exp(-(torch.arange(-5, 6, dtype=x.dtype, device=x.device) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def smooth(image: Tensor) -> Tensor:
        return F.conv2d(image, window)

    mx, my = smooth(x), smooth(y)
    vx, vy, cov = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(values.mean())


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a value of `positive` is above one of `negative`, ties counted half: 0.5 is a guess."""
    values = torch.cat([positive.flatten(), negative.flatten()]).double()
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[inverse]
    n, m = positive.numel(), negative.numel()
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
