"""Synthesis and recovery chains of one training iteration, run together for as many steps as they share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.fused import is_fused
from pgcn.imaging.noise import normal_batch
from pgcn.imaging.normals import Project
from pgcn.patchgencn.langevin import langevin
from pgcn.patchgencn.sampling import Gradient, inside
from pgcn.settings import Settings, Step


def chain_noise(
    start: Tensor, scale: int, sigma: float, settings: Settings, generators: Sequence[torch.Generator]
) -> Tensor | None:
    """σε for every step from `start` `(chains, B·C, H, W)`: `(K, chains, B·C, H, W)`; None where σ is 0."""
    if sigma == 0:
        return None
    steps, like, draw = settings.steps_at(scale), start, normal_batch(generators)
    if is_fused(start):  # one call for each image, instead of one for each image and step
        noise = draw(like.expand(steps, *like.shape).flatten(0, 1)).view(steps, *like.shape)
    else:
        noise = torch.stack([draw(like) for _ in range(steps)])
    stds = [step.noise_std for step in settings.chain(steps, sigma)]
    return noise.mul_(noise.new_tensor(stds).view(-1, 1, 1, 1, 1))


def training_chains(
    start: Tensor,
    noise: Tensor | None,
    recovery_start: Tensor | None,
    gradient: Gradient,
    scale: int,
    settings: Settings,
    rule: Project | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The ends of the synthesis from `start` and, where a `recovery_start` is given, of the recovery.

    All have their border: `start` is `(chains, B·C, H + 10, W + 10)`, `recovery_start` `(1, B·C, H + 10, W + 10)`,
    `noise` as `chain_noise` returns it. `rule` is applied to all but the border after each step.
    """
    std = 0.0 if noise is None else 1.0  # the noise is multiplied by its σ already
    steps = [Step(size, std) for size, _ in settings.chain(settings.steps_at(scale), 0.0)]
    recovery_steps = settings.chain(settings.recovery_steps, 0.0)

    def run(x: Tensor, steps: Sequence[Step], noise: Tensor | None) -> Tensor:
        of_step = iter(noise) if noise is not None else iter(())
        return langevin(x, gradient, steps, lambda _: next(of_step), inside(rule))

    if recovery_start is None:
        return run(start, steps, noise), None
    together = shared_steps(steps, recovery_steps)
    # Zeros for the recovery chain, which has no noise and comes last.
    joint = None if noise is None else F.pad(noise[:together], (0, 0, 0, 0, 0, 0, 0, 1))
    both = run(torch.cat([start, recovery_start]), steps[:together], joint)
    synthesized, recovered = both[:-1], both[-1:]
    synthesized = run(synthesized, steps[together:], None if noise is None else noise[together:])
    return synthesized, run(recovered, recovery_steps[together:], None)


def shared_steps(steps: Sequence[Step], others: Sequence[Step]) -> int:
    """The number of first steps that have the same size in both."""
    equal = [a.size == b.size for a, b in zip(steps, others, strict=False)]
    return [*equal, False].index(False)
