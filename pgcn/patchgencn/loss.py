"""Terms of the training loss, and the checks by which a training is found to have failed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgcn.method import DivergenceError
from pgcn.patchgencn.energy import crop
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


def metric_rows(f: Tensor, synthesized: Tensor, weights: Tensor, errors: Tensor, rate: float) -> list[dict[str, float]]:
    """The metrics of an iteration, for each image of a batch.

    `f` `(n, B)` are the means of synthesized, observed and recovered images, `weights` `(n,)` those of the loss,
    `synthesized` `(chains, B·C, H, W)`, `errors` `(B,)` those of the recovery.
    """
    chains = len(synthesized)
    f_synthesized, f_observed = f[:chains].mean(0), f[chains]
    columns = {
        "loss": weights @ f,
        "energy_synthesized": f_synthesized,
        "energy_observed": f_observed,
        "recovery_error": errors,
        "synthesized_std": torch.stack([x.std() for x in synthesized.chunk(len(errors), dim=1)]),
        "learning_rate": torch.full_like(f_observed, rate),
    }
    rows = torch.stack([*columns.values()], dim=1).tolist()
    return [dict(zip(columns, row, strict=True)) for row in rows]


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

    `observed` is `(1, B·C, H, W)`, `recovered` the end of the chain from `start`, both with their border. An error that
    is too large fails, and so does a chain that never moved. Weights that are not finite show in the error too.
    `where` names scale and iteration in the messages.
    """
    errors = recovery_errors(crop(recovered), observed, images)
    least = DIVERGED * (observed.shape[1] // images) / 3
    bounds = (BEYOND_START * recovery_errors(crop(start), observed, images)).clamp_min(least)
    moves = largest_move(start, recovered, images)
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
