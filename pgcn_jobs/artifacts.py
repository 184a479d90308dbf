"""Results of a training attempt: images and metrics as rows, and a warning on poor samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pgcn.imaging.channels import RGB, Channels
from pgcn.imaging.scales import Size
from pgcn.method import Model
from pgcn.metrics.labels import label_metrics, missing_classes
from pgcn.metrics.maps import alignment_metrics
from pgcn.metrics.nearest_patches import bidirectional
from pgcn.metrics.patch_distribution import diversity
from pgcn.metrics.quality import metrics
from pgcn_jobs.images.label_files import encode_label
from pgcn_jobs.images.png import encode_png, to_rgb
from pgcn_jobs.images.value_files import encode_values
from pgcn_jobs.layout import artifact_path
from pgcn_jobs.spec import JobSpec, resolve_size

RESULT_METRICS = (
    "frechet_vgg22",
    "frechet_vgg33",
    "coherence_256",
    "detail",
    "largest_piece",
    "mean_piece",
    "in_place",
    "layout_diversity",
    "copy",
    "diversity",
    "recovery_error",
)
"""Metrics that have a column in the results; others are rows of the metrics alone."""

LABEL_METRICS = ("undecided", "class_share_error")
"""Metrics of images with a label that have a column in the results too."""

MOST_SAMPLES = 8
"""Samples that metrics are taken of, at most: the mean over these says as much as over all."""

LARGE_SIDE, MOST_LARGE_SAMPLES = 256, 4
"""Longest side, px, above which metrics are taken of fewer samples: one takes about 1.4 s of a core."""

Row = dict[str, Any]


class Pictures:
    """Rows of `schemas.SAMPLES` for one attempt."""

    def __init__(self, spec: JobSpec, attempt: str, channels: Channels, like: str | None) -> None:
        self.rows: list[Row] = []
        self.files: dict[str, bytes] = {}
        """Files of samples with all channels and bits, by name, where `image` does not have them."""
        self._common = {"job_id": spec.job_id, "attempt": attempt}
        self._channels, self._like = channels, like

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
        """Add images `(C, H, W)` of one kind; `seed` and the index `first` are the first one's, and count up."""
        for index, image in enumerate(images, first):
            height, width = image.shape[-2:]
            self.rows.append(
                self._common
                | {"kind": kind, "index": index, "scale": scale, "size": size, "width": width, "height": height}
                | {"seed": None if seed is None else seed + index - first}
                | {"image": {"bytes": self._png(image), "path": f"{kind}-{scale}-{size}-{index}.png"}}
                | {"label": self._label(image, f"{kind}-{scale}-{size}-{index}-label")}
                | {"values": self._values(image, f"{kind}-{scale}-{size}-{index}") if kind == "sample" else None}
            )

    def _png(self, image: Tensor) -> bytes:
        return encode_png(to_rgb(self._channels.display(image[None])))

    def _label(self, image: Tensor, name: str) -> dict[str, Any] | None:
        file = encode_label(image[None], self._channels)
        return None if file is None else {"bytes": file.data, "path": f"{name}.{file.ending}"}

    def _values(self, image: Tensor, name: str) -> str | None:
        """The path of the file that holds the image's values; None for RGB of 8 bits, whose display has them all."""
        if self._channels.is_rgb:
            return None
        file = encode_values(image, self._channels, self._like)
        self.files[f"{name}.{file.ending}"] = file.data
        return artifact_path(self._common["job_id"], self._common["attempt"], f"{name}.{file.ending}")


def most_compared(size: Size) -> int:
    """Number of samples of this size (height, width), px, that metrics are taken of, at most."""
    return MOST_LARGE_SAMPLES if max(size) > LARGE_SIDE else MOST_SAMPLES


@dataclass(frozen=True)
class Observed:
    """The image of a job at every scale `(1, C, H, W)`, its known pixels, None: all, and the format of its file."""

    scales: list[Tensor]
    known: Tensor | None = None
    format: str | None = None


