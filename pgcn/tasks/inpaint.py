"""Inpainting: missing pixels made from the known ones.

Conditional Langevin dynamics: the chains run on the whole image, and known pixels are clamped after every step, at
every scale (Xie et al., "A Theory of Generative ConvNet", ICML 2016, do so at one scale). The pyramid is best trained
with the holes left out of the loss: `pgcn.fit(image, mask=mask)`.

With a target, its holes are filled from the patches of the image, whose pixels count as large as the target's.

A wide hole has many good fills, and the result is one of them. A thin one (a scratch, single pixels) is determined by
its surroundings: there the chain's end and a smooth fill are mixed by how well they fill other holes of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pgcn.imaging.holes import clamp_known, filled, hole_at, is_thin
from pgcn.imaging.masks import check_mask, fit, joined_masks
from pgcn.imaging.scales import Size, resize, sizes_for
from pgcn.method import Model
from pgcn.metrics.pictures import psnr, rmse
from pgcn.tasks.chains import check_scale, coarse_count, run, seeded_noise, sizes_of
from pgcn.tasks.enlarge import Refinement, enlarged
from pgcn.tasks.region import mask_image
from pgcn.tasks.task import Criterion, Injected, Inputs, Task, TaskError, TaskResult

FINEST = 3
"""Number of start scales, the finest ones, that are compared for a thin hole where there are exact scales."""

HIDDEN = 0.25
"""Largest share of an image that is hidden to compare start scales."""


class InpaintOptions(Injected):
    """Options of `inpaint`."""

    number: int = Field(
        1, ge=1, le=256, description="number of results, with seeds that count up; more than one need noise"
    )
    noise: float = Field(
        0.0, ge=0, le=1, description="σ of noise in the hole where a chain begins, by which results differ"
    )

    @model_validator(mode="after")
    def _several_differ(self) -> InpaintOptions:
        if self.number > 1 and self.noise == 0:
            raise ValueError("several results without noise are equal: give noise, for example 0.1")
        return self


@dataclass(frozen=True)
class Hole:
    """An image with a hole: smooth colours in it, `mask` 1 there, and the pyramid's sizes for it.

    With `wrap` the image is a torus, whose opposite sides meet.
    """

    smooth: Tensor
    mask: Tensor
    sizes: list[Size]
    wrap: bool = False

    @staticmethod
    def of(image: Tensor, mask: Tensor, model: Model) -> Hole:
        """A hole of the model's own image, filled smoothly to begin with."""
        return Hole(filled(image, mask), mask, sizes_of(image, model))

    def known(self, x: Tensor) -> Tensor:
        """`x` with known pixels clamped, at any size."""
        size = x.shape[-2], x.shape[-1]
        return clamp_known(x, resize(self.smooth, size), hole_at(self.mask, size))

    def filled_from(self, model: Model, scale: int, options: InpaintOptions, seed: int) -> Tensor:
        """The image at the last of `sizes`, with the hole filled from `scale` on."""
        start = resize(self.smooth, self.sizes[scale])
        generator = torch.Generator().manual_seed(seed)
        start = start + options.noise * torch.randn(start.shape, generator=generator).to(start)
        chain = replace(seeded_noise(seed), wrap=self.wrap)
        return run(model, start.clamp(-1, 1), self.sizes, scale, chain, lambda x, _: self.known(x))


def apply(model: Model, inputs: Inputs, options: InpaintOptions) -> TaskResult:
    """The image with new pixels on the mask, and all others unchanged."""
    image, notes = inputs.image if inputs.target is None else inputs.target, []
    full = image.shape[-2], image.shape[-1]
    mask = inputs.mask
    if mask is not None and tuple(mask.shape[-2:]) != full:
        notes.append("the mask was fitted to the image's size")
        mask = check_mask(fit(mask, full))
    if mask is None:
        notes.append("no mask was given: the pixels without data are filled")
    mask = joined_masks(mask, inputs.unknown)
    assert mask is not None
    hole = Hole.of(image, mask, model)
    if inputs.target is not None:
        hole = replace(hole, sizes=sizes_like(image, inputs.image, model))
    every = start_scales(model, hole)
    if options.start_scale is not None:
        own = check_scale(model, options.start_scale)
        every = sorted({*every, own}) if options.sweep else [own]
    trials = {scale: trial for scale, trial in zip(every, held_out(model, hole, every, options), strict=True)}
    chosen = options.start_scale
    if chosen is None:
        chosen = min(every, key=lambda scale: trials[scale].error)
    share = trials[chosen].share

    def made(seed: int) -> Tensor:
        small = hole.filled_from(model, chosen, options, seed)
        smooth = resize(hole.smooth, (small.shape[-2], small.shape[-1]))
        small = smooth + share * (small - smooth)
        how = Refinement(seed=seed, after=hole.known, only=mask)
        return clamp_known(enlarged(model, small, full, how), image, mask)

    results = [made(options.seed + index) for index in range(options.number)]
    images = {"result": torch.cat(results), "before": hole.smooth, "mask": mask_image(mask)}
    if options.sweep:
        images["sweep"] = torch.cat([hole.filled_from(model, scale, options, options.seed) for scale in every])
    metrics = {"start_scale": float(chosen), "hole": float(mask.mean()), "share_of_chain": share}
    if inputs.truth is not None:
        truth = resize(inputs.truth, full)
        mean = clamp_known(mean_fill(image, mask), image, mask)
        for name, made_image in {"": results[0], "_smooth_fill": hole.smooth, "_mean_fill": mean}.items():
            metrics |= {f"psnr{name}": psnr(made_image, truth), f"rmse_hole{name}": rmse(made_image, truth, mask)}
    return TaskResult(images, metrics, notes)


