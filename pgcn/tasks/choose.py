"""Choice of the start scale by metrics: coarse scales are tried, and style is weighed against content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.tasks.chains import check_scale, coarse_count
from pgcn.tasks.task import Injected


@dataclass(frozen=True)
class Tried:
    """The result of one start scale, its distance to the trained image's style and to the injected content."""

    scale: int
    image: Tensor
    style_distance: float
    content_distance: float


@dataclass(frozen=True)
class Choice:
    """The start scale that was chosen, and all that were tried."""

    best: Tried
    tried: list[Tried]

    def sheet(self) -> dict[str, Tensor]:
        """The results of all start scales, coarsest first, by the name `sweep`; empty where only one was tried."""
        if len(self.tried) < 2:
            return {}
        shape = self.best.image.shape
        return {"sweep": torch.cat([resize(tried.image, (shape[-2], shape[-1])) for tried in self.tried])}


def choose(
    model: Model,
    options: Injected,
    make: Callable[[int, int], Tensor],
    style_distance: Callable[[Tensor], float],
    content_distance: Callable[[Tensor], float],
    baseline: Callable[[int], float],
    scales: int | None = None,
) -> Choice:
    """Make the result from the start scale in `options`, or from the best one.

    `make` maps a start scale and a number of scales to the end of the last of these; `baseline` maps a number of scales
    to the style distance of the injected image there. Scales are compared where they end or on the first `coarse_count`
    ones, whichever is finer: together they cost about as much as one result. The result is the end of the last of
    `scales`, by default of all.

    The best has the least style_distance / baseline + content_distance. `style_distance` is the distance to the trained
    image's style; `content_distance` is the distance to the injected image, 0 for the same image and about 1 for an
    unrelated one. Both take images of any size. Both terms are relative, so that neither decides alone.
    Raises `ValueError` for a start scale that the model does not have.
    """

    def attempt(scale: int, count: int) -> Tried:
        made = make(scale, count)
        return Tried(scale, made, style_distance(made), content_distance(made))

    chosen = options.start_scale if options.start_scale is None else check_scale(model, options.start_scale)
    every = max(scales or len(model.sizes), 0 if chosen is None else chosen + 1)
    counts = [min(every, max(coarse_count(model), scale + 1)) for scale in range(every)]
    tried = [attempt(scale, counts[scale]) for scale in range(every)] if chosen is None or options.sweep else []
    if chosen is None:
        usual = [max(baseline(count), 1e-6) for count in counts]
        chosen = min(tried, key=lambda one: one.style_distance / usual[one.scale] + one.content_distance).scale
    if tried and counts[chosen] == every:
        return Choice(tried[chosen], tried)
    best = attempt(chosen, every)
    return Choice(best, tried or [best])
