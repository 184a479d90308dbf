"""The ladder of noise levels, and the chain of one level.

Levels s_0 < … < s_T are in geometric progression. y_t = x + s_t·ε is an image x with the noise of level t, and
σ_t = √(s_{t+1}² - s_t²) is the noise from one level to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pgcn.imaging.noise import Draw
from pgcn.method import ChainOptions
from pgcn.methods.base.energy import Gradient
from pgcn.methods.base.settings import NetSettings
from pgcn.settings import Step


class Ladder(NamedTuple):
    """The levels of noise `(T + 1,)`, cleanest first, in units of [-1, 1]."""

    levels: Tensor

    @staticmethod
    def of(cleanest: float, noisiest: float, count: int) -> Ladder:
        """`count` + 1 levels from `cleanest` to `noisiest`, in geometric progression."""
        return Ladder(cleanest * (noisiest / cleanest) ** (torch.arange(count + 1) / count))

    @property
    def gaps(self) -> Tensor:
        """σ_t, the noise from level t to the next noisier one: `(T,)`."""
        return (self.levels[1:].square() - self.levels[:-1].square()).sqrt()

    @property
    def shares(self) -> Tensor:
        """s_t²/σ_t²: `(T,)`."""
        return (self.levels[:-1] / self.gaps).square()

    def entry(self, least: float) -> int:
        """The index of the first level whose noise is at least `least`, 1 to T."""
        below = int((self.levels[1:] < least).sum())
        return min(below + 1, len(self.levels) - 1)


def at(values: Tensor, levels: Tensor) -> Tensor:
    """The value of each level, for images of these levels: `(N, 1, 1, 1)`."""
    return values[levels].view(-1, 1, 1, 1)


def conditional_chain(
    given: Tensor,
    gap: Tensor | float,
    gradient: Gradient,
    steps: Sequence[Step],
    draw: Draw,
    change: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """A chain of p(y | given) ∝ exp(f(y) - |given - y|²/2σ²) from `given`; returns its end.

        y ← y + ½δ²(σ²∇f(y) - (y - given)) + δσε

    `gradient` is σ²∇f, `gap` σ, one value or one for each state. `steps` have δ², and their noise in units of σ.
    `change` is applied to y and σ²∇f(y) before each step; returns y.
    """
    y = given
    with torch.no_grad():
        for size, noise in steps:
            drift = gradient(y)
            if change is not None:
                y = change(y, drift)
            y = y + 0.5 * size * (drift - (y - given))
            if noise > 0:
                y = y + noise * gap * draw(y)
    return y


def level_steps(settings: NetSettings, levels: int, options: ChainOptions) -> list[list[Step]]:
    """The steps of a chain at each of `levels`, cleanest first; noisy levels without any are left out.

    A number of steps is divided among the levels, with more for clean ones.
    """
    usual = levels * settings.langevin_steps
    total = usual if options.steps is None else options.steps
    total = total if options.last is None else max(options.last, usual)
    counts = [total // levels + (at < total % levels) for at in range(levels)]
    rest, kept = total if options.last is None else options.last, []
    for count in counts:
        steps = settings.chain(count)
        kept.append(steps[max(0, count - rest) :] if rest else [])
        rest = max(0, rest - count)
    return [steps for steps in kept if steps]
