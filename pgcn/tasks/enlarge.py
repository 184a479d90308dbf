"""Enlargement beyond the finest scale: repeated steps of the pyramid's own factor, each refined at the finest scale.

The statistics of small patches repeat across scales (Zontak and Irani, CVPR 2011), so the finest scale applies above
its own size too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from pgcn.imaging.channels import unit_rule
from pgcn.imaging.masks import fit
from pgcn.imaging.noise import normal_each, seeded
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import Size, resize
from pgcn.imaging.tiles import Where, tiled
from pgcn.method import ChainOptions, Model

STEPS = 3
"""Default number of last steps of a chain after each enlargement: enough to sharpen, too few and too short to invent
content. Three steps of the mean size drew ridges into skies."""

MARGIN = 32
"""Pixels around a mask that are refined with it."""

BACK = 8
"""Rounds of back-projection, each of which leaves about a third of the difference."""


def step_factor(model: Model) -> float:
    """The factor between the sizes of neighbouring scales, of the two finest exact ones if there are; else 1.5."""
    sizes = model.sizes[model.learned :] if model.learned < len(model.sizes) else model.sizes
    if len(sizes) < 2:
        return 1.5
    first, last, count = (sizes[0], sizes[-1], len(sizes) - 1)
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


@dataclass(frozen=True)
class Refinement:
    """Options of the chains after each enlargement: the last `steps` of a chain at the finest scale.

    `after` clamps known pixels before and after each chain. Tiles in which the mask `only` `(1, 1, H, W)`, of any size,
    is empty are not refined.
    """

    steps: int = STEPS
    seed: int = 0
    noise_std: float = 0.0
    after: Callable[[Tensor], Tensor] = lambda x: x
    only: Tensor | None = None


def enlarged(model: Model, image: Tensor, size: Size, how: Refinement) -> Tensor:
    """`image` `(1, C, h, w)` at a larger `size`, in steps of 1/r, each refined at the finest scale.

    It runs in tiles, so that memory is bounded by the result. A size that is not larger than the image's is a plain
    resize.
    """
    x, finest = image, len(model.sizes) - 1
    for stage, next_size in enumerate(sizes_up((x.shape[-2], x.shape[-1]), size, step_factor(model))):
        x = how.after(resize(x, next_size))
        draw = normal_each(seeded(how.seed + stage, len(x)))
        options = ChainOptions(last=how.steps, noise_std=how.noise_std, draw=draw)
        wanted = None if how.only is None else fit(how.only, next_size)

        def refined(
            tile: Tensor, where: Where, options: ChainOptions = options, wanted: Tensor | None = wanted
        ) -> Tensor:
            if wanted is not None and not bool(wanted[..., where[0], where[1]].any()):
                return tile
            return model.refine(tile, finest, options)

        if model.learned == len(model.sizes):
            x = how.after(tiled(x, refined))
        else:  # Tiles would be drawn from different patches, and their overlap would be a mixture.
            x = how.after(on_part(x, wanted, partial(model.refine, scale=finest, options=options)))
    return applied(unit_rule([model.channels]), resize(x, size))


def on_part(x: Tensor, wanted: Tensor | None, work: Callable[[Tensor], Tensor]) -> Tensor:
    """`x` with `work` applied to the rectangle around the mask `wanted` and a margin; to all of it without one."""
    if wanted is None:
        return work(x)
    if not bool(wanted.any()):
        return x
    where = []
    for axis in (2, 3):
        chosen = wanted[0, 0].amax(3 - axis).nonzero()
        where.append(slice(max(0, int(chosen.min()) - MARGIN), int(chosen.max()) + 1 + MARGIN))
    made = x.clone()
    made[..., where[0], where[1]] = work(x[..., where[0], where[1]])
    return made
