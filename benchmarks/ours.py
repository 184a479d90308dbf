"""A training of this project and its samples, with their seconds, for the tables of `make bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.machine import clock
from pgcn import DivergenceError, Pyramid, Settings, Trainer, make_settings
from pgcn_cluster.planning.device import has_bfloat16_units


class Made(NamedTuple):
    """Samples `(n, 3, H, W)` of one way, None where none is drawn; its seconds of preparation, and of one sample."""

    samples: Tensor | None
    prepare: float
    sample: float


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


def ours(image: Tensor, settings: Settings, samples: int, device: str = "cpu") -> Made:
    """Two or more `samples` of a pyramid that is trained on `image`; the preparation of exact scales counts once."""
    trainer, training = train(image, settings, device)
    pyramid = Pyramid.trained(trainer)
    first, once = timed(lambda: pyramid.sample(1, seed=100), device)
    more, seconds = timed(lambda: pyramid.sample(samples - 1, seed=101), device)
    each = seconds / (samples - 1)
    return Made(torch.cat([first, more]).cpu(), training + max(0.0, once - each), each)


def timed(make: Callable[[], Tensor], device: str = "cpu") -> tuple[Tensor, float]:
    """A picture, and its seconds by `clock`."""
    began = clock(device)
    made = make()
    return made, clock(device) - began
