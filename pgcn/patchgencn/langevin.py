"""Short-run Langevin dynamics: a few steps of noisy gradient ascent on f."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.noise import Draw
from pgcn.patchgencn.energy import FusedLangevin
from pgcn.settings import Step


def langevin(
    x: Tensor,
    gradient: Callable[[Tensor], Tensor],
    steps: Sequence[Step],
    draw: Draw,
    after: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Run x ← clamp(x + ½·size·∇ₓΣf(x) + noise_std·ε, -1, 1) for each of `steps`, and return the end, detached.

    `x` is any batch of states in [-1, 1]; `gradient` maps it to ∇ₓΣf(x). With `noise_std` = √size this is Langevin
    dynamics, whose law approaches p ∝ exp f as the step goes to zero; the published code uses less noise, and none in
    later iterations. No noise is drawn where `noise_std` is 0. `after` is applied after each step. Sends one heartbeat,
    and with `after` one a step.
    """
    if after is not None:  # one call a step, each with its heartbeat: `after` may take long
        for step in steps:
            x = after(langevin(x, gradient, [step], draw))
        return x
    beat()
    if isinstance(gradient, FusedLangevin):
        return gradient.run(x, steps, draw)  # one call for all steps: each call converts the layout of the states
    with torch.no_grad():
        for size, noise_std in steps:
            x = x + 0.5 * size * gradient(x)
            if noise_std > 0:
                x = x + noise_std * draw(x)
            x = x.clamp(-1, 1)
    return x
