"""A tiny pyramid for examples and tests, trained in a fraction of a second; its samples are poor."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.fit import fit
from pgcn.pyramid import Pyramid
from pgcn.settings import make_settings


@cache
def example() -> tuple[Pyramid, Tensor]:
    """A pyramid of two scales and its image, `(1, 3, 20, 24)`: soft spots of colour.

    >>> import pgcn
    >>> pyramid, image = pgcn.example()
    >>> pyramid.sizes
    [(12, 14), (20, 24)]
    """
    spots = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image = F.interpolate(spots, size=(20, 24), mode="bicubic").clamp(-1, 1)
    tiny = make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 4})
    return fit(image, settings=tiny), image
