"""Translation: chains of this image's energies that start at another image, and the map of what they change.

As one-sided translation and generative saliency of CF-EBM (Zhao, Xie and Li, ICLR 2021), with the energies of one
image B. At scale s, the chain starts at the other image A with the change that the chains below it have made,

    x_s = A_s + up(y_{s-1} - A_{s-1}),   y_s the end of the chain of scale s,

and it has no noise, so that the energy alone moves it. Short chains keep more of A: those of sampling forget it. There
is no other change: neither colours nor patches of A are replaced beforehand, as `style` does.

Saliency of a pixel is Σ |Δ| over all steps of all scales, Δ the step's change, mean over channels. A step of an exact
scale is one of its estimates, which lacks the noise that is added to find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pgcn.imaging.heat import heat
from pgcn.imaging.masks import fit
from pgcn.imaging.noise import normal_each, seeded
from pgcn.imaging.scales import Size, resize
from pgcn.method import ChainOptions, Model
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.pictures import structure_error
from pgcn.tasks.enlarge import resize_free
from pgcn.tasks.guided import GuidedOptions, guided
from pgcn.tasks.task import Criterion, Inputs, MapValues, Task, TaskResult

LEVELS = 127.5
"""Levels of 255 in one unit of [-1, 1]."""


class TranslateOptions(GuidedOptions):
    """Options of `translate`."""

    start_scale: int | None = Field(
        None, ge=0, description="scale of the first chain, 0 the coarsest and freest; none: the finest learned one"
    )
    steps: int = Field(5, ge=1, le=1000, description="steps of the chains of learned scales; more change more")
    detail_steps: int = Field(
        2, ge=0, le=100, description="last steps of the chains of exact scales; 0: these scales change nothing"
    )


@dataclass(eq=False)
class Recorder:
    """Adds up how far each step of a chain moves each pixel of a state `(1, C, H, W)`: `moved` is `(1, 1, H, W)`."""

    last: Tensor
    moved: Tensor

    @staticmethod
    def at(start: Tensor) -> Recorder:
        """Of a chain that starts here."""
        return Recorder(start, torch.zeros_like(start[:, :1]))

    def __call__(self, state: Tensor) -> Tensor:
        """The state, as it is; called after each step."""
        self.moved = self.moved + (state - self.last).abs().mean(1, keepdim=True)
        self.last = state
        return state


def translated(
    model: Model, other: Tensor, first: int, sizes: list[Size], options: TranslateOptions
) -> tuple[Tensor, Tensor]:
    """`other` `(1, C, h, w)` after the chains of scales `first` to the last of `sizes`, and the saliency.

    They are `(1, C, *sizes[-1])` and `(1, 1, *sizes[-1])`, the saliency in units of [-1, 1].
    """
    draw = normal_each(seeded(options.seed, 1))
    end, below = None, other
    saliency = other.new_zeros(1, 1, *sizes[-1])
    for scale in range(first, len(sizes)):
        own = resize(other, sizes[scale])
        start = own if end is None else (own + resize_free(end - below, sizes[scale])).clamp(-1, 1)
        record = Recorder.at(start)
        learned = scale < model.learned
        steps, last = (options.steps, None) if learned else (None, options.detail_steps)
        end = model.refine(start, scale, ChainOptions(steps=steps, last=last, noise_std=0.0, draw=draw, after=record))
        below = own
        saliency += F.interpolate(record.moved, size=sizes[-1], mode="bilinear", align_corners=False)
    assert end is not None
    return end, saliency


def apply(model: Model, inputs: Inputs, options: TranslateOptions) -> TaskResult:
    """The target as the chains of the trained image's energies change it, and where they change it."""
    assert inputs.target is not None
    image, target = resize(inputs.image, model.sizes[-1]), inputs.target
    first = model.learned - 1 if options.start_scale is None else options.start_scale
    maps: dict[tuple[int, int], Tensor] = {}

    def chain(start: Tensor, scale: int, sizes: list[Size]) -> Tensor:
        end, maps[scale, len(sizes)] = translated(model, start, scale, sizes, options)
        return end

    chosen = options.model_copy(update={"start_scale": first})
    made = guided(model, image, target, chosen, lambda guide: guide, structure_error, chain)
    full = (target.shape[-2], target.shape[-1]) if options.full_size else made.guide.shape[-2:]
    saliency = LEVELS * F.interpolate(
        maps[made.choice.best.scale, len(model.sizes)], size=tuple(full), mode="bilinear", align_corners=False
    )
    metrics = {
        "patch_swd_content": patch_swd(made.guide, image),
        "structure_error": made.choice.best.content_distance,
        "saliency": float(saliency.mean()),
    }
    if inputs.mask is not None:
        where = fit(inputs.mask, (saliency.shape[-2], saliency.shape[-1]))
        total = float(saliency.sum())
        metrics["saliency_in_mask"] = float((saliency * where).sum()) / total if total > 0 else 0.0
        metrics["area_of_mask"] = float(where.mean())
    shown = heat(saliency, max(float(saliency.flatten().sort().values[int(0.99 * (saliency.numel() - 1))]), 1e-6) / 3)
    found = made.made({"content": target, "saliency": shown}, metrics)
    if inputs.unknown is not None:
        saliency = torch.where(fit(inputs.unknown, (full[0], full[1])) > 0, torch.nan, saliency)
    drawn = found.drawn | {"saliency"}
    return TaskResult(found.images, found.metrics, drawn=drawn, values=MapValues("levels", saliency, "saliency"))


TASK = Task(
    name="translate",
    summary="another image moved by chains towards this image's patches, and a map of what they change",
    options=TranslateOptions,
    apply=apply,
    criterion=Criterion("patch_swd", "patch_swd_content", "lower"),
    target="the image where the chains start, of any size",
    mask="white where the target should change, for the metric alone",
    needs=("target",),
    keeps_frame=True,
)
