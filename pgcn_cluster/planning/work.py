"""The work of a job: operations of its training, and pixels that it draws, measures and stores afterwards."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pgcn.imaging.scales import Size
from pgcn.method_settings import MethodSettings
from pgcn.methods import method_of
from pgcn.settings import PyramidSettings
from pgcn_jobs.artifacts import most_compared
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.spec import SamplePlan, resolve_size

OPERATIONS_A_PIXEL = 1e6
"""Operations of training that take as long as a drawn pixel of exact detail, for shares of a run's work.

On a core with AVX-512 145·10⁹ a second, and 8.6 s a megapixel (docs/benchmarks.md).
"""

MEASURED_PIXELS = 400 * 400
"""Larger pictures are reduced to about as many pixels before they are measured (`pgcn.metrics.features`)."""

IMAGE_MEASURED = 0.3
"""Measuring of the image itself, whose features are taken once, in measurings of a sample."""


class Work(NamedTuple):
    """Work of one training job.

    `training`: operations. `chains`: operations of the learned scales of its samples. `exact`: pixels drawn with exact
    detail, counted at the finest scale. `stored`: pixels encoded as PNG. `measured`: pixels of measured pictures.
    """

    training: float
    chains: float
    exact: float
    stored: float
    measured: float

    @property
    def drawing(self) -> float:
        """All that follows the training, in operations of a training."""
        return self.chains + OPERATIONS_A_PIXEL * self.exact

    @property
    def operations(self) -> float:
        """All of it, in operations of a training."""
        return self.training + self.drawing


@lru_cache(maxsize=1024)
def work_of(settings: MethodSettings, plan: SamplePlan, image: Size) -> Work:
    """The work of a job whose image is of size `image` (height, width), px; cached, since a bucket has few sizes."""
    training = method_of(settings).plan(*image, settings)
    finest = training.sizes[-1]
    pixels = float(finest[0] * finest[1])
    drawn = [_size(text, finest) for text in plan.sizes]
    shares = [height * width / pixels for height, width in drawn]
    measured = min(most_compared(finest), plan.count)
    # The reconstruction, beside the samples; measured ones are among them, or drawn too.
    others = 1.0 if finest in drawn else 1.0 + measured
    pictures = others + plan.count * sum(shares)
    layouts = settings.layouts if training.exact and isinstance(settings, PyramidSettings) else 1
    return Work(
        training=training.training,
        chains=pictures * layouts * training.sampling,
        exact=pictures * pixels if training.exact else 0.0,
        # The image, its reconstruction and a sample at every scale: with exact detail 4/3 of those of the finest.
        stored=(4 + plan.count * sum(shares)) * pixels,
        measured=(measured + IMAGE_MEASURED) * min(pixels, MEASURED_PIXELS),
    )


def _size(text: str, finest: Size) -> Size:
    """A size of samples, px; one that the job will refuse counts as the image's."""
    try:
        return resolve_size(text, finest)
    except ConfigError:
        return finest