def needs_hole(inputs: Inputs) -> None:
    """Raises `TaskError` where there is nothing to fill."""
    if inputs.mask is None and inputs.unknown is None:
        raise TaskError(
            "The task inpaint needs a mask: white on the missing pixels. This image has no transparent pixels, and "
            "none without data, that could be filled without one."
        )


def sizes_like(image: Tensor, trained: Tensor, model: Model) -> list[Size]:
    """The sizes of all scales for another image, whose pixels are as large as those of the `trained` image."""
    finest = model.sizes[-1]
    factor = (finest[0] * finest[1] / (trained.shape[-2] * trained.shape[-1])) ** 0.5
    return sizes_for((max(1, round(image.shape[-2] * factor)), max(1, round(image.shape[-1] * factor))), model.sizes)


def start_scales(model: Model, hole: Hole) -> list[int]:
    """The start scales that are compared: coarse ones for a wide hole, the finest for a thin one.

    A thin hole is not there at coarse scales.
    """
    if is_thin(hole_at(hole.mask, hole.sizes[-1])):
        every = list(range(len(model.sizes)))
        return every if model.learned == len(every) else every[-FINEST:]
    return list(range(coarse_count(model)))


@dataclass(frozen=True)
class Trial:
    """The error of filling holes of this kind, in levels of 255, and the share of the chain's end in the fill."""

    error: float
    share: float


def held_out(model: Model, hole: Hole, scales: list[int], options: InpaintOptions) -> list[Trial]:
    """Each start scale tried on other holes: the mask, shifted to where the image is known.

    A trial runs at the working size for a thin hole, and on `coarse_count` scales for another. Where there are exact
    scales these are small, and three shifts are tried: the content of one may be unlike that of the hole.
    """
    mask, sizes = hole.mask, hole.sizes
    thin = is_thin(hole_at(mask, sizes[-1]))
    if len(scales) == 1 and not thin:
        return [Trial(0.0, 1.0)]
    count = len(sizes) if thin else max(coarse_count(model), scales[-1] + 1)
    height, width = sizes[count - 1]
    small, gone = resize(hole.smooth, (height, width)), hole_at(mask, (height, width))
    shifts = [(height // 2, width // 2)]
    if not thin and model.learned < len(sizes):
        shifts += [(0, width // 2), (height // 2, 0)]
    holes = [hidden for shift in shifts if bool((hidden := _hidden(gone, shift)).any())]
    if not holes:
        return [Trial(float(-scale), 1.0) for scale in scales]
    filling = _Filling(model, options, small, gone, sizes[:count], hole.wrap)
    return [filling.trial(scale, holes, thin) for scale in scales]


def _hidden(gone: Tensor, shift: Size) -> Tensor:
    """The hole `gone`, shifted, less itself; of a large one a part, so that enough is known to fill it from."""
    hidden = gone.roll(shift, (2, 3)) * (1 - gone)
    amount = float(hidden.mean())
    if amount > HIDDEN:
        generator = torch.Generator().manual_seed(0)
        hidden = hidden * (torch.rand(hidden.shape, generator=generator).to(hidden) < HIDDEN / amount)
    return hidden


@dataclass(frozen=True)
class _Filling:
    """An image at the last of `sizes`, with its hole `gone`, in which other holes are filled."""

    model: Model
    options: InpaintOptions
    image: Tensor
    gone: Tensor
    sizes: list[Size]
    wrap: bool

    def trial(self, scale: int, holes: list[Tensor], thin: bool) -> Trial:
        """The mean over some holes; the chain's share is fitted for thin ones alone."""
        found = [self._one(scale, hidden, thin) for hidden in holes]
        return Trial(sum(one.error for one in found) / len(found), sum(one.share for one in found) / len(found))

    def _one(self, scale: int, hidden: Tensor, thin: bool) -> Trial:
        both = (self.gone + hidden).clamp_max(1)
        hole = Hole(filled(self.image, both), both, self.sizes, self.wrap)
        smooth = hole.smooth
        made = hole.filled_from(self.model, scale, self.options, self.options.seed)
        # Least squares: truth ≈ smooth + share·(made - smooth).
        moved, wanted = (made - smooth) * hidden, (self.image - smooth) * hidden
        best = float((moved * wanted).sum() / moved.square().sum().clamp_min(1e-9))
        share = min(1.0, max(0.0, best)) if thin else 1.0
        return Trial(rmse(smooth + share * (made - smooth), self.image, hidden), share)


def mean_fill(image: Tensor, mask: Tensor) -> Tensor:
    """The mean colour of the known pixels, everywhere: `(1, C, H, W)`."""
    known = 1 - mask
    mean = (image * known).sum((2, 3), keepdim=True) / known.sum().clamp_min(1)
    return mean.expand_as(image)


TASK = Task(
    name="inpaint",
    summary="missing pixels made from the known ones",
    options=InpaintOptions,
    apply=apply,
    keeps_frame=True,
    fills=True,
    target="another image, whose missing pixels are made from this image's patches",
    criterion=Criterion("psnr", "psnr_mean_fill", "higher"),
    mask="white on the missing pixels; without one, the pixels without data are filled",
    validate=lambda inputs, _: needs_hole(inputs),
    holes=True,
    truth=True,
)
