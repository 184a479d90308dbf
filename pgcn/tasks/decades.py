"""Energies of learned scales in one unit: decades of the tail of the trained image's own energies.

Each scale's energies of another image are placed in the distribution of those of the trained image's positions, by the
exponential tail of `pgcn.anomaly.tail`, and so is the mean over the scales:

    d_s = decades of E_s in the tail of E_s(image);   d = decades of mean_s d_s in the tail of the image's own mean.

Half of the trained image's positions are above 0.30 decades, a tenth above 1; 4 means that one of its positions in
10,000 would be as unusual, if the tail went on as it begins. An energy that is multiplied or moved by a constant has
the same decades, so that those of different images and methods compare.

Exact scales have no part in it: the trained image's own patches are what they are made of, at the least energy that
there is. `energy --self` compares their patches with others of the same image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.anomaly.tail import Tail
from pgcn.imaging.scales import Size
from pgcn.method import Model
from pgcn.tasks.chains import sizes_of

ROUNDING = 1e-5
"""Least distance of the quantiles of energies, as a share of their mean size: differences below it are rounding."""


def energy_decades(model: Model, other: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """The maps of `other` and of the trained `image`, both `(1, C, H, W)` of any size, in decades.

    They are `(1, 1, h, w)` each, at the sizes of the finest learned scale.
    """
    scores = [energies(model, x) for x in (other, image)]
    return in_decades(*scores)


def energies(model: Model, x: Tensor) -> list[Tensor]:
    """The energies of learned scales of `x` `(1, C, H, W)`: `(h, w)` each, coarsest first."""
    return model.energy(x, sizes_of(x, model)[: model.learned])


def in_decades(there: Sequence[Tensor], own: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Maps of scores of an image and of the trained image, a scale each, as two maps `(1, 1, h, w)` in decades."""
    tails = [Tail.of(scores, ROUNDING * float(scores.abs().mean()) + 1e-12) for scores in own]
    means = []
    for maps in (there, own):
        size = maps[-1].shape[0], maps[-1].shape[1]
        found = [enlarged(tail.decades(scores), size) for tail, scores in zip(tails, maps, strict=True)]
        means.append(torch.cat(found).mean(0, keepdim=True))
    tail = Tail.of(means[1])
    return tail.decades(means[0]), tail.decades(means[1])


def enlarged(values: Tensor, size: Size) -> Tensor:
    """A map `(h, w)` at another size: `(1, 1, *size)`."""
    return F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)
