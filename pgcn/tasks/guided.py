"""A whole picture in the patches of another: what paint-to-image and style transfer share.

The picture goes in at some scale, chains of the image's pyramid run from there to the finest, and the result is
continued to the picture's own size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.tasks.chains import injected, sizes_of, working_size
from pgcn.tasks.choose import Choice, choose
from pgcn.tasks.enlarge import enlarged
from pgcn.tasks.task import Injected, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class GuidedOptions(Injected):
    """Options of the tasks that work on a whole second picture."""

    full_size: bool = Field(True, description="at the second picture's own size, else at the pyramid's")


@dataclass(frozen=True)
class Guided:
    """What came of it: the guide and the start at the working size, and the start scale that was taken."""

    guide: Tensor
    start: Tensor
    choice: Choice
    result: Tensor
    figures: dict[str, float]

    def made(self, shown: dict[str, Tensor], figures: dict[str, float]) -> TaskResult:
        """With a task's own pictures and figures."""
        pictures = {"result": self.result, "small": self.choice.best.picture, **shown, **self.choice.sheet()}
        return TaskResult(pictures, self.figures | figures)


def guided(
    pyramid: Pyramid,
    image: Tensor,
    picture: Tensor,
    options: GuidedOptions,
    start_of: Callable[[Tensor], Tensor],
    astray: Callable[[Tensor, Tensor], float],
) -> Guided:
    """`picture` `(1, 3, h, w)` in the patches of `image`, which is at the finest trained size.

    `start_of` makes what goes in of the picture at its working size, and `astray` tells how far a result is from that.
    """
    guide = resize(picture, working_size(picture, pyramid))
    sizes, start = sizes_of(picture, pyramid), start_of(guide)
    choice = choose(
        pyramid,
        options,
        lambda scale: injected(pyramid, start, scale, seed=options.seed, sizes=sizes),
        unlike=lambda x: patch_swd(x, image),
        astray=lambda x: astray(x, guide),
        nothing=patch_swd(start, image),
    )
    made = choice.best.picture
    size = picture.shape[-2], picture.shape[-1]
    result = enlarged(pyramid, made, size, seed=options.seed) if options.full_size else made
    return Guided(
        guide, start, choice, result, {"start_scale": float(choice.best.scale), "patch_swd": choice.best.unlike}
    )
