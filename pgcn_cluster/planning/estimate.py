"""Seconds that jobs take, from the speed of this machine in some seconds of the same kinds of work."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pgcn.exact import DetailSettings, ExactDetail
from pgcn.imaging.scales import Size, resize
from pgcn.method_settings import MethodSettings
from pgcn.methods import method_of
from pgcn.settings import PyramidSettings
from pgcn.stopwatch import Clock, clock_for
from pgcn.threads import set_threads
from pgcn_cluster.planning.work import IMAGE_MEASURED, MEASURED_PIXELS, Work
from pgcn_jobs.artifacts import sample_metrics
from pgcn_jobs.images.png import encode_png, to_rgb

PROBE = (192, 256)
"""Height and width of the picture that drawing and storing are timed on, px."""


@dataclass(frozen=True)
class Speed:
    """Operations of a training in a second, and seconds for a pixel that is drawn, stored and measured."""

    rate: float
    drawing: float
    storing: float
    measuring: float

    def seconds(self, work: Work) -> float:
        """Seconds that a job's work takes."""
        return (
            (work.training + work.chains) / self.rate
            + work.exact * self.drawing
            + work.stored * self.storing
            + work.measured * self.measuring
        )


def measured_speed(image: Size, settings: MethodSettings, device: str, threads: int) -> Speed:
    """The speed of a job on this machine; `image` is the size (height, width) of its image, px.

    Takes a few seconds. `threads` is the number of threads on a CPU; with one, the speed is that of an idle core.
    """
    with set_threads(threads):
        method, now = method_of(settings), clock_for(device, threads)
        plan = method.plan(*image, settings)
        return Speed(
            rate=method.rate(plan.learned, settings, device, threads),
            drawing=_drawing(settings, device, now) if plan.exact and isinstance(settings, PyramidSettings) else 0.0,
            storing=_storing(now),
            measuring=_measuring(plan.sizes[-1], device, now),
        )


def _drawing(settings: PyramidSettings, device: str, now: Clock) -> float:
    """Seconds for a pixel of exact detail, preparation of the image's patches included in the second drawing alone."""
    sizes = [(side[0] // 2**k, side[1] // 2**k) for k in (2, 1, 0) for side in [PROBE]]
    detail = DetailSettings(patch=settings.patch, steps=settings.detail_steps)
    exact = ExactDetail(_structure(PROBE).to(device), sizes, detail)
    layout = resize(_structure(PROBE), sizes[0]).roll((5, 9), (2, 3)).to(device)

    def draw() -> None:
        for drawn in exact.draw(layout, sizes, [0]):
            drawn.picture.sum().item()

    draw()  # makes the patches, and compiles where nothing is compiled yet
    return _seconds(draw, now) / (PROBE[0] * PROBE[1])


def _storing(now: Clock) -> float:
    picture = to_rgb(_structure(PROBE)[0])
    return _seconds(lambda: encode_png(picture), now) / (PROBE[0] * PROBE[1])


def _measuring(finest: Size, device: str, now: Clock) -> float:
    """Seconds for a pixel of a measured picture; the image itself counts as `IMAGE_MEASURED` pictures."""
    factor = min(1.0, math.sqrt(MEASURED_PIXELS / (finest[0] * finest[1])))
    size = max(16, round(finest[0] * factor)), max(16, round(finest[1] * factor))
    picture = _structure(size).to(device)
    sample = picture.roll((size[0] // 3, size[1] // 4), (2, 3)).flip(3)
    pixels = (1 + IMAGE_MEASURED) * size[0] * size[1]
    return _seconds(lambda: sample_metrics(sample, picture, picture), now) / pixels


def _structure(size: Size) -> torch.Tensor:
    """A made picture `(1, 3, *size)` in [-1, 1] with structure at all sizes: the time depends on it little."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 3, *size)
    side = 4
    while side < min(size):
        picture += resize(torch.rand(1, 3, side, side, generator=generator) * 2 - 1, size) / side**0.5
        side *= 2
    return picture / picture.abs().max()


def _seconds(call: Callable[[], object], now: Clock) -> float:
    began = now()
    call()
    return now() - began
