"""Super-resolution from the image alone: up in steps of 1/r, refined by the finest net, held to the input.

The paper trains on the image and goes on above its finest scale with the same patches; back-projection (Irani and
Peleg, 1991) keeps the result, made smaller, equal to the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.metrics.pictures import psnr, rmse, ssim
from pgcn.tasks.enlarge import STEPS, back_projected, enlarged
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskError, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid

LONGEST = 16_384
"""Longest side of a result, px."""


class SuperresOptions(Options):
    """Options of `superres`."""

    factor: float = Field(4.0, gt=0, le=64, description="by how much each side grows; any number above 1")
    width: int | None = Field(None, ge=1, le=LONGEST, description="exact width, px, with `height`, in place of factor")
    height: int | None = Field(None, ge=1, le=LONGEST, description="exact height, px, with `width`")
    steps: int = Field(STEPS, ge=0, le=1000, description="last Langevin steps of a chain, after each enlargement")
    noise: float = Field(0.0, ge=0, le=1, description="σ of the chain's noise: more invents more")
    consistent: bool = Field(True, description="the result, made smaller, is the input again")


def wanted_size(image: Tensor, options: SuperresOptions) -> Size:
    """The size of the result. Raises `TaskError` for one that is not larger, or too large."""
    height, width = image.shape[-2:]
    if (options.width is None) != (options.height is None):
        raise TaskError("superres takes both a width and a height, or a factor.")
    if options.width is not None and options.height is not None:
        size = options.height, options.width
    else:
        size = round(height * options.factor), round(width * options.factor)
    if size[0] < height or size[1] < width:
        raise TaskError(
            f"superres makes pictures larger: {size[1]}x{size[0]} px is not larger than {width}x{height} px."
        )
    if max(size) > LONGEST:
        raise TaskError(
            f"superres makes at most {LONGEST} px a side, not {size[1]}x{size[0]} px: take a smaller factor."
        )
    return size


def needs_larger(inputs: Inputs, options: SuperresOptions) -> None:
    """Raises `TaskError` where `wanted_size` does."""
    wanted_size(inputs.image if inputs.target is None else inputs.target, options)


def apply(pyramid: Pyramid, inputs: Inputs, options: SuperresOptions) -> TaskResult:
    """The image, or the target where there is one, enlarged."""
    given = inputs.image if inputs.target is None else inputs.target
    size = wanted_size(given, options)

    def held(x: Tensor) -> Tensor:
        return back_projected(x, given) if options.consistent else x

    result = enlarged(pyramid, given, size, steps=options.steps, seed=options.seed, after=held, noise_std=options.noise)
    bicubic = resize(given, size)
    figures = {
        "input_error": rmse(resize(result, (given.shape[-2], given.shape[-1])), given),
        "input_error_bicubic": rmse(resize(bicubic, (given.shape[-2], given.shape[-1])), given),
    }
    if inputs.truth is not None:
        truth = resize(inputs.truth, size)
        for name, picture in {"": result, "_bicubic": bicubic}.items():
            figures |= {f"psnr{name}": psnr(picture, truth), f"rmse{name}": rmse(picture, truth)}
            figures |= {f"ssim{name}": ssim(picture, truth)}
    return TaskResult({"result": result, "bicubic": bicubic}, figures)


TASK = Task(
    name="superres",
    summary="a larger picture, its detail from the picture's own patches",
    options=SuperresOptions,
    apply=apply,
    judged=Criterion("input_error", "input_error_bicubic", "lower"),
    refuse=needs_larger,
    target="another picture to enlarge with this image's patches, in place of the image",
    truth=True,
)
