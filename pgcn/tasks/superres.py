"""Super-resolution from the image alone: steps of 1/r, refined at the finest scale, consistent with the input.

As in the paper, the finest scale is applied above its own size too; back-projection (Irani and Peleg, 1991) keeps the
result equal to the input when it is made smaller.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.method import Model
from pgcn.metrics.pictures import psnr, rmse, ssim
from pgcn.tasks.enlarge import STEPS, Refinement, back_projected, enlarged
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskError, TaskResult

LONGEST = 16_384
"""Longest side of a result, px."""


class SuperresOptions(Options):
    """Options of `superres`."""

    factor: float = Field(4.0, gt=0, le=64, description="factor of both sides; any number above 1")
    width: int | None = Field(None, ge=1, le=LONGEST, description="exact width, px, with `height`, in place of factor")
    height: int | None = Field(None, ge=1, le=LONGEST, description="exact height, px, with `width`")
    steps: int = Field(
        STEPS, ge=0, le=1000, description="number of last Langevin steps of a chain after each enlargement"
    )
    noise: float = Field(0.0, ge=0, le=1, description="σ of the chain's noise; more noise invents more detail")
    consistent: bool = Field(True, description="the result equals the input when it is made smaller")


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
        raise TaskError(f"superres makes images larger: {size[1]}x{size[0]} px is not larger than {width}x{height} px.")
    if max(size) > LONGEST:
        raise TaskError(
            f"superres makes at most {LONGEST} px a side, not {size[1]}x{size[0]} px: take a smaller factor."
        )
    return size


def needs_larger(inputs: Inputs, options: SuperresOptions) -> None:
    """Raises `TaskError` where `wanted_size` does."""
    wanted_size(inputs.image if inputs.target is None else inputs.target, options)


def apply(model: Model, inputs: Inputs, options: SuperresOptions) -> TaskResult:
    """The image, or the target where there is one, enlarged."""
    given = inputs.image if inputs.target is None else inputs.target
    size = wanted_size(given, options)

    def consistent(x: Tensor) -> Tensor:
        return back_projected(x, given) if options.consistent else x

    how = Refinement(options.steps, options.seed, options.noise, consistent)
    result = enlarged(model, given, size, how)
    bicubic = resize(given, size)
    metrics = {
        "input_error": rmse(resize(result, (given.shape[-2], given.shape[-1])), given),
        "input_error_bicubic": rmse(resize(bicubic, (given.shape[-2], given.shape[-1])), given),
    }
    if inputs.truth is not None:
        truth = resize(inputs.truth, size)
        for name, made in {"": result, "_bicubic": bicubic}.items():
            metrics |= {f"psnr{name}": psnr(made, truth), f"rmse{name}": rmse(made, truth)}
            metrics |= {f"ssim{name}": ssim(made, truth)}
    return TaskResult({"result": result, "bicubic": bicubic}, metrics)


TASK = Task(
    name="superres",
    summary="a larger image, with detail from its own patches",
    options=SuperresOptions,
    apply=apply,
    keeps_frame=True,
    criterion=Criterion("input_error", "input_error_bicubic", "lower"),
    validate=needs_larger,
    target="another image to enlarge with this image's patches, in place of the image",
    truth=True,
)
