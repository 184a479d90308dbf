"""Harmonization: an object pasted into an image takes on the image's look.

As in SinGAN (Shaham et al., ICCV 2019), the composite is injected at a scale that keeps the object's shape, the finer
learned scales give it the image's patches, and a dilated, blurred mask blends it in. Patches hardly change a colour
cast of the whole object, so its colours are first moved half of the way (Reinhard et al., 2001, with covariances). The
change is enlarged and added to the composite, so that the object keeps its own detail: exact scales have no patches of
an object that is not in the image.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from pgcn.imaging.colours import with_moments
from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.metrics.pictures import colour_distance, gradients, gray
from pgcn.tasks.choose import choose
from pgcn.tasks.region import RegionOptions, needs_region, region_of
from pgcn.tasks.task import Criterion, Inputs, Task, TaskResult


class HarmonizeOptions(RegionOptions):
    """Options of `harmonize`."""

    colours: float = Field(
        0.5, ge=0, le=1, description="how far the object's colours (mean, covariance) are first brought to the scene's"
    )


def apply(model: Model, inputs: Inputs, options: HarmonizeOptions) -> TaskResult:
    """The composite `inputs.target` with the object on the mask in the image's look."""
    region, notes = region_of(model, inputs, options, "harmonize")
    scene = resize(inputs.image, model.sizes[-1])

    start = recoloured(region.given, scene, region.mask, options.colours)
    before = colour_distance(region.given, region.mask, scene)

    choice = choose(
        model,
        options,
        lambda scale, count: region.from_scale(model, scale, count, options.seed, start),
        style_distance=lambda x: colour_distance(x, region.at(x).mask, scene),
        content_distance=lambda x: shape_error(x, region.at(x).given, region.at(x).mask),
        baseline=lambda _: before,
        scales=model.learned,
    )
    made = choice.best.image
    result = region.recoloured(made, options.full_size)
    metrics = {
        "colour_distance": choice.best.style_distance,
        "colour_distance_before": before,
        "shape_error": choice.best.content_distance,
    }
    return region.made(result, choice, metrics, notes)


def recoloured(image: Tensor, scene: Tensor, mask: Tensor, share: float) -> Tensor:
    """The image with the object's colours moved a share of the way to the scene's."""
    return image + share * mask * (with_moments(image, scene, mask) - image)


def shape_error(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """Loss of the object's shape: 1 - correlation of gradient magnitudes of luma on the mask, in [0, 2]."""
    x, y = (gradients(gray(image))[mask > 0] for image in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return 1 - float((x * y).sum() / (x.norm() * y.norm()).clamp_min(1e-9))


TASK = Task(
    name="harmonize",
    summary="an object pasted into an image takes on its look",
    options=HarmonizeOptions,
    apply=apply,
    keeps_frame=True,
    criterion=Criterion("colour_distance", "colour_distance_before", "lower"),
    target="the image with the object pasted in",
    mask="white on the object; without one, where the target differs from the image",
    holes=True,
    validate=lambda inputs, _: needs_region(inputs, "harmonize"),
)
