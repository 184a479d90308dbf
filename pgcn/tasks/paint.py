"""Paint-to-image: a rough painting or clip-art becomes an image with that layout, in the trained image's patches.

As in SinGAN (Shaham et al., ICCV 2019), the painting's colours are mapped to those of the image (k-means), and it is
injected at a coarse scale; the finer scales add the details.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from pgcn.imaging.colours import in_palette, palette
from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.pictures import layout_error
from pgcn.tasks.guided import GuidedOptions, guided
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult


class PaintOptions(GuidedOptions):
    """Options of `paint`."""

    colours: int = Field(
        0, ge=0, le=64, description="number of the image's colours to which the painting is mapped; 0: as it is"
    )


def apply(model: Model, inputs: Inputs, options: PaintOptions) -> TaskResult:
    """The painting `inputs.target` as an image of the trained image's patches."""
    assert inputs.target is not None
    image = resize(inputs.image, model.sizes[-1])

    def start_of(painting: Tensor) -> Tensor:
        return in_palette(painting, palette(image, options.colours, options.seed)) if options.colours else painting

    made = guided(model, image, inputs.target, options, start_of, layout_error)
    metrics = {"patch_swd_painting": patch_swd(made.guide, image), "layout_error": made.choice.best.content_distance}
    return made.made({"painting": made.start}, metrics)


TASK = Task(
    name="paint",
    summary="a rough painting or clip-art becomes an image with that layout",
    options=PaintOptions,
    apply=apply,
    criterion=Criterion("patch_swd", "patch_swd_painting", "lower"),
    target="the painting, of any size",
    needs=("target",),
)
