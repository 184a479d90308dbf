"""Random samples: any number, size and aspect ratio; tiles that fit together; noise as a temperature.

Tiles: the picture is a torus. What lies beside it is its other side, in the energy (circular padding) and where a scale
is brought up to the next; so no patch sees an edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from pgcn.imaging.scales import Size, resize, sizes_for
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.patchgencn.energy import PAD, Weights, crop, energy_gradient
from pgcn.patchgencn.langevin import Draw, langevin, normal_each
from pgcn.patchgencn.sampling import noise_start, seeded
from pgcn.tasks.chains import check_scale, run
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskError, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid
    from pgcn.settings import Settings


class GenerateOptions(Options):
    """Options of `generate`."""

    number: int = Field(4, ge=1, le=10_000, description="of samples; sample i is that of seed + i")
    width: int | None = Field(None, ge=1, le=8192, description="px, with `height`; neither: the trained size")
    height: int | None = Field(None, ge=1, le=8192, description="px, with `width`")
    start_scale: int = Field(0, ge=0, description="above 0, chains begin there from the recovered image")
    noise: float | None = Field(None, ge=0, le=1, description="σ of chains, a temperature; none: as trained")
    tile: bool = Field(False, description="left fits to right and top to bottom")

    @model_validator(mode="after")
    def _whole_size(self) -> GenerateOptions:
        if (self.width is None) != (self.height is None):
            raise ValueError("a size is a width and a height")
        return self


def apply(pyramid: Pyramid, inputs: Inputs, options: GenerateOptions) -> TaskResult:
    """Samples, `(number, 3, H, W)`."""
    size = (options.height, options.width) if options.height and options.width else pyramid.sizes[-1]
    first = check_scale(pyramid, options.start_scale)
    if options.tile and min(sizes_for(size, pyramid.sizes)[first]) < 2 * PAD:
        raise TaskError(f"a tile of {size[1]}x{size[0]} px is too small for this pyramid: make both sides larger.")
    samples = torch.cat([_one(pyramid, size, first, options, options.seed + i) for i in range(options.number)])
    image = resize(inputs.image, pyramid.sizes[-1])
    noise = noise_start(size, seeded(options.seed, 1)).to(image)
    figures = {"patch_swd": patch_swd(samples[:1], image), "patch_swd_noise": patch_swd(noise, image)}
    pictures = {"result": samples}
    if options.tile:
        figures |= seam_errors(samples)
        pictures["tiled"] = torch.cat([torch.cat([samples[:1]] * 2, dim=-1)] * 2, dim=-2)
    return TaskResult(pictures, figures)


def _one(pyramid: Pyramid, size: Size, first: int, options: GenerateOptions, seed: int) -> Tensor:
    generators = seeded(seed, 1)
    draw, device = normal_each(generators), pyramid.observed.device
    sizes = sizes_for(size, pyramid.sizes)
    if first == 0:
        start = noise_start(sizes[0], generators).to(device)
    else:
        # Chains from one start would end as one picture: a little noise tells them apart.
        start = resize(pyramid.recover()[first - 1], sizes[first])
        start = (start + 0.1 * draw(start)).clamp(-1, 1)
    if options.tile:
        return on_torus(start, pyramid.nets, sizes, pyramid.settings, draw, first, options.noise)
    return run(pyramid, start, sizes, first, seed=seed, noise_std=options.noise)


def on_torus(
    start: Tensor,
    nets: Sequence[Weights],
    sizes: Sequence[Size],
    settings: Settings,
    draw: Draw,
    first: int = 0,
    noise_std: float | None = None,
) -> Tensor:
    """The chains from scale `first` to the finest, of a picture without edges."""
    noise = settings.frozen_sigma() if noise_std is None else noise_std
    x = start
    for scale in range(first, len(nets)):
        x = langevin(
            resize_on_torus(x, sizes[scale]),
            gradient_on_torus(energy_gradient(nets[scale], settings.precision)),
            settings.chain(settings.steps_at(scale), noise),
            draw,
        )
    return x


def gradient_on_torus(gradient: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """∇Σf of pictures whose sides meet, `(N, 3, H, W)` to the same, from that of padded ones.

    A pixel is seen by positions up to 5 px away, which see 5 px further: so 10 px of the other side go around it.
    """
    return lambda x: crop(crop(gradient(F.pad(x, [2 * PAD] * 4, mode="circular"))))


def resize_on_torus(x: Tensor, size: Size) -> Tensor:
    """`resize` of a picture whose sides meet: three by three of it, and the middle one of the result."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    nine = x.repeat(1, 1, 3, 3)
    height, width = size
    return resize(nine, (3 * height, 3 * width))[..., height : 2 * height, width : 2 * width]


def seam_errors(samples: Tensor) -> dict[str, float]:
    """Mean step from one line of pixels to the next, in levels of 255: across the seams, and inside.

    `inside_step_most` is the largest of any two lines inside: a seam below that is a line like others. A picture with
    mortar or branches has large steps, and a seam may fall on one.
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
    judged=Criterion("patch_swd", "patch_swd_noise", "lower"),
)
