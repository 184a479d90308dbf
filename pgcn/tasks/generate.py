"""Random samples: any number, size and aspect ratio; tiles that fit together; noise as a temperature.

A tile is a torus: its opposite sides meet, in the energy (circular padding) and where a scale is resized to the next,
so that no patch has an edge.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pgcn.imaging.noise import noise_start, normal_each, seeded
from pgcn.imaging.scales import Size, resize, sizes_for
from pgcn.method import ChainOptions, Model
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.tasks.chains import check_scale, run
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskError, TaskResult


class GenerateOptions(Options):
    """Options of `generate`."""

    number: int = Field(4, ge=1, le=10_000, description="number of samples; sample i has the seed + i")
    width: int | None = Field(None, ge=1, le=8192, description="px, with `height`; neither: the trained size")
    height: int | None = Field(None, ge=1, le=8192, description="px, with `width`")
    start_scale: int = Field(0, ge=0, description="above 0, chains begin there from the reconstructed image")
    noise: float | None = Field(
        None, ge=0, le=1, description="σ of the noise of chains, a temperature; none: as trained"
    )
    tile: bool = Field(False, description="opposite sides of a sample fit together")

    @model_validator(mode="after")
    def _whole_size(self) -> GenerateOptions:
        if (self.width is None) != (self.height is None):
            raise ValueError("a size is a width and a height")
        return self


def apply(model: Model, inputs: Inputs, options: GenerateOptions) -> TaskResult:
    """Samples, `(number, C, H, W)`."""
    size = (options.height, options.width) if options.height and options.width else model.sizes[-1]
    first = check_scale(model, options.start_scale)
    if options.tile and min(sizes_for(size, model.sizes)[first]) < model.halo:
        raise TaskError(f"a tile of {size[1]}x{size[0]} px is too small for this pyramid: make both sides larger.")
    samples = torch.cat([_one(model, size, first, options, options.seed + i) for i in range(options.number)])
    image = resize(inputs.image, model.sizes[-1])
    noise = noise_start(size, seeded(options.seed, 1), channels=model.channels.count).to(image)
    metrics = {"patch_swd": patch_swd(samples[:1], image), "patch_swd_noise": patch_swd(noise, image)}
    images = {"result": samples}
    if options.tile:
        metrics |= seam_errors(samples)
        images["tiled"] = torch.cat([torch.cat([samples[:1]] * 2, dim=-1)] * 2, dim=-2)
    return TaskResult(images, metrics)


def _one(model: Model, size: Size, first: int, options: GenerateOptions, seed: int) -> Tensor:
    generators = seeded(seed, 1)
    draw, sizes = normal_each(generators), sizes_for(size, model.sizes)
    if first == 0:
        start = noise_start(sizes[0], generators, channels=model.channels.count).to(model.device)
    else:
        # A little noise, without which all chains from one start would end at the same image.
        start = resize(model.reconstruct()[first - 1], sizes[first])
        start = (start + 0.1 * draw(start)).clamp(-1, 1)
    return run(model, start, sizes, first, ChainOptions(draw=draw, noise_std=options.noise, wrap=options.tile))


def seam_errors(samples: Tensor) -> dict[str, float]:
    """Mean difference of neighbouring lines of pixels, in levels of 255: across the seams, and inside.

    `inside_step_most` is the largest inside: a seam below it is like other lines. An image of bricks or branches has
    large differences, and a seam may fall on one.
    """
    steps = [(samples - samples.roll(1, axis)).abs().transpose(0, axis).flatten(1).mean(1) * 127.5 for axis in (2, 3)]
    inside = torch.cat([lines[1:] for lines in steps])
    return {
        "seam_step": float(sum(lines[0] for lines in steps) / 2),
        "inside_step": float(inside.mean()),
        "inside_step_most": float(inside.max()),
    }


TASK = Task(
    name="generate",
    summary="random samples of any number and size, tiles that fit together",
    options=GenerateOptions,
    apply=apply,
    criterion=Criterion("patch_swd", "patch_swd_noise", "lower"),
)
