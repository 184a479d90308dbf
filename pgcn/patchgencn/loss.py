"""Terms of the training loss, and the checks by which a training is found to have failed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgcn.method import DivergenceError
from pgcn.patchgencn.energy import crop, pad
from pgcn.settings import Settings

DIVERGED = 2.0
"""Squared recovery error, summed over channels and averaged over pixels, above which a training on RGB has failed.

Other numbers of channels have it in proportion: 2/3 a channel.

For images whose chains start far from them, as dithered ones do, `BEYOND_START` gives a higher bound.
"""

BEYOND_START = 1.5
"""Bound of the recovery error, in multiples of the error of the chain's start.

A start without information has an error of 3 on an image of full contrast, a chain that has diverged one of 6.
"""

STILL = 1e-6
"""Largest change of any value by a recovery chain whose net is dead: its units saturated, its gradient zero."""


def loss_weights(settings: Settings, due: bool) -> Tensor:
    """Weights of each mean f in the loss: synthesized images, the observed one, and the recovered one where due."""
    weight = settings.recovery_weight if due else 0.0
    synthesized = [1 / settings.chains] * settings.chains
    return torch.tensor([*synthesized, -1 - weight, *([weight] if due else [])])


def recovery_errors(recovered: Tensor, observed: Tensor, images: int = 1) -> Tensor:
    """Squared difference, summed over channels and averaged over pixels, of each image of a batch of `images`.

    `(1, B·C, H, W)` both, in [-1, 1]; the errors are `(B,)`.
    """
    errors: Tensor = (recovered - observed).square().unflatten(1, (images, -1)).sum(2)
    return errors.mean((0, 2, 3))


def largest_move(start: Tensor, end: Tensor, images: int = 1) -> Tensor:
    """The largest change of any value, of each image of a batch: `(1, B·C, H, W)` both; `(B,)`."""
    moves: Tensor = (end - start).abs().unflatten(1, (images, -1))
    return moves.amax((0, 2, 3, 4))


def check_recovery(
    start: Tensor, recovered: Tensor, observed: Tensor, where: str, images: int = 1
) -> tuple[Tensor, dict[int, DivergenceError]]:
    """The recovery errors `(B,)` of a batch of `images`, and those whose training has failed by them, with errors.

    `start` and `observed` are `(1, B·C, H, W)`, `recovered` is the padded end of the chain from `start`. An error that
    is too large fails, and so does a chain that never moved. Weights that are not finite show in the error too.
    `where` names scale and iteration in the messages.
    """
    errors = recovery_errors(crop(recovered), observed, images)
    least = DIVERGED * (observed.shape[1] // images) / 3
    bounds = (BEYOND_START * recovery_errors(start, observed, images)).clamp_min(least)
    moves = largest_move(pad(start), recovered, images)
    failed = {}
    rows = zip(errors.tolist(), bounds.tolist(), moves.tolist(), strict=True)
    for image, (error, bound, moved) in enumerate(rows):
        if not (error <= bound and bound < math.inf):  # NaN is above any bound
            failed[image] = DivergenceError(
                f"Training diverged {where}: the recovery error is {error:.3g}, above {bound:.3g}."
            )
        elif moved <= STILL:
            failed[image] = DivergenceError(
                f"Training collapsed {where}: the net's gradient is zero, and its chains stay where they start."
            )
    return errors, failed
