"""Diversity of layout: how much samples differ once their detail is reduced away."""

from __future__ import annotations

from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.metrics.patch_distribution import known_pixels

SHORT_SIDE = 32
"""Short side to which samples and image are reduced, px."""


def layout_diversity(samples: Tensor, image: Tensor, known: Tensor | None = None) -> float:
    """Spread of samples `(n, C, h, w)` against that of the image `(1, C, H, W)`, both in [-1, 1], at 32 px.

    √(mean over pixels and channels of the variance over samples / mean over channels of the image's variance over
    pixels), the samples' variance without bias for their number, so that two samples tell as much as eight on average.
    0 where all have one layout, however their detail differs; 1 where layouts have as little in common as the image's
    pixels in random order. Samples of noise have 0.1 or less, since noise has no layout. NaN for one sample, and for
    an image of one colour.
    """
    image_small = resize(image, layout_size(image))
    variance = known_pixels(known, image_small).var(1, correction=0).mean()
    if len(samples) < 2 or float(variance) < 1e-9:
        return float("nan")
    return float((resize(samples, layout_size(samples)).var(0).mean() / variance).sqrt())


def layout_size(x: Tensor) -> Size:
    """The size of `x` `(n, C, H, W)` with a short side of 32 px; never larger than it is."""
    height, width = x.shape[-2:]
    factor = min(1.0, SHORT_SIDE / min(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
