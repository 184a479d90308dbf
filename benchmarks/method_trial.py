"""One method on one picture with one seed: a training in a given time, and metrics of its samples."""

from __future__ import annotations

import io
import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from benchmarks.equal_time import fit_settings, train, warm_up
from benchmarks.machine import clock
from benchmarks.pictures import photograph
from pgcn.method import DivergenceError, Method
from pgcn.method_settings import MethodSettings
from pgcn.metrics.nearest_patches import bidirectional
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.metrics.quality import metrics
from pgcn_jobs.images.png import to_rgb

Result = dict[str, Any]

KEPT = ("frechet_vgg22", "frechet_vgg33", "largest_piece", "in_place", "layout_diversity")
"""Metrics of `pgcn.metrics.quality`; `copy` and `patch_swd` are those of former tables."""


@dataclass(frozen=True)
class Conditions:
    """Conditions of all results of a table: `seconds` of training, longest `side` in px, number of `samples`."""

    seconds: float
    side: int
    samples: int
    device: str = "cpu"


@dataclass
class Trial:
    """The trials of one method; pictures of one size share the fit of the iterations."""

    method: Method
    conditions: Conditions

    def __post_init__(self) -> None:
        self._fitted: dict[str, MethodSettings] = {}

    def __call__(self, picture: str, seed: int) -> tuple[Result, bytes | None]:
        """The result, and its first sample as PNG. A divergence or another failure is a result, too."""
        result: Result = {"diverged": None, "failed": None}
        try:
            return self._measured(picture, seed, result)
        except DivergenceError as error:
            return result | {"diverged": str(error)}, None
        except Exception as error:  # of any method: the others go on
            traceback.print_exc()
            return result | {"failed": f"{type(error).__name__}: {error}"}, None

    def _measured(self, picture: str, seed: int, result: Result) -> tuple[Result, bytes]:
        device, image = self.conditions.device, photograph(picture, self.conditions.side)
        settings = self._settings(image)
        result["iterations"] = getattr(settings, "iterations", None)
        trained = train(self.method, image, settings, seed, device)
        began = clock(device)
        samples = trained.model.sample(self.conditions.samples, seed=100).cpu()
        result["sample_s"] = (clock(device) - began) / len(samples)
        observed = trained.observed.cpu()
        result |= {
            "seconds": trained.seconds,
            "artifacts": sum(map(len, trained.model.to_files().values())),
            "parameters": trained.model.parameters,
        }
        return result | sample_figures(observed, samples), png(samples[0])

    def _settings(self, image: Tensor) -> MethodSettings:
        shape = "x".join(map(str, image.shape[-2:]))
        if shape not in self._fitted:
            asked, changes = self.conditions, {"max_size": self.conditions.side}
            if not self._fitted:
                warm_up(self.method, image, changes, asked.device)
            self._fitted[shape] = fit_settings(self.method, image, asked.seconds, changes, asked.device)
        return self._fitted[shape]


def sample_figures(observed: Tensor, samples: Tensor) -> dict[str, float]:
    """Metrics of `samples` `(n, 3, H, W)` against the image, means over them."""
    found = metrics(observed, samples)
    each = list(samples.split(1))
    return {name: found[name] for name in KEPT} | {
        "copy": sum(bidirectional(x, observed)["copy"] for x in each) / len(each),
        "patch_swd": sum(patch_swd(x, observed) for x in each) / len(each),
    }


def png(sample: Tensor) -> bytes:
    """A sample `(3, H, W)` as PNG."""
    sink = io.BytesIO()
    Image.fromarray(np.asarray(to_rgb(sample))).save(sink, "PNG")
    return sink.getvalue()
