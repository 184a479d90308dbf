"""Random samples: any number, size and aspect ratio; tiles that fit together; noise as a temperature.

A tile is a torus: its opposite sides meet, in the energy (circular padding) and where a scale is resized to the next,
so that no patch has an edge. With `keep`, the image itself becomes a tile, and most of it stays.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pgcn.imaging.holes import clamp_known, filled
from pgcn.imaging.noise import noise_start, normal_each, seeded
from pgcn.imaging.scales import Size, resize, resize_on_torus, sizes_for
from pgcn.method import ChainOptions, Model
from pgcn.metrics.maps import alignment_metrics, tile_metrics
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.tasks.chains import check_scale, coarse_count, run
from pgcn.tasks.inpaint import Hole, InpaintOptions, held_out
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskError, TaskResult


class GenerateOptions(Options):
    """Options of `generate`."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"keep"})

    number: int = Field(4, ge=1, le=10_000, description="number of samples; sample i has the seed + i")
    width: int | None = Field(None, ge=1, le=8192, description="px, with `height`; neither: the trained size")
    height: int | None = Field(None, ge=1, le=8192, description="px, with `width`")
    start_scale: int = Field(0, ge=0, description="above 0, chains begin there from the reconstructed image")
    noise: float | None = Field(
        None, ge=0, le=1, description="σ of the noise of chains, a temperature; none: as trained"
    )
    tile: bool = Field(False, description="opposite sides of a sample fit together")
    keep: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="with tile: share of both sides of the image that stays as it is, 0.8 for example; the borders "
        "between copies of it are made anew. 0: samples that are all new",
    )

    @model_validator(mode="after")
    def _whole_size(self) -> GenerateOptions:
        if (self.width is None) != (self.height is None):
            raise ValueError("a size is a width and a height")
        if self.keep and (not self.tile or self.width is not None or self.start_scale):
            raise ValueError("keep makes the image itself a tile: give tile, and neither a size nor a start_scale")
        return self


def apply(model: Model, inputs: Inputs, options: GenerateOptions) -> TaskResult:
    """Samples, `(number, C, H, W)`."""
    if options.keep:
        return kept_tile(model, inputs.image, options.keep, options)
    size = (options.height, options.width) if options.height and options.width else model.sizes[-1]
    first = check_scale(model, options.start_scale)
    if options.tile and min(sizes_for(size, model.sizes)[first]) < model.halo:
        raise TaskError(f"a tile of {size[1]}x{size[0]} px is too small for this pyramid: make both sides larger.")
    samples = torch.cat([_one(model, size, first, options, options.seed + i) for i in range(options.number)])
    image = resize(inputs.image, model.sizes[-1])
    noise = noise_start(size, seeded(options.seed, 1), channels=model.channels.count).to(image)
    metrics = {"patch_swd": patch_swd(samples[:1], image), "patch_swd_noise": patch_swd(noise, image)}
    metrics |= alignment_metrics(samples, image, model.channels)
    images = {"result": samples}
    if options.tile:
        metrics |= seam_errors(samples) | tile_metrics(samples, image, model.channels)
        images["tiled"] = two_by_two(samples[:1])
    return TaskResult(images, metrics)


def two_by_two(tile: Tensor) -> Tensor:
    """Four copies of a tile `(1, C, H, W)`, two by two."""
    return tile.repeat(1, 1, 2, 2)


def kept_tile(model: Model, image: Tensor, keep: float, options: GenerateOptions) -> TaskResult:
    """The image as a tile, at its own size: only a cross between copies of it is made anew.

    The image is rolled by half of its size both ways, so that its borders are a cross in its middle, and its new
    borders fit. The cross is a hole, which `inpaint` fills on a torus.
    """
    size = height, width = image.shape[-2], image.shape[-1]
    shift = height // 2, width // 2
    rolled = image.roll(shift, (2, 3))
    mask = torch.zeros_like(image[:, :1])
    for axis, (side, middle) in enumerate(zip(size, shift, strict=True), start=2):
        half = max(1, round(side * (1 - keep) / 2))
        mask.narrow(axis, max(0, middle - half), min(side, 2 * half)).fill_(1)
    if not bool((mask == 0).any()):
        raise TaskError(f"keep={keep:g} leaves no pixel of {width}x{height} px: make it larger.")
    hole = Hole(filled(rolled, mask), mask, sizes_for(model.sizes[-1], model.sizes), wrap=True)
    scales = list(range(coarse_count(model)))
    noise = 0.1 if options.noise is None else options.noise
    filling = InpaintOptions(seed=options.seed, noise=noise)
    trials = held_out(model, hole, scales, filling)
    scale = min(scales, key=lambda at: trials[at].error)

    def made(seed: int) -> Tensor:
        small = hole.filled_from(model, scale, filling, seed)
        return clamp_known(resize_on_torus(small, size), rolled, mask).roll((-shift[0], -shift[1]), (2, 3))

    results = torch.cat([made(options.seed + index) for index in range(options.number)])
    metrics = {"start_scale": float(scale), "changed": float(mask.mean()), **seam_errors(results)}
    metrics |= tile_metrics(results, image, model.channels) | alignment_metrics(results, image, model.channels)
    before = seam_errors(image)
    metrics |= {"seam_step_before": before["seam_step"]}
    return TaskResult({"result": results, "tiled": two_by_two(results[:1]), "before": image}, metrics)


def _one(model: Model, size: Size, first: int, options: GenerateOptions, seed: int) -> Tensor:
    generators = seeded(seed, 1)
    draw, sizes = normal_each(generators), sizes_for(size, model.sizes)
    if first == 0:
        start = noise_start(sizes[0], generators, channels=model.channels.count).to(model.device)
    else:
        # A little noise, without which all chains from one start would end at the same image.
        start = resize(model.reconstruct()[first - 1], sizes[first])
        start = (start + 0.1 * draw(start)).clamp(-1, 1)
    how = ChainOptions(draw=draw, noise_std=options.noise, wrap=options.tile, from_noise=first == 0)
    return run(model, start, sizes, first, how)


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
