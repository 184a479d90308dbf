"""One unit for scores of any image: decades of the tail of the image's own scores.

The scores of most positions are taken as normal, and their upper tail as exponential, through two quantiles:

    decades(s) = -log₁₀ P(score ≥ s),   P = 0.5 at the median, 0.1 at the 0.9 quantile.

A value of 4 means: one in 10,000 positions would be as unusual, if the tail went on as it begins. Both quantiles stay
where they are while less than a tenth of the image is unusual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

MIDDLE, HIGH = 0.5, 0.9
"""Quantiles through which the tail goes."""


@dataclass(frozen=True)
class Tail:
    """The tail of some scores: their median, and the score that a tenth of them is above."""

    middle: float
    high: float

    @staticmethod
    def of(scores: Tensor, least: float = 1e-9) -> Tail:
        """The tail of scores of any shape. `least` bounds the distance of the quantiles, for scores that are all equal.

        Raises `ValueError` where there is no score.
        """
        if scores.numel() == 0:
            raise ValueError("a tail needs at least one score")
        ordered = scores.flatten().sort().values
        middle, high = (float(ordered[round(share * (len(ordered) - 1))]) for share in (MIDDLE, HIGH))
        return Tail(middle, max(high, middle + least))

    def decades(self, scores: Tensor) -> Tensor:
        """Scores as decades, of the same shape: -log₁₀ of the tail's probability, 0 below what it is certain above."""
        rate = math.log10((1 - MIDDLE) / (1 - HIGH)) / (self.high - self.middle)
        return (-math.log10(1 - HIGH) + (scores - self.high) * rate).clamp_min(0)
