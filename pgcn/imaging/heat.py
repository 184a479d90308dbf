"""Maps of numbers as colours, for a person."""

from __future__ import annotations

import torch
from torch import Tensor


def heat(values: Tensor, threshold: float | None = None) -> Tensor:
    """A map `(1, 1, H, W)` as colours `(1, 3, H, W)` in [-1, 1], from black over red and yellow to white.

    On a log scale from 1 to 30 times the usual; with a `threshold`, on a linear one, where red is brightest at the
    threshold and white begins at three times as much.
    """
    if threshold is None:
        level = (values.clamp_min(1).log() / torch.tensor(30.0).log()).clamp(0, 1) * 3
    else:
        level = (values / threshold).clamp(0, 3)
    return torch.cat([level.clamp(0, 1), (level - 1).clamp(0, 1), (level - 2).clamp(0, 1)], dim=1) * 2 - 1
