"""Energy as a measure: what in a picture is unlike the image that was learned, and whether a picture is of its patches.

Two views of f, each in units of the learned image's own:

- the score, one number a picture: -z of the energy, mean over positions and scales. Low is of the same patches;
- the map, one number a pixel: how far two Langevin steps move it, squared. Where chains find nothing to mend, all is
  as learned; steps were better than f itself at finding what was pasted in (AUROC 0.93 against 0.81 in our trials).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.metrics.pictures import auroc
from pgcn.patchgencn.energy import energy, pad
from pgcn.tasks.chains import chain, sizes_of
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class EnergyOptions(Options):
    """Options of `energy`."""

    steps: int = Field(2, ge=1, le=100, description="Langevin steps whose movement is the map")


def score(pyramid: Pyramid, picture: Tensor, image: Tensor) -> float:
    """How unlike `image`, which the pyramid learned, `picture` is: 0 for the image itself, in its own deviations.

    Both `(1, 3, H, W)`, of any sizes. The mean over scales of (mean f(image) - mean f(picture)) / std f(image).
    """
    own, other = (sizes_of(x, pyramid) for x in (image, picture))
    found = []
    with torch.no_grad():
        for net, a, b in zip(pyramid.nets, own, other, strict=True):
            f_own, f_other = energy(pad(resize(image, a)), net), energy(pad(resize(picture, b)), net)
            found.append(float((f_own.mean() - f_other.mean()) / f_own.std().clamp_min(1e-9)))
    return sum(found) / len(found)


def movement(pyramid: Pyramid, picture: Tensor, image: Tensor, steps: int) -> Tensor:
    """How far chains move each pixel: `(1, 1, H, W)` at the picture's working size, 1 as much as in `image`.

    Squared, mean over channels; the mean over scales, each in units of what the same chain moves `image` on average.
    """
    sizes, own = sizes_of(picture, pyramid), sizes_of(image, pyramid)
    maps = []
    for scale in range(len(pyramid.nets)):
        usual = _moved(pyramid, resize(image, own[scale]), scale, steps).mean().clamp_min(1e-12)
        there = _moved(pyramid, resize(picture, sizes[scale]), scale, steps) / usual
        maps.append(F.interpolate(there, size=sizes[-1], mode="bilinear", align_corners=False))
    return torch.cat(maps).mean(0, keepdim=True)


def _moved(pyramid: Pyramid, x: Tensor, scale: int, steps: int) -> Tensor:
    end = chain(x, pyramid.nets[scale], pyramid.settings, scale, steps=steps, noise_std=0.0)
    return (end - x).square().mean(1, keepdim=True)


def apply(pyramid: Pyramid, inputs: Inputs, options: EnergyOptions) -> TaskResult:
    """The map of the target, or of the image itself, as a picture: dark as learned, bright unlike it."""
    picture = inputs.image if inputs.target is None else inputs.target
    found = movement(pyramid, picture, inputs.image, options.steps)
    full = picture.shape[-2], picture.shape[-1]
    shown = F.interpolate(heat(found), size=full, mode="bilinear", align_corners=False)
    figures = {
        "score": score(pyramid, picture, inputs.image),
        "score_noise": score(pyramid, noise_like(picture, options.seed), inputs.image),
        "movement": float(found.mean()),
        "movement_highest": float(found.flatten().quantile(0.99)),
    }
    if inputs.mask is not None:
        where = F.interpolate(inputs.mask, size=(found.shape[-2], found.shape[-1]), mode="nearest") > 0
        figures |= {"auroc": auroc(found[where], found[~where]), "auroc_chance": 0.5}
    return TaskResult({"result": shown.clamp(-1, 1), "picture": picture}, figures)


def noise_like(picture: Tensor, seed: int) -> Tensor:
    """The picture's pixels, shuffled: its colours, and none of its patches."""
    order = torch.randperm(picture.shape[-2] * picture.shape[-1], generator=torch.Generator().manual_seed(seed))
    return picture.flatten(2)[..., order.to(picture.device)].view(picture.shape)


def heat(values: Tensor) -> Tensor:
    """A map as colours from black over red and yellow to white, on a log scale from 1 to 30 times the usual."""
    level = (values.clamp_min(1).log() / torch.tensor(30.0).log()).clamp(0, 1) * 3
    return torch.cat([level.clamp(0, 1), (level - 1).clamp(0, 1), (level - 2).clamp(0, 1)], dim=1) * 2 - 1


TASK = Task(
    name="energy",
    summary="what in a picture is unlike the image, and whether it is of the image's patches",
    options=EnergyOptions,
    apply=apply,
    judged=Criterion("auroc", "auroc_chance", "higher"),
    target="another picture to look at, in place of the image",
    mask="white on what is known to be foreign, for the figure alone",
)
