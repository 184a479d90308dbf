"""Energy as an anomaly metric: parts of an image, and whole images, that differ from the trained image's patches.

With `self`, there is no trained image: the map is that of `pgcn.anomaly`, where parts of one image are compared with
its other parts. Else there are two metrics, each relative to the trained image itself:

- the score, one number for an image: its mean energy above the trained image's, in standard deviations, averaged over
  scales. It is low for an image of the same patches;
- the map, one number for a pixel: its squared movement by two Langevin steps, which is small where the content is
  likely. It found pasted objects better than the energy itself (AUROC 0.93 against 0.81 in our trials).

A second map, `decades`, has one unit for all images and methods: see `pgcn.tasks.decades`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pgcn.anomaly import CrossFit, cross_fitted, regions_of
from pgcn.anomaly.regions import components
from pgcn.imaging.heat import heat
from pgcn.imaging.masks import fit
from pgcn.imaging.scales import Size, resize
from pgcn.method import Model
from pgcn.metrics.localization import aupro
from pgcn.metrics.pictures import auroc
from pgcn.tasks.chains import coarse_count, sizes_of
from pgcn.tasks.decades import in_decades, moved
from pgcn.tasks.task import Criterion, Inputs, MapValues, Options, Task, TaskError, TaskResult

THRESHOLD = 8.0
"""Decades from which on a region is listed, by default."""

LEVEL = 2 / 255
"""One level of eight bits, in [-1, 1] units."""


class EnergyOptions(Options):
    """Options of `energy`."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"self", "threshold", "area", "side"})

    steps: int = Field(2, ge=1, le=100, description="Langevin steps whose movement makes the map")
    self: bool = Field(
        False,
        description="compare the image with its own other parts: no clean image, and no training; a map in decades",
    )
    threshold: float = Field(
        THRESHOLD, ge=0.5, le=1000, description="with self: decades from which on a region is listed"
    )
    area: int = Field(4, ge=1, le=2**40, description="with self: smallest area of a listed region, px of the image")
    side: int = Field(512, ge=16, le=8192, description="with self: longest side at which the image is looked at, px")


def score(model: Model, other: Tensor, image: Tensor) -> float:
    """The energy of `other` above that of the trained `image`, in standard deviations of the image's energy.

    Both `(1, C, H, W)`, of any sizes. The mean of (mean E(other) - mean E(image)) / std E(image) over coarse scales.
    """
    count = coarse_count(model)
    pairs = zip(*(model.energy(x, sizes_of(x, model)[:count]) for x in (image, other)), strict=True)
    found = [float((there.mean() - own.mean()) / own.std().clamp_min(1e-9)) for own, there in pairs]
    return sum(found) / len(found)


Movements = list[tuple[Tensor, Tensor]]
"""Squared movements `(1, 1, h, w)` of an image and of the trained one, a pair for each coarse scale."""


def movements(model: Model, other: Tensor, image: Tensor, steps: int) -> Movements:
    """The movements of `other` and of the trained `image`, both `(1, C, H, W)`, by chains of `steps` steps."""
    sizes, own = sizes_of(other, model), sizes_of(image, model)
    return [
        (moved(model, resize(other, sizes[scale]), scale, steps), moved(model, resize(image, own[scale]), scale, steps))
        for scale in range(coarse_count(model))
    ]


def movement(found: Movements, learned: int, size: Size) -> Tensor:
    """The map of movements `(1, 1, *size)`: the mean over scales, each relative to the trained image's mean movement.

    The first `learned` scales are learned ones.
    """
    maps = []
    for scale, (there, own) in enumerate(found):
        # Exact scales hardly move the trained image, whose own patches they have.
        usual = own.mean().clamp_min(1e-12 if scale < learned else LEVEL**2)
        maps.append(F.interpolate(there / usual, size=size, mode="bilinear", align_corners=False))
    return torch.cat(maps).mean(0, keepdim=True)


