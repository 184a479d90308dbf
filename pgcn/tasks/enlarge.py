"""Larger than the finest scale: the pyramid's own step up, again and again, each refined by the finest net.

The statistics of small patches repeat across scales (Zontak and Irani, CVPR 2011), so the finest net serves above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from pgcn.imaging.masks import fit
from pgcn.imaging.scales import Size, resize
from pgcn.imaging.tiles import Where, tiled
from pgcn.patchgencn.langevin import Draw, normal_each
from pgcn.patchgencn.sampling import seeded
from pgcn.tasks.chains import chain

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid

STEPS = 3
"""Last Langevin steps of a chain after each enlargement, where the caller does not say: enough to sharpen, too few and
too short to invent. Of falling steps, three at the mean length drew ridges into skies."""

BACK = 8
"""Rounds of back-projection: each leaves about a third of the difference."""


def step_factor(pyramid: Pyramid) -> float:
    """1/r, by how much each scale is larger than the one below it; 1.5 for a pyramid of one scale."""
    count = len(pyramid.sizes) - 1
    if count == 0:
        return 1.5
    first, last = pyramid.sizes[0], pyramid.sizes[-1]
    return max(1.1, float((last[0] * last[1] / (first[0] * first[1])) ** (0.5 / count)))


def sizes_up(start: Size, end: Size, factor: float) -> list[Size]:
    """Sizes from above `start` to exactly `end`, in even geometric steps of at most `factor`; none if not larger."""
    growth = max(end[0] / start[0], end[1] / start[1])
    steps = max(0, math.ceil(math.log(growth) / math.log(factor) - 1e-9)) if growth > 1 else 0
    return [
        (round(start[0] * (end[0] / start[0]) ** (i / steps)), round(start[1] * (end[1] / start[1]) ** (i / steps)))
        for i in range(1, steps + 1)
    ]


def back_projected(x: Tensor, known: Tensor, rounds: int = BACK) -> Tensor:
    """`x` corrected so that, made smaller, it is `known`: x ← x + up(known - down(x)) (Irani and Peleg, 1991)."""
    size, small = (x.shape[-2], x.shape[-1]), (known.shape[-2], known.shape[-1])
    for _ in range(rounds):
        x = (x + resize_free(known - resize(x, small), size)).clamp(-1, 1)
    return x


def resize_free(difference: Tensor, size: Size) -> Tensor:
    """Bicubic resize of a difference, which may lie in [-2, 2]: `resize` clamps."""
    return 2 * resize(difference / 2, size)


def enlarged(
    pyramid: Pyramid,
    picture: Tensor,
    size: Size,
    *,
    steps: int = STEPS,
    seed: int = 0,
    after: Callable[[Tensor], Tensor] = lambda x: x,
    noise_std: float = 0.0,
    only: Tensor | None = None,
) -> Tensor:
    """`picture` `(1, 3, h, w)` at a larger `size`, in steps of 1/r, each refined by the finest net.

    Chains are the last `steps` of its own; `after` puts back what is known, before and after each. In tiles, so that
    memory is bounded by the result; those where the mask `only` `(1, 1, H, W)`, of any size, chooses nothing are left
    as they are. A size that is not larger than the picture's is a plain resize.
    """
    x = picture
    finest = len(pyramid.nets) - 1
    for stage, next_size in enumerate(sizes_up((x.shape[-2], x.shape[-1]), size, step_factor(pyramid))):
        x = after(resize(x, next_size))
        draw = normal_each(seeded(seed + stage, len(x)))
        wanted = None if only is None else fit(only, next_size)

        def refined(tile: Tensor, where: Where, draw: Draw = draw, wanted: Tensor | None = wanted) -> Tensor:
            if wanted is not None and not bool(wanted[..., where[0], where[1]].any()):
                return tile
            return chain(tile, pyramid.nets[-1], pyramid.settings, finest, last=steps, noise_std=noise_std, draw=draw)

        x = after(tiled(x, refined))
    return resize(x, size)
