"""Editing: an image with parts moved, copied or erased becomes seamless.

The edited image is injected at a coarse scale, the finer ones make new details, and all but the mask and a blended rim
stays (SinGAN, Shaham et al., ICCV 2019).
"""

from __future__ import annotations

from torch import Tensor

from pgcn.imaging.masks import fit
from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.metrics.pictures import rmse, seam_gradient
from pgcn.tasks.choose import choose
from pgcn.tasks.region import RegionOptions, needs_region, region_of
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult


class EditOptions(RegionOptions):
    """Options of `edit`."""


def apply(model: Model, inputs: Inputs, options: EditOptions) -> TaskResult:
    """The edited image `inputs.target` without the seams at the mask."""
    region, notes = region_of(model, inputs, options, "edit")
    before = seam_gradient(region.given, region.mask)
    usual = rmse(region.given, mean_on(region.given, region.mask), region.mask) + 1

    def small(count: int) -> Tensor:
        return fit(region.mask, region.sizes[count - 1])

    choice = choose(
        model,
        options,
        lambda scale, count: region.from_scale(model, scale, count, options.seed),
        style_distance=lambda x: seam_gradient(x, region.at(x).mask),
        content_distance=lambda x: rmse(x, region.at(x).given, region.at(x).mask) / usual,
        baseline=lambda count: seam_gradient(resize(region.given, region.sizes[count - 1]), small(count)),
    )
    made = choice.best.image
    result = region.replaced(model, made, options.seed) if options.full_size else made
    metrics = {
        "seam_gradient": choice.best.style_distance,
        "seam_gradient_before": before,
        "change": choice.best.content_distance,
    }
    return region.made(result, choice, metrics, notes)


def mean_on(image: Tensor, mask: Tensor) -> Tensor:
    """The mean colour on the mask, everywhere: an erased region is about as far from the given one."""
    return ((image * mask).sum((2, 3), keepdim=True) / mask.sum().clamp_min(1)).expand_as(image)


TASK = Task(
    name="edit",
    summary="an image with parts moved, copied or erased becomes seamless",
    options=EditOptions,
    apply=apply,
    keeps_frame=True,
    criterion=Criterion("seam_gradient", "seam_gradient_before", "lower"),
    target="the edited image",
    mask="white on the edited parts; without one, where the target differs from the image",
    holes=True,
    validate=lambda inputs, _: needs_region(inputs, "edit"),
)