def apply(model: Model, inputs: Inputs, options: EnergyOptions) -> TaskResult:
    """The map of the target, or of the image itself, as an image: dark where it is likely, bright where it is not."""
    if options.self:
        return by_itself(inputs, options)
    other = inputs.image if inputs.target is None else inputs.target
    moves = movements(model, other, inputs.image, options.steps)
    found = movement(moves, model.learned, sizes_of(other, model)[-1])
    there, own = zip(*moves[: model.learned], strict=True)
    unusual, usual = in_decades(there, own)
    full = other.shape[-2], other.shape[-1]
    shown = F.interpolate(heat(found), size=full, mode="bilinear", align_corners=False)
    metrics = {
        "score": score(model, other, inputs.image),
        "score_noise": score(model, noise_like(other, options.seed), inputs.image),
        "movement": float(found.mean()),
        "movement_highest": float(found.flatten().quantile(0.99)),
        "decades": float(unusual.mean()),
        "decades_own": float(usual.mean()),
        "decades_highest": float(unusual.flatten().quantile(0.99)),
    }
    decades = F.interpolate(unusual, size=full, mode="bilinear", align_corners=False)
    if inputs.mask is not None:
        where = F.interpolate(inputs.mask, size=(found.shape[-2], found.shape[-1]), mode="nearest") > 0
        metrics |= {"auroc": auroc(found[where], found[~where]), "auroc_chance": 0.5}
        where = fit(inputs.mask, full) > 0
        metrics |= {"auroc_decades": auroc(decades[where], decades[~where])}
    images = {"result": shown.clamp(-1, 1), "input": other, "decades": heat(decades, THRESHOLD)}
    if inputs.unknown is not None:
        decades = torch.where(fit(inputs.unknown, full) > 0, torch.nan, decades)
    drawn = frozenset({"result", "decades"})
    return TaskResult(images, metrics, drawn=drawn, values=MapValues("decades", decades, "decades"))


def by_itself(inputs: Inputs, options: EnergyOptions) -> TaskResult:
    """The cross-fitted map of the image: values in decades, and the regions above the threshold."""
    image = inputs.image
    full = image.shape[-2], image.shape[-1]
    known = None if inputs.unknown is None else 1 - fit(inputs.unknown, full)
    found = cross_fitted(image, known, CrossFit(side=options.side))
    decades = F.interpolate(found, size=full, mode="bilinear", align_corners=False)
    if known is not None:
        decades = torch.where(known > 0, decades, 0.0)
    regions = regions_of(decades[0, 0], options.threshold, options.area)
    metrics = {
        "peak": float(decades.max()),
        "threshold": options.threshold,
        "regions": float(len(regions)),
        "share_above": float((decades > options.threshold).float().mean()),
    }
    if inputs.mask is not None:
        where = fit(inputs.mask, full)
        labels = components(where[0, 0] > 0)
        metrics |= {"auroc": auroc(decades[where > 0], decades[where == 0]), "auroc_chance": 0.5}
        metrics |= {"aupro": aupro([decades[0, 0]], [labels])}
    shown = heat(decades, options.threshold)
    return TaskResult(
        {"result": shown, "input": image},
        metrics,
        drawn=frozenset({"result"}),
        values=MapValues("decades", decades if known is None else torch.where(known > 0, decades, torch.nan)),
        regions=regions,
    )


def noise_like(other: Tensor, seed: int) -> Tensor:
    """The image's pixels in random order: its colours without its patches."""
    order = torch.randperm(other.shape[-2] * other.shape[-1], generator=torch.Generator().manual_seed(seed))
    return other.flatten(2)[..., order.to(other.device)].view(other.shape)


def check(inputs: Inputs, options: EnergyOptions) -> None:
    """Raises `TaskError` for a target of a map by `self`, and for options that only such a map has."""
    if options.self:
        if inputs.target is not None:
            raise TaskError("With self, an image is compared with its own other parts: leave the target out.")
        return
    own = EnergyOptions()
    given = [name for name in ("threshold", "area", "side") if getattr(options, name) != getattr(own, name)]
    if given:
        raise TaskError(f"The option {given[0]} belongs to maps of an image by itself: set self=true, or leave it out.")


TASK = Task(
    name="energy",
    summary="parts of an image that are unlike the trained image's patches, and a score of all of it",
    options=EnergyOptions,
    apply=apply,
    criterion=Criterion("auroc", "auroc_chance", "higher"),
    target="another image to score, in place of the image",
    mask="white where the content is known to be foreign, for the metric alone",
    validate=check,
    keeps_frame=True,
    untrained=lambda options: options.self,
)
