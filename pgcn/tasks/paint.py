"""Paint-to-image: a rough painting or clip-art becomes a picture with that layout, in the image's own patches.

As SinGAN does (Shaham et al., ICCV 2019): the painting's colours are brought to those of the image (k-means), and it
goes in at a coarse scale; the finer scales make the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from pgcn.imaging.colours import in_palette, palette
from pgcn.imaging.scales import resize
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.pictures import layout_error
from pgcn.tasks.guided import GuidedOptions, guided
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class PaintOptions(GuidedOptions):
    """Options of `paint`."""

    colours: int = Field(0, ge=0, le=64, description="of the image's, that the painting is brought to; 0: as it is")


def apply(pyramid: Pyramid, inputs: Inputs, options: PaintOptions) -> TaskResult:
    """The painting `inputs.target` as a picture of the image's patches."""
    assert inputs.target is not None
    image = resize(inputs.image, pyramid.sizes[-1])

    def start_of(painting: Tensor) -> Tensor:
        return in_palette(painting, palette(image, options.colours, options.seed)) if options.colours else painting

    made = guided(pyramid, image, inputs.target, options, start_of, layout_error)
    figures = {"patch_swd_painting": patch_swd(made.guide, image), "layout_error": made.choice.best.astray}
    return made.made({"painting": made.start}, figures)


TASK = Task(
    name="paint",
    summary="a rough painting or clip-art becomes a picture with that layout",
    options=PaintOptions,
    apply=apply,
    judged=Criterion("patch_swd", "patch_swd_painting", "lower"),
    target="the painting, of any size",
    needs=("target",),
)
