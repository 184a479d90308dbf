"""Metrics of samples for the benchmarks' tables: those of a run, and the patch distance that earlier tables have."""

from __future__ import annotations

from torch import Tensor

from pgcn.metrics.patch_distribution import patch_swd
from pgcn_jobs.artifacts import sample_metrics


def with_patch_swd(samples: Tensor, recovered: Tensor, image: Tensor) -> dict[str, float]:
    """`pgcn_jobs.artifacts.sample_metrics` and `patch_swd`, the mean over `samples` `(n, 3, H, W)` in [-1, 1]."""
    distances = [patch_swd(sample, image) for sample in samples.split(1)]
    return sample_metrics(samples, recovered, image) | {"patch_swd": sum(distances) / len(distances)}
