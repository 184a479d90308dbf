"""Restoration of a corrupted version of the image: denoising, deblurring, detail lost to a smaller size.

The corrupted image is injected at some scale, and a chain without noise turns it into the trained image's patches, as
the recovery term of the loss trains it to do. The kind of corruption decides how the result is used:

- noise of standard deviation σ: y = x + σε. The chain's end m and y are averaged by their errors, x = m + k(y - m) with
  k = 1 - σ² / mean|y - m|², the Wiener weight, since mean|y - m|² = mean|x - m|² + σ²;
- blur, or lost detail: the given low frequencies are right, and the state is pulled towards them after each step.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.method import Model
from pgcn.metrics.pictures import psnr, ssim
from pgcn.tasks.chains import check_scale, injected, seeded_noise, sizes_of, working_size
from pgcn.tasks.enlarge import resize_free
from pgcn.tasks.task import Criterion, Injected, Inputs, Task, TaskResult

NOISY = 1.25
"""An image counts as noisy where its noise level is this many times that of the trained image."""


class RecoverOptions(Injected):
    """Options of `recover`."""

    noise: float | None = Field(
        None, ge=0, le=1, description="σ of the image's noise in [-1, 1] units, 0 for none; none: estimated"
    )
    pull: float = Field(
        0.3, ge=0, le=1, description="without noise: share of the way back to the given image, after each step"
    )


def apply(model: Model, inputs: Inputs, options: RecoverOptions) -> TaskResult:
    """The target, a corrupted version of the image, restored; without one, the image itself."""
    given = inputs.image if inputs.target is None else inputs.target
    size = working_size(given, model)
    corrupted, sizes = resize(given, size), sizes_of(given, model)
    noise = added_noise(corrupted, resize(inputs.image, model.sizes[-1])) if options.noise is None else options.noise
    known = [resize(corrupted, one) for one in sizes]

    def pulled(x: Tensor, scale: int) -> Tensor:
        return x + options.pull * (known[scale] - x)

    chain = seeded_noise(options.seed, noise_std=0.0)

    def make(scale: int) -> Tensor:
        if noise > 0:
            return injected(model, corrupted, scale, chain, sizes=sizes)
        return injected(model, corrupted, scale, chain, pulled, sizes)

    scales = _scales(model, options, noisy=noise > 0)
    ends = {scale: make(scale) for scale in scales}
    if options.start_scale is not None:
        chosen = check_scale(model, options.start_scale)
    elif noise > 0:
        chosen = min(scales, key=lambda scale: float((ends[scale] - corrupted).square().mean()))
    else:
        chosen = _usual_scale(model)

    made = weighed(ends[chosen], corrupted, noise) if noise > 0 else ends[chosen]
    full = given.shape[-2], given.shape[-1]
    # No scale is above the working size: the change at that size is enlarged and added.
    result = made if full == size else (given + resize_free(made - corrupted, full)).clamp(-1, 1)
    metrics = {"start_scale": float(chosen), "noise": noise}
    if inputs.truth is not None:
        truth = resize(inputs.truth, size)
        metrics |= {"psnr": psnr(made, truth), "psnr_corrupted": psnr(corrupted, truth)}
        metrics |= {"ssim": ssim(made, truth), "ssim_corrupted": ssim(corrupted, truth)}
    images = {"result": result, "corrupted": given, "small": made}
    if options.sweep:
        images["sweep"] = torch.cat([ends[scale] for scale in scales])
    return TaskResult(images, metrics)


def _usual_scale(model: Model) -> int:
    """The second finest scale, which was best for blur in trials."""
    return max(0, len(model.sizes) - 2)


def _scales(model: Model, options: RecoverOptions, *, noisy: bool) -> list[int]:
    """The start scales to try: several for noise, where the scale with the least error is known.

    All learned ones, or where there are exact scales these alone: from a learned scale on they would draw another
    layout.
    """
    if options.sweep or (noisy and options.start_scale is None):
        scales = list(range(len(model.sizes)))
        exact = scales[model.learned :]
        return exact if exact and not options.sweep else scales
    return [_usual_scale(model) if options.start_scale is None else check_scale(model, options.start_scale)]


def weighed(made: Tensor, noisy: Tensor, noise: float) -> Tensor:
    """The mean of the chain's end and the noisy image, weighted by the inverse of their squared errors."""
    apart = float((noisy - made).square().mean())
    k = max(0.0, 1 - noise**2 / max(apart, 1e-9))
    return made + k * (noisy - made)


def noise_level(image: Tensor) -> float:
    """Standard deviation of noise in [-1, 1] units, texture counted with it: Immerkær, CVIU 1996."""
    kernel = image.new_tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]).expand(image.shape[1], 1, 3, 3)
    response = F.conv2d(image, kernel, groups=image.shape[1])
    return float(response.abs().mean()) * math.sqrt(math.pi / 2) / 6


def added_noise(corrupted: Tensor, image: Tensor) -> float:
    """σ of the noise that was added to the trained image; 0 where the noise levels hardly differ."""
    own, learned = noise_level(corrupted), noise_level(image)
    return math.sqrt(own**2 - learned**2) if own > NOISY * learned else 0.0


TASK = Task(
    name="recover",
    summary="a corrupted version of the image restored: noise, blur, lost detail",
    options=RecoverOptions,
    apply=apply,
    keeps_frame=True,
    criterion=Criterion("psnr", "psnr_corrupted", "higher"),
    target="a corrupted version of the image; without one, the image itself is restored",
    truth=True,
)
