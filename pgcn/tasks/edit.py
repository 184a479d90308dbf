"""Editing: an image with parts moved, copied or erased becomes seamless.

A smooth change first evens out steps of colour at the border of the edited parts (`pgcn.imaging.membrane`). The edited
image is then injected at a coarse scale, the finer ones make new details, and all but the mask and a blended rim stays
(SinGAN, Shaham et al., ICCV 2019). From a start scale that is exact on, details keep what they show: there only the
seam is made anew, and the inside of the edited parts stays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from pgcn.imaging.channels import Channels
from pgcn.imaging.masks import fit
from pgcn.imaging.membrane import evened
from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.metrics.pictures import rmse, seam_gradient
from pgcn.tasks.choose import choose
from pgcn.tasks.region import Region, RegionOptions, needs_region, region_of
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult


class EditOptions(RegionOptions):
    """Options of `edit`."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"even_colours"})

    even_colours: bool = Field(
        True, description="first bring the edited parts to the colours around them, by a smooth change"
    )


SMOOTH = frozenset({"colour", "gray", "band"})
"""Kinds of channels whose steps are evened out: a label's classes and directions of normals have none."""


def apply(model: Model, inputs: Inputs, options: EditOptions) -> TaskResult:
    """The edited image `inputs.target` without the seams at the mask."""
    region, notes = region_of(model, inputs, options, "edit")
    before = seam_gradient(region.given, region.mask)
    original = region.full
    if options.even_colours and inputs.target is not None:
        region = evened_region(region, model.channels)
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
    if model.learned <= choice.best.scale and inputs.target is not None:
        result = region.seam_only(result)
    metrics = {
        "seam_gradient": choice.best.style_distance,
        "seam_gradient_before": before,
        "change": choice.best.content_distance,
    }
    done = region.made(result, choice, metrics, notes)
    return replace(done, images=done.images | {"before": original})


def evened_region(region: Region, channels: Channels) -> Region:
    """The region without steps of colour at the mask's border; other kinds of channels stay."""
    changed = evened(region.full, region.full_mask)
    parts = [(changed if group.kind in SMOOTH else region.full)[:, where] for group, where in channels.slices()]
    full = torch.cat(parts, 1)
    return replace(region, full=full, given=resize(full, (region.given.shape[-2], region.given.shape[-1])))


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
