"""Style transfer: one picture's structure in another picture's patches.

The pyramid has learned the style; the content, in the style's colours (mean and covariance), goes in at a scale that
keeps its structure, and the finer scales make the style's patches (PatchGenCN and SinGAN do it so).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from pgcn.imaging.colours import with_moments
from pgcn.imaging.scales import resize
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.pictures import structure_error
from pgcn.tasks.guided import GuidedOptions, guided
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class StyleOptions(GuidedOptions):
    """Options of `style`."""

    colours: bool = Field(True, description="bring the content to the style's colours first")


def apply(pyramid: Pyramid, inputs: Inputs, options: StyleOptions) -> TaskResult:
    """The content `inputs.target` in the patches of the image that the pyramid has learned."""
    assert inputs.target is not None
    image = resize(inputs.image, pyramid.sizes[-1])

    def start_of(content: Tensor) -> Tensor:
        return with_moments(content, image) if options.colours else content

    made = guided(pyramid, image, inputs.target, options, start_of, structure_error)
    figures = {
        "patch_swd_content": patch_swd(made.guide, image),
        "patch_swd_recoloured": patch_swd(made.start, image),
        "structure_error": made.choice.best.astray,
    }
    return made.made({"content": inputs.target}, figures)


TASK = Task(
    name="style",
    summary="another picture's structure in this image's patches",
    options=StyleOptions,
    apply=apply,
    judged=Criterion("patch_swd", "patch_swd_content", "lower"),
    target="the picture whose structure is kept, of any size",
    needs=("target",),
)
