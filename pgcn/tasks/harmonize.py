"""Harmonization: an object pasted into a picture takes on its look.

As SinGAN does (Shaham et al., ICCV 2019): the composite goes in at a scale that keeps the object's shape, the finer
scales give it the picture's patches, and a dilated, blurred mask blends it in. Patches carry little of a colour cast
that covers the whole object, so its colours are first moved half of the way (Reinhard et al., 2001, with covariances).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from pgcn.imaging.colours import with_moments
from pgcn.imaging.scales import resize
from pgcn.metrics.pictures import colour_distance, gradients, gray
from pgcn.tasks.choose import choose
from pgcn.tasks.region import RegionOptions, needs_region, region_of
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class HarmonizeOptions(RegionOptions):
    """Options of `harmonize`."""

    colours: float = Field(
        0.5, ge=0, le=1, description="how far the object's colours (mean, covariance) are first brought to the scene's"
    )


def apply(pyramid: Pyramid, inputs: Inputs, options: HarmonizeOptions) -> TaskResult:
    """The composite `inputs.target` with the object on the mask in the picture's look."""
    region, notes = region_of(pyramid, inputs, options, "harmonize")
    scene = resize(inputs.image, pyramid.sizes[-1])

    start = recoloured(region.given, scene, region.mask, options.colours)
    before = colour_distance(region.given, region.mask, scene)

    choice = choose(
        pyramid,
        options,
        lambda scale: region.from_scale(pyramid, scale, options.seed, start),
        unlike=lambda x: colour_distance(x, region.mask, scene),
        astray=lambda x: shape_error(x, region.given, region.mask),
        nothing=before,
    )
    made = choice.best.picture
    result = region.recoloured(made) if options.full_size else made
    figures = {
        "colour_distance": choice.best.unlike,
        "colour_distance_before": before,
        "shape_error": choice.best.astray,
    }
    return region.made(result, choice, figures, notes)


def recoloured(picture: Tensor, scene: Tensor, mask: Tensor, share: float) -> Tensor:
    """The picture with the object's colours moved a share of the way to the scene's."""
    return picture + share * mask * (with_moments(picture, scene, mask) - picture)


def shape_error(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """Whether the object is still there: 1 - correlation of gradient sizes of luma on the mask, in [0, 2]."""
    x, y = (gradients(gray(image))[mask > 0] for image in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return 1 - float((x * y).sum() / (x.norm() * y.norm()).clamp_min(1e-9))


TASK = Task(
    name="harmonize",
    summary="an object pasted into a picture takes on its look",
    options=HarmonizeOptions,
    apply=apply,
    judged=Criterion("colour_distance", "colour_distance_before", "lower"),
    target="the picture with the object pasted in",
    mask="white on the object; without one, where the target differs from the image",
    holes=True,
    refuse=lambda inputs, _: needs_region(inputs, "harmonize"),
)
