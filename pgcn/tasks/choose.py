"""Choice of the start scale by metrics: every scale is tried, and style is weighed against content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.tasks.chains import check_scale
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
        shape = self.tried[0].image.shape
        return {"sweep": torch.cat([resize(tried.image, (shape[-2], shape[-1])) for tried in self.tried])}


def choose(
    model: Model,
    options: Injected,
    make: Callable[[int], Tensor],
    style_distance: Callable[[Tensor], float],
    content_distance: Callable[[Tensor], float],
    baseline: float,
) -> Choice:
    """Make the result from the start scale in `options`, or from every one, and choose the best.

    The best has the least style_distance / baseline + content_distance. `style_distance` is the distance to the trained
    image's style, and `baseline` that of the injected image; `content_distance` is the distance to the injected image,
    0 for the same image and about 1 for an unrelated one. Both terms are relative, so that neither decides alone.
    Raises `ValueError` for a start scale that the model does not have.
    """
    scales = list(range(len(model.sizes)))
    if options.start_scale is not None:
        check_scale(model, options.start_scale)
        if not options.sweep:
            scales = [options.start_scale]
    tried = []
    for scale in scales:
        made = make(scale)
        tried.append(Tried(scale, made, style_distance(made), content_distance(made)))
    if options.start_scale is not None:
        return Choice(next(one for one in tried if one.scale == options.start_scale), tried)
    return Choice(min(tried, key=lambda one: one.style_distance / max(baseline, 1e-6) + one.content_distance), tried)
