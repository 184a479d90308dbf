"""A whole image rendered in the patches of another: the common part of paint-to-image and style transfer.

The target is injected at some scale, chains run from there to the finest, and the result is enlarged to the target's
own size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.method import Model
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.tasks.chains import injected, seeded_noise, sizes_of, working_size
from pgcn.tasks.choose import Choice, choose
from pgcn.tasks.enlarge import Refinement, enlarged
from pgcn.tasks.task import Injected, TaskResult

COARSE = 64
"""Longest side at which a result is compared with its guide, px."""

Chain = Callable[[Tensor, int, list[Size]], Tensor]
"""Maps a start `(1, C, h, w)`, a start scale and the sizes of the scales up to the last one to the end there."""


class GuidedOptions(Injected):
    """Options of the tasks that work on a whole second image."""

    full_size: bool = Field(True, description="at the second image's own size, else at the pyramid's")


@dataclass(frozen=True)
class Guided:
    """The guide and the start at the working size, the choice of the start scale, and the result."""

    guide: Tensor
    start: Tensor
    choice: Choice
    result: Tensor
    metrics: dict[str, float]

    def made(self, shown: dict[str, Tensor], metrics: dict[str, float]) -> TaskResult:
        """The result with a task's own images and metrics."""
        images = {"result": self.result, "small": self.choice.best.image, **shown, **self.choice.sheet()}
        return TaskResult(images, self.metrics | metrics)


def guided(
    model: Model,
    image: Tensor,
    target: Tensor,
    options: GuidedOptions,
    start_of: Callable[[Tensor], Tensor],
    content_distance: Callable[[Tensor, Tensor], float],
    chain: Chain | None = None,
) -> Guided:
    """`target` `(1, C, h, w)` in the patches of `image`, which is at the finest trained size.

    `start_of` makes the injected image from the target at its working size; `content_distance` is that of a result to
    the target. `chain` makes a result, by default by injection.
    """
    guide = resize(target, working_size(target, model))
    sizes, start = sizes_of(target, model), start_of(guide)

    def inject(start: Tensor, scale: int, sizes: list[Size]) -> Tensor:
        return injected(model, start, scale, seeded_noise(options.seed), sizes=sizes)

    make = chain or inject

    # The content is the coarse structure; the finer one is to be the image's.
    coarse = next(size for size in sizes[::-1] if max(size) <= COARSE or size == sizes[0])

    def scale_of(x: Tensor) -> int:
        return len(sizes) - 1 - sizes[::-1].index((x.shape[-2], x.shape[-1]))

    choice = choose(
        model,
        options,
        lambda scale, count: make(start, scale, sizes[:count]),
        style_distance=lambda x: patch_swd(x, resize(image, model.sizes[scale_of(x)])),
        content_distance=lambda x: content_distance(resize(x, coarse), resize(guide, coarse)),
        baseline=lambda count: patch_swd(resize(start, sizes[count - 1]), resize(image, model.sizes[count - 1])),
    )
    made = choice.best.image
    size = target.shape[-2], target.shape[-1]
    result = enlarged(model, made, size, Refinement(seed=options.seed)) if options.full_size else made
    return Guided(
        guide, start, choice, result, {"start_scale": float(choice.best.scale), "patch_swd": choice.best.style_distance}
    )
