"""Paint-to-image: a rough painting or clip-art becomes a picture with that layout, in the image's own patches.

As SinGAN does (Shaham et al., ICCV 2019): the painting's colours are brought to those of the image (k-means), and it
goes in at a coarse scale; the finer scales make the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pgcn.metrics import patch_swd
from pgcn.pyramid import resize
from pgcn.tasks.chains import injected, sizes_of, working_size
from pgcn.tasks.choose import choose
from pgcn.tasks.colours import in_palette, palette
from pgcn.tasks.enlarge import enlarged
from pgcn.tasks.measures import layout_error
from pgcn.tasks.task import Injected, Inputs, Judged, Made, Task

if TYPE_CHECKING:
    from pgcn.model import Pyramid


class PaintOptions(Injected):
    """Options of `paint`."""

    colours: int = Field(0, ge=0, le=64, description="of the image's, that the painting is brought to; 0: as it is")
    full_size: bool = Field(True, description="at the painting's own size, else at the pyramid's")


def apply(pyramid: Pyramid, inputs: Inputs, options: PaintOptions) -> Made:
    """The painting `inputs.target` as a picture of the image's patches."""
    assert inputs.target is not None
    image = resize(inputs.image, pyramid.sizes[-1])
    painting = resize(inputs.target, working_size(inputs.target, pyramid))
    sizes = sizes_of(inputs.target, pyramid)
    start = in_palette(painting, palette(image, options.colours, options.seed)) if options.colours else painting

    choice = choose(
        pyramid,
        options,
        lambda scale: injected(pyramid, start, scale, seed=options.seed, sizes=sizes),
        unlike=lambda x: patch_swd(x, image),
        astray=lambda x: layout_error(x, painting),
        nothing=patch_swd(painting, image),
    )
    made = choice.best.picture
    size = inputs.target.shape[-2], inputs.target.shape[-1]
    result = enlarged(pyramid, made, size, seed=options.seed) if options.full_size else made
    figures = {
        "start_scale": float(choice.best.scale),
        "patch_swd": choice.best.unlike,
        "patch_swd_painting": patch_swd(painting, image),
        "layout_error": choice.best.astray,
    }
    return Made({"result": result, "painting": start, "small": made, **choice.sheet()}, figures)


TASK = Task(
    name="paint",
    summary="a rough painting or clip-art becomes a picture with that layout",
    options=PaintOptions,
    apply=apply,
    judged=Judged("patch_swd", "patch_swd_painting", "lower"),
    target="the painting, of any size",
    needs=("target",),
)
