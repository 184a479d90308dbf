"""Editing: a picture with parts moved, copied or erased becomes seamless.

The edited picture goes in at a coarse scale, the finer ones make its details anew, and all but the mask and a
blended rim stays (SinGAN, Shaham et al., ICCV 2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from pgcn.metrics.pictures import rmse, seam_gradient
from pgcn.tasks.choose import choose
from pgcn.tasks.region import RegionOptions, needs_region, region_of
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class EditOptions(RegionOptions):
    """Options of `edit`."""


def apply(pyramid: Pyramid, inputs: Inputs, options: EditOptions) -> TaskResult:
    """The edited picture `inputs.target` without the seams at the mask."""
    region, notes = region_of(pyramid, inputs, options, "edit")
    before = seam_gradient(region.given, region.mask)
    usual = rmse(region.given, mean_on(region.given, region.mask), region.mask) + 1
    choice = choose(
        pyramid,
        options,
        lambda scale: region.from_scale(pyramid, scale, options.seed),
        unlike=lambda x: seam_gradient(x, region.mask),
        astray=lambda x: rmse(x, region.given, region.mask) / usual,
        nothing=before,
    )
    made = choice.best.picture
    result = region.replaced(pyramid, made, options.seed) if options.full_size else made
    figures = {
        "seam_gradient": choice.best.unlike,
        "seam_gradient_before": before,
        "change": choice.best.astray,
    }
    return region.made(result, choice, figures, notes)


def mean_on(picture: Tensor, mask: Tensor) -> Tensor:
    """The mean colour on the mask, everywhere: a region that is erased is about as far from what it was."""
    return ((picture * mask).sum((2, 3), keepdim=True) / mask.sum().clamp_min(1)).expand_as(picture)


TASK = Task(
    name="edit",
    summary="a picture with parts moved, copied or erased becomes seamless",
    options=EditOptions,
    apply=apply,
    judged=Criterion("seam_gradient", "seam_gradient_before", "lower"),
    target="the edited picture",
    mask="white on what was edited; without one, where the target differs from the image",
    holes=True,
    refuse=lambda inputs, _: needs_region(inputs, "edit"),
)
