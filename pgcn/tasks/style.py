"""Style transfer: one image's structure in another image's patches.

The pyramid was trained on the style image; the content, in the style's colours (mean and covariance), is injected at a
scale that keeps its structure, and the finer scales add the style's patches (as in PatchGenCN and SinGAN).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from pgcn.imaging.colours import with_moments
from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.pictures import structure_error
from pgcn.tasks.guided import GuidedOptions, guided
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult


class StyleOptions(GuidedOptions):
    """Options of `style`."""

    colours: bool = Field(True, description="map the content to the style's colours first")


def apply(model: Model, inputs: Inputs, options: StyleOptions) -> TaskResult:
    """The content `inputs.target` in the patches of the trained image."""
    assert inputs.target is not None
    image = resize(inputs.image, model.sizes[-1])

    def start_of(content: Tensor) -> Tensor:
        return with_moments(content, image) if options.colours else content

    made = guided(model, image, inputs.target, options, start_of, structure_error)
    metrics = {
        "patch_swd_content": patch_swd(made.guide, image),
        "patch_swd_recoloured": patch_swd(made.start, image),
        "structure_error": made.choice.best.content_distance,
    }
    return made.made({"content": inputs.target}, metrics)


TASK = Task(
    name="style",
    summary="another image's structure in this image's patches",
    options=StyleOptions,
    apply=apply,
    criterion=Criterion("patch_swd", "patch_swd_content", "lower"),
    target="the image whose structure is kept, of any size",
    needs=("target",),
)
