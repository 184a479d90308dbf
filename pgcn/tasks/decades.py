"""Movements by learned scales in one unit: decades of the tail of the trained image's own.

The movement of a pixel by a few steps of a chain is small where the energy finds the content likely: it is a multiple
of |∇E|². Each scale's movements of another image are placed in the distribution of those of the trained image, by the
exponential tail of `pgcn.anomaly.tail`, and so is the mean over the scales:

    d_s = decades of m_s in the tail of m_s(image);   d = decades of mean_s d_s in the tail of the image's own mean.

Half of the trained image's pixels are above 0.30 decades, a tenth above 1; 4 means that one of its pixels in 10,000
would be as unusual, if the tail went on as it begins. Movements that are multiplied by a constant, as by a method with
larger steps, have the same decades: those of different images and methods compare.

The energy itself can be placed in this unit too. In trials with trainings of seconds (two methods, bricks and wood) it
found made defects less well, at a pixel AUROC of 0.60 to 0.66 against 0.66 to 0.76, and clean crops of the same
textures were further from the unit: 0.9 quantiles of 1.3 to 2.4 decades against 1.1 to 1.5. Pixels at black or white
cannot move beyond, and are missed by movement alone.

Exact scales have no part in it: they do not move the trained image, whose own patches they are made of. `energy --self`
compares patches with others of the same image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.anomaly.tail import Tail
from pgcn.imaging.scales import Size, resize
from pgcn.method import ChainOptions, Model
from pgcn.tasks.chains import sizes_of

STEPS = 2
"""Steps of the chains whose movement is measured."""

ROUNDING = 1e-5
"""Least distance of the quantiles of one scale, as a share of their mean size: differences below it are rounding."""

FLAT = 0.05
"""Least distance of the quantiles of the mean over scales, decades: an image of one colour has no tail."""


def moved(model: Model, x: Tensor, scale: int, steps: int = STEPS) -> Tensor:
    """Squared movement of each pixel of `x` `(1, C, h, w)` by a chain of `steps` without noise: `(1, 1, h, w)`."""
    end = model.refine(x, scale, ChainOptions(steps=steps, noise_std=0.0))
    return (end - x).square().mean(1, keepdim=True)


def map_in_decades(model: Model, other: Tensor, image: Tensor, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """The maps of `other` and of the trained `image`, both `(1, C, H, W)` of any size, in decades.

    They are `(1, 1, h, w)` each, at the sizes of the finest learned scale.
    """
    there, own = (
        [moved(model, resize(x, size), scale, steps) for scale, size in enumerate(sizes_of(x, model)[: model.learned])]
        for x in (other, image)
    )
    return in_decades(there, own)


def in_decades(there: Sequence[Tensor], own: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Maps `(1, 1, h, w)` of an image and of the trained image, a scale each, as two maps in decades, finest size."""
    tails = [Tail.of(scores, ROUNDING * float(scores.abs().mean()) + 1e-30) for scores in own]
    means = []
    for maps in (there, own):
        size = maps[-1].shape[2], maps[-1].shape[3]
        found = [_enlarged(tail.decades(scores), size) for tail, scores in zip(tails, maps, strict=True)]
        means.append(torch.cat(found).mean(0, keepdim=True))
    tail = Tail.of(means[1], FLAT)
    return tail.decades(means[0]), tail.decades(means[1])


def _enlarged(values: Tensor, size: Size) -> Tensor:
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)
