"""Style transfer: one picture's structure in another picture's patches.

The pyramid has learned the style; the content, in the style's colours (mean and covariance), goes in at a scale that
keeps its structure, and the finer scales make the style's patches (PatchGenCN and SinGAN do it so).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pgcn.metrics import patch_swd
from pgcn.pyramid import resize
from pgcn.tasks.chains import injected, sizes_of, working_size
from pgcn.tasks.choose import choose
from pgcn.tasks.colours import with_moments
from pgcn.tasks.enlarge import enlarged
from pgcn.tasks.measures import structure_error
from pgcn.tasks.task import Injected, Inputs, Judged, Made, Task

if TYPE_CHECKING:
    from pgcn.model import Pyramid


class StyleOptions(Injected):
    """Options of `style`."""

    colours: bool = Field(True, description="bring the content to the style's colours first")
    full_size: bool = Field(True, description="at the content's own size, else at the pyramid's")


def apply(pyramid: Pyramid, inputs: Inputs, options: StyleOptions) -> Made:
    """The content `inputs.target` in the patches of the image that the pyramid has learned."""
    assert inputs.target is not None
    image = resize(inputs.image, pyramid.sizes[-1])
    content = resize(inputs.target, working_size(inputs.target, pyramid))
    sizes = sizes_of(inputs.target, pyramid)
    start = with_moments(content, image) if options.colours else content

    choice = choose(
        pyramid,
        options,
        lambda scale: injected(pyramid, start, scale, seed=options.seed, sizes=sizes),
        unlike=lambda x: patch_swd(x, image),
        astray=lambda x: structure_error(x, content),
        nothing=patch_swd(start, image),
    )
    made = choice.best.picture
    size = inputs.target.shape[-2], inputs.target.shape[-1]
    result = enlarged(pyramid, made, size, seed=options.seed) if options.full_size else made
    figures = {
        "start_scale": float(choice.best.scale),
        "patch_swd": choice.best.unlike,
        "patch_swd_content": patch_swd(content, image),
        "patch_swd_recoloured": patch_swd(start, image),
        "structure_error": choice.best.astray,
    }
    return Made({"result": result, "content": inputs.target, "small": made, **choice.sheet()}, figures)


TASK = Task(
    name="style",
    summary="another picture's structure in this image's patches",
    options=StyleOptions,
    apply=apply,
    judged=Judged("patch_swd", "patch_swd_content", "lower"),
    target="the picture whose structure is kept, of any size",
    needs=("target",),
)
