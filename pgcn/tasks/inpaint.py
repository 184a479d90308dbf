"""Inpainting: what is missing, made from what is there.

Conditional Langevin dynamics: the chains run on the whole picture, and known pixels are put back after every step, at
every scale (Xie et al., "A Theory of Generative ConvNet", ICML 2016, recover so at one scale). The pyramid is best
trained with the holes left out of the loss: `pgcn.fit_masked`.

In a wide hole many pictures are right, and one is made. In a thin one (a scratch, single pixels) the surroundings
decide: there the chain's end and a smooth fill are weighed by how well each fills other holes of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pgcn.imaging.holes import filled, hole_at, is_thin, put_back
from pgcn.imaging.masks import check_mask, fit
from pgcn.imaging.scales import Size, resize
from pgcn.metrics.pictures import psnr, rmse
from pgcn.tasks.chains import check_scale, run, sizes_of, working_size
from pgcn.tasks.enlarge import enlarged
from pgcn.tasks.region import mask_picture
from pgcn.tasks.task import Criterion, Injected, Inputs, Task, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


HIDDEN = 0.25
"""Largest share of a picture that is hidden to try start scales."""


class InpaintOptions(Injected):
    """Options of `inpaint`."""

    number: int = Field(1, ge=1, le=256, description="of results, with seeds that count up: they need noise")
    noise: float = Field(
        0.0, ge=0, le=1, description="σ of noise in the hole where a chain begins: tells results apart"
    )

    @model_validator(mode="after")
    def _several_differ(self) -> InpaintOptions:
        if self.number > 1 and self.noise == 0:
            raise ValueError("several results without noise are one: give noise, as 0.1")
        return self


@dataclass(frozen=True)
class Hole:
    """An image with a hole: smooth colours in it, `mask` 1 there, and the pyramid's sizes for it."""

    smooth: Tensor
    mask: Tensor
    sizes: list[Size]

    @staticmethod
    def of(image: Tensor, mask: Tensor, pyramid: Pyramid) -> Hole:
        """The image's hole, filled smoothly to begin with."""
        return Hole(filled(image, mask), mask, sizes_of(image, pyramid))

    def known(self, x: Tensor) -> Tensor:
        """`x` with what is known put back, at any size."""
        size = x.shape[-2], x.shape[-1]
        return put_back(x, resize(self.smooth, size), hole_at(self.mask, size))

    def filled_from(self, pyramid: Pyramid, scale: int, options: InpaintOptions, seed: int) -> Tensor:
        """The picture at its working size, the hole made from `scale` on."""
        start = resize(self.smooth, self.sizes[scale])
        generator = torch.Generator().manual_seed(seed)
        start = start + options.noise * torch.randn(start.shape, generator=generator).to(start)
        return run(pyramid, start.clamp(-1, 1), self.sizes, scale, seed=seed, after=lambda x, _: self.known(x))


def apply(pyramid: Pyramid, inputs: Inputs, options: InpaintOptions) -> TaskResult:
    """The image with the mask's pixels made anew, and all others as they were."""
    assert inputs.mask is not None
    image, mask, notes = inputs.image, inputs.mask, []
    full = image.shape[-2], image.shape[-1]
    if tuple(mask.shape[-2:]) != full:
        notes.append("the mask was fitted to the picture's size")
        mask = check_mask(fit(mask, full))
    hole = Hole.of(image, mask, pyramid)
    every = list(range(len(pyramid.nets)))
    if options.start_scale is not None:
        every = every if options.sweep else [check_scale(pyramid, options.start_scale)]
    trials = {scale: trial for scale, trial in zip(every, held_out(pyramid, image, mask, every, options), strict=True)}
    chosen = options.start_scale
    if chosen is None:
        chosen = min(every, key=lambda scale: trials[scale].error)
    share = trials[chosen].share

    def made(seed: int) -> Tensor:
        small = hole.filled_from(pyramid, chosen, options, seed)
        smooth = resize(hole.smooth, (small.shape[-2], small.shape[-1]))
        small = smooth + share * (small - smooth)
        return put_back(enlarged(pyramid, small, full, seed=seed, after=hole.known, only=mask), image, mask)

    results = [made(options.seed + index) for index in range(options.number)]
    pictures = {"result": torch.cat(results), "before": hole.smooth, "mask": mask_picture(mask)}
    if options.sweep:
        pictures["sweep"] = torch.cat([hole.filled_from(pyramid, scale, options, options.seed) for scale in every])
    figures = {"start_scale": float(chosen), "hole": float(mask.mean()), "share_of_chain": share}
    if inputs.truth is not None:
        truth = resize(inputs.truth, full)
        mean = put_back(mean_fill(image, mask), image, mask)
        for name, picture in {"": results[0], "_smooth_fill": hole.smooth, "_mean_fill": mean}.items():
            figures |= {f"psnr{name}": psnr(picture, truth), f"rmse_hole{name}": rmse(picture, truth, mask)}
    return TaskResult(pictures, figures, notes)


@dataclass(frozen=True)
class Trial:
    """How well holes of this kind are filled, levels of 255, and the share of the chain's end in that (1 if wide)."""

    error: float
    share: float


def held_out(pyramid: Pyramid, image: Tensor, mask: Tensor, scales: list[int], options: InpaintOptions) -> list[Trial]:
    """Each start scale tried on one hole more: the mask, shifted to where the image is known. At the working size."""
    size = working_size(image, pyramid)
    small, gone = resize(filled(image, mask), size), hole_at(mask, size)
    hidden = gone.roll((size[0] // 2, size[1] // 2), (2, 3)) * (1 - gone)
    # No more than a quarter is hidden, or nothing would be left to fill it from.
    amount = float(hidden.mean())
    if amount > HIDDEN:
        generator = torch.Generator().manual_seed(0)
        hidden = hidden * (torch.rand(hidden.shape, generator=generator).to(hidden) < HIDDEN / amount)
    if not bool(hidden.any()):
        return [Trial(float(-scale), 1.0) for scale in scales]
    both = (gone + hidden).clamp_max(1)
    hole = Hole.of(small, both, pyramid)
    smooth = hole.smooth
    trials = []
    for scale in scales:
        made = hole.filled_from(pyramid, scale, options, options.seed)
        # Least squares: truth ≈ smooth + share·(made - smooth).
        moved, wanted = (made - smooth) * hidden, (small - smooth) * hidden
        best = float((moved * wanted).sum() / moved.square().sum().clamp_min(1e-9))
        share = min(1.0, max(0.0, best)) if is_thin(gone) else 1.0
        trials.append(Trial(rmse(smooth + share * (made - smooth), small, hidden), share))
    return trials


def mean_fill(image: Tensor, mask: Tensor) -> Tensor:
    """The mean colour of what is known, everywhere: `(1, 3, H, W)`."""
    known = 1 - mask
    mean = (image * known).sum((2, 3), keepdim=True) / known.sum().clamp_min(1)
    return mean.expand_as(image)


TASK = Task(
    name="inpaint",
    summary="what is missing, made from what is there",
    options=InpaintOptions,
    apply=apply,
    judged=Criterion("psnr", "psnr_mean_fill", "higher"),
    mask="white on what is missing",
    needs=("mask",),
    holes=True,
    truth=True,
)
