"""Trainings of this project and their samples, with their seconds, for the tables of `make bench`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.machine import clock
from pgcn import DivergenceError, Pyramid, Settings, Trainer, make_settings
from pgcn.imaging.scales import exact_sizes, learned_sizes
from pgcn.learned_pyramid import exact_scales
from pgcn.settings import PyramidSettings
from pgcn_cluster.planning.device import has_bfloat16_units


class Made(NamedTuple):
    """Samples `(n, 3, H, W)` of one way, None where none is drawn; its seconds of preparation, and of one sample."""

    samples: Tensor | None
    prepare: float
    sample: float


class Trainings:
    """Pyramids of one photograph and their seconds of training. Equal learned scales are trained once.

    Two sizes of the photograph have equal learned scales, which enter every row with their seconds; the exact scales
    are each pyramid's own. `folder` keeps the trainings: delete it to train with another version.
    """

    def __init__(self, device: str, folder: Path | None = None) -> None:
        self.device = device
        self._folder = folder
        self._made: dict[str, tuple[Pyramid, float]] = {}

    def __call__(self, image: Tensor, settings: Settings) -> tuple[Pyramid, float]:
        """The pyramid of `image` `(1, 3, H, W)`, and the seconds of its training."""
        name = _name(image, settings)
        if name not in self._made:
            self._made[name] = self._kept(name) or self._train(name, image, settings)
        pyramid, seconds = self._made[name]
        height, width = image.shape[2:]
        sizes = learned_sizes(height, width, settings) + exact_sizes(height, width, settings)
        exact = exact_scales(image, settings)
        own = replace(pyramid, settings=settings, sizes=sizes, exact=exact)
        return own.to(self.device), seconds

    def _kept(self, name: str) -> tuple[Pyramid, float] | None:
        if self._folder is None or not (self._folder / name / "seconds.json").exists():
            return None
        return Pyramid.load(self._folder / name), json.loads((self._folder / name / "seconds.json").read_text())

    def _train(self, name: str, image: Tensor, settings: Settings) -> tuple[Pyramid, float]:
        trainer, seconds = train(image, settings, self.device)
        pyramid = Pyramid.trained(trainer)
        if self._folder is not None:
            pyramid.save(self._folder / name)
            (self._folder / name / "seconds.json").write_text(json.dumps(seconds))
        return pyramid, seconds


def _name(image: Tensor, settings: Settings) -> str:
    """The same for trainings of equal learned scales."""
    learned = (set(Settings.model_fields) - set(PyramidSettings.model_fields)) | {"channels"}
    values = {name: value for name, value in settings.model_dump().items() if name in learned}
    sizes = learned_sizes(image.shape[2], image.shape[3], settings)
    return hashlib.sha256(json.dumps([values, sizes], sort_keys=True).encode()).hexdigest()[:12]


def precision(preset: str, device: str) -> str:
    """The precision that a run on this machine takes."""
    own = make_settings(preset).precision
    return own if device.startswith("cuda") or not has_bfloat16_units() else "bfloat16"


def train(image: Tensor, settings: Settings, device: str, seed: int = 0) -> tuple[Trainer, float]:
    """A finished training, and its seconds by `clock`. After a divergence the next seed follows; its time counts."""
    began = clock(device)
    for attempt in range(3):
        trainer = Trainer([image], settings, [seed + attempt], device)
        try:
            for _ in trainer.iterations():
                pass
        except DivergenceError as error:
            print(f"seed {seed + attempt}: {error}", flush=True)
            continue
        break
    else:
        raise SystemExit("Three seeds diverged.")
    return trainer, clock(device) - began


def ours(image: Tensor, settings: Settings, samples: int, trainings: Trainings) -> Made:
    """Two or more `samples` of a pyramid that is trained on `image`; the preparation of exact scales counts once."""
    pyramid, training = trainings(image, settings)
    first, once = timed(lambda: pyramid.sample(1, seed=100), trainings.device)
    more, seconds = timed(lambda: pyramid.sample(samples - 1, seed=101), trainings.device)
    each = seconds / (samples - 1)
    return Made(torch.cat([first, more]).cpu(), training + max(0.0, once - each), each)


def timed(make: Callable[[], Tensor], device: str = "cpu") -> tuple[Tensor, float]:
    """A picture, and its seconds by `clock`."""
    began = clock(device)
    made = make()
    return made, clock(device) - began
