"""Metrics of samples for the benchmarks' tables: those of a run, and further ones that a run does not take."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pgcn.metrics.frechet import FrechetTo
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.quality import metrics
from pgcn_jobs.artifacts import sample_metrics

COMPARED = (
    "frechet_vgg12",
    "frechet_vgg22",
    "frechet_vgg33",
    "coherence_64",
    "coherence_128",
    "largest_piece",
    "mean_piece",
    "in_place",
    "layout_diversity",
)
"""Metrics by which presets and other ways to samples are compared."""


def compared(samples: Tensor, image: Tensor) -> Mapping[str, float]:
    """`pgcn.metrics.quality.metrics` of `samples` `(n, 3, H, W)` in [-1, 1], and `frechet_vgg12`: a third depth."""
    shallow = FrechetTo(image, layers=("1_2",))
    distances = [shallow(sample)["frechet_vgg12"] for sample in samples.split(1)]
    return metrics(image, samples) | {"frechet_vgg12": sum(distances) / len(distances)}


def shown(samples: Tensor, image: Tensor) -> list[str]:
    """The values of `COMPARED` as cells of a table; a metric without a value is a dash."""
    values = compared(samples, image)
    return [f"{values[name]:.3f}" if values[name] == values[name] else "–" for name in COMPARED]


def with_patch_swd(samples: Tensor, recovered: Tensor, image: Tensor) -> dict[str, float]:
    """`pgcn_jobs.artifacts.sample_metrics` and `patch_swd`, the mean over `samples` `(n, 3, H, W)` in [-1, 1]."""
    distances = [patch_swd(sample, image) for sample in samples.split(1)]
    return sample_metrics(samples, recovered, image) | {"patch_swd": sum(distances) / len(distances)}
