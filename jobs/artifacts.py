"""What an attempt leaves: pictures and figures as rows, and the one row that sums it up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.images.png import encode_png, to_rgb
from jobs.spec import JobSpec, resolve_size
from pgcn.heartbeat import beat
from pgcn.metrics.frechet import FrechetTo
from pgcn.metrics.nearest_patches import bidirectional
from pgcn.metrics.patch_distribution import diversity, patch_swd_levels
from pgcn.patchgencn.loss import recovery_errors
from pgcn.pyramid import Pyramid

MEASURES = (
    "frechet_vgg22",
    "frechet_vgg33",
    "frechet_random",
    "patch_swd",
    "coherence",
    "completeness",
    "copy",
    "diversity",
    "recovery_error",
)
"""Figures that have a column in the results; others are in the metrics alone."""

MEASURED = 8
"""Samples that are measured: the mean over these says as much as over all."""

Row = dict[str, Any]


class Pictures:
    """Rows of `schemas.SAMPLES` for one attempt, and what the measures need of them."""

    def __init__(self, spec: JobSpec, attempt: str) -> None:
        self.rows: list[Row] = []
        self._common = {"job_id": spec.job_id, "attempt": attempt}

    def add(
        self,
        kind: str,
        images: Iterable[Tensor],
        scale: int,
        *,
        size: str = "1x1",
        seed: int | None = None,
        first: int = 0,
    ) -> None:
        """Add images `(3, H, W)` of one kind; `seed` and the index `first` are the first one's, and count up."""
        for index, image in enumerate(images, first):
            height, width = image.shape[-2:]
            self.rows.append(
                self._common
                | {"kind": kind, "index": index, "scale": scale, "size": size, "width": width, "height": height}
                | {"seed": None if seed is None else seed + index - first}
                | {"image": {"bytes": encode_png(to_rgb(image)), "path": f"{kind}-{scale}-{size}-{index}.png"}}
            )


def draw(pyramid: Pyramid, observed: list[Tensor], spec: JobSpec, attempt: str) -> tuple[list[Row], dict[str, float]]:
    """All pictures of an attempt, and the measures of its samples at the trained size.

    They are those of `measure`, against the image at the finest scale; one that cannot be taken is left out.
    """
    pictures = Pictures(spec, attempt)
    finest = len(pyramid.sizes) - 1
    recovered = pyramid.reconstruct()
    for scale, (image, again, stage) in enumerate(
        zip(observed, recovered, next(pyramid.samples(1, seed=spec.seed)), strict=True)
    ):
        pictures.add("observed", image, scale)
        pictures.add("recovered", again, scale)
        pictures.add("stage", stage, scale, seed=spec.seed)

    measured: Tensor | None = None
    for size in spec.plan.sizes:
        seed, pixels = spec.seed, resolve_size(size, pyramid.sizes[-1])
        for stages in pyramid.samples(spec.plan.count, pixels, seed=seed):
            if pixels == pyramid.sizes[-1] and measured is None:
                measured = stages[-1][:MEASURED]
            pictures.add("sample", stages[-1], finest, size=size, seed=seed, first=seed - spec.seed)
            seed += len(stages[-1])
    if measured is None:
        measured = pyramid.sample(min(MEASURED, spec.plan.count), seed=spec.seed)
    return pictures.rows, measure(measured, recovered[-1], observed[-1])


def preview(pyramid: Pyramid, seed: int) -> bytes:
    """A PNG of four samples side by side, from the scales that are trained so far."""
    samples = pyramid.sample(4, seed=seed)
    return encode_png(to_rgb(torch.cat(list(samples), dim=-1)))


def measure(samples: Tensor, recovered: Tensor, image: Tensor) -> dict[str, float]:
    """Figures of samples `(n, 3, H, W)` and the recovered image against `image`, both `(1, 3, H, W)`.

    `MEASURES`, `patch_swd_<l>` of each level (0 the finest), and `contrast`, the std of samples / of the image.
    """
    distance = FrechetTo(image)
    each = []
    for x in samples.split(1):
        beat()
        each.append(distance(x) | bidirectional(x, image) | _named_levels(patch_swd_levels(x, image)))
    figures = {name: sum(figures[name] for figures in each) / len(each) for name in each[0]} | {
        "diversity": diversity(samples, image),
        "recovery_error": float(recovery_errors(recovered, image)),
        "contrast": float(samples.std() / image.std().clamp_min(1e-6)),
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _named_levels(levels: list[float]) -> dict[str, float]:
    named = {f"patch_swd_{level}": value for level, value in enumerate(levels)}
    return {"patch_swd": sum(levels) / len(levels)} | named


def whole_model(job_id: str, figures: Mapping[str, float]) -> list[Row]:
    """Figures of a whole model, or of what was made with it, as rows of `schemas.METRICS`: of no scale or iteration."""
    return [
        {"job_id": job_id, "scale": -1, "iteration": None, "name": name, "value": float(value)}
        for name, value in figures.items()
    ]


def warning(figures: dict[str, float], image: Tensor) -> str | None:
    """What a person should look at before using this model; None where the figures say nothing of the kind."""
    if float(image.std()) < 0.02:
        return "the image is nearly one colour: there is little to learn"
    found = []
    if figures["contrast"] < 0.2:
        found.append("samples are nearly one colour")
    if figures.get("copy", 0.0) > 0.9:
        found.append("samples are nearly copies of the image")
    if figures.get("diversity", 1.0) < 0.02:
        found.append("samples are nearly all the same")
    return "; ".join(found) or None