def draw(pyramid: Model, image: Observed, spec: JobSpec, attempt: str) -> tuple[Pictures, dict[str, float]]:
    """All images of an attempt, and the metrics of its samples at the trained size.

    They are those of `sample_metrics`, against the image at the finest scale; one without a value is left out.
    """
    pictures, observed = Pictures(spec, attempt, pyramid.channels, image.format), image.scales
    finest, trained, recovered = len(pyramid.sizes) - 1, pyramid.sizes[-1], pyramid.reconstruct()
    most = min(spec.plan.count, most_compared(trained))
    stages: list[Tensor] = []  # the first sample of the trained size at every scale
    compared: list[Tensor] = []
    for size in spec.plan.sizes:
        seed, pixels = spec.seed, resolve_size(size, trained)
        for ends in pyramid.samples(spec.plan.count, pixels, seed=seed):
            if pixels == trained and len(compared) < most:
                stages = stages or [end[:1] for end in ends]
                compared += ends[-1][: most - len(compared)].split(1)
            pictures.add("sample", ends[-1], finest, size=size, seed=seed, first=seed - spec.seed)
            seed += len(ends[-1])
    if not stages:
        drawn = list(pyramid.samples(most, seed=spec.seed))
        stages, compared = [end[:1] for end in drawn[0]], [ends[-1] for ends in drawn]
    for scale, (own, again, stage) in enumerate(zip(observed, recovered, stages, strict=True)):
        pictures.add("observed", own, scale)
        pictures.add("recovered", again, scale)
        pictures.add("stage", stage, scale, seed=spec.seed)
    known = image.known
    return pictures, sample_metrics(torch.cat(compared), recovered[-1], observed[-1], pyramid.channels, known)


def preview(pyramid: Model, seed: int) -> bytes:
    """A PNG of four samples side by side, from the scales that are trained so far."""
    samples = pyramid.sample(4, seed=seed)
    return encode_png(to_rgb(pyramid.channels.display(torch.cat(list(samples), dim=-1)[None])))


def sample_metrics(
    samples: Tensor, recovered: Tensor, image: Tensor, channels: Channels = RGB, known: Tensor | None = None
) -> dict[str, float]:
    """Metrics of samples `(n, C, H, W)` and the recovered image against `image`, both `(1, C, H, W)`, in [-1, 1].

    Pixels of the image that are not `known` are left out, except for the recovery error.

    Those of `pgcn.metrics.quality` and `pgcn.metrics.labels`; `copy`, `diversity` and `recovery_error`; and `contrast`,
    the std of samples / of the image; of several groups of channels the `alignment`. A metric without a
    value is left out.
    """
    copies = [bidirectional(x, image, known)["copy"] for x in samples.split(1)]
    found = label_metrics(image, samples, channels, known) | alignment_metrics(samples, image, channels, known)
    found |= metrics(image, samples, channels, known)
    found |= {
        "copy": sum(copies) / len(copies),
        "diversity": diversity(samples, image, known),
        "recovery_error": float((recovered - image).square().sum(1, keepdim=True).mean((0, 2, 3))),
        "contrast": float(samples.std() / image.std().clamp_min(1e-6)),
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def pyramid_metrics(job_id: str, values: Mapping[str, float]) -> list[Row]:
    """Metrics of a whole pyramid, or of an edit's result, as rows of `schemas.METRICS`: of no scale or iteration."""
    return [
        {"job_id": job_id, "scale": -1, "iteration": None, "name": name, "value": float(value)}
        for name, value in values.items()
    ]


def warning(values: Mapping[str, float], image: Tensor) -> str | None:
    """Reasons to look at the samples before they are used, from `sample_metrics`; None where there is none.

    A metric that is missing warns of nothing.
    """
    if float(image.std()) < 0.02:
        return "the image is nearly one colour: there is little to learn"
    found = []
    if values.get("contrast", 1.0) < 0.2:
        found.append("samples are nearly one colour")
    largest, in_place = values.get("largest_piece", 0.0), values.get("in_place", 0.0)
    if largest > 0.5 and in_place > 0.5:
        found.append(f"samples are nearly copies of the image: {in_place:.0%} of the area is in place")
    elif largest > 0.5:
        found.append(f"samples are mostly one moved piece of the image: it covers {largest:.0%} of the area")
    if values.get("diversity", 1.0) < 0.02:
        found.append("samples are nearly all the same")
    elif values.get("layout_diversity", 1.0) < 0.05:
        found.append("samples differ in detail alone: they have nearly one layout")
    if values.get("undecided", 0.0) > 0.1:
        found.append(f"{values['undecided']:.0%} of the label's pixels are between two categories")
    if missing := missing_classes(dict(values)):
        found.append(f"samples lack the categories {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}")
    return "; ".join(found) or None
