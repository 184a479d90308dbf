"""The trained energies of all levels and scales: samples, and chains from images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.noise import normal_each, seeded
from pgcn.method import ChainOptions
from pgcn.methods.base import NetPyramid
from pgcn.methods.base.energy import Gradient
from pgcn.methods.base.model import on_torus
from pgcn.methods.recovery.energy import LevelEnergy
from pgcn.methods.recovery.ladder import conditional_chain, level_steps
from pgcn.methods.recovery.settings import Settings
from pgcn.settings import Step


@dataclass(frozen=True, eq=False)
class RecoveryPyramid(NetPyramid):
    """The model; see the package."""

    settings: Settings
    nets: list[LevelEnergy]  # type: ignore[assignment]

    def chain(self, x: Tensor, scale: int, options: ChainOptions) -> Tensor:
        """Run the levels of a scale from `x` `(N, C, H, W)` with the noise of the noisiest; its end has the same shape.

        `after` is applied to the image without its noise, y + s_t²∇Σf_t(y), and the noise stays.
        """
        net, draw = self.nets[scale], options.draw or normal_each(seeded(0, len(x)))
        chains = level_steps(self.settings, net.count, options)
        if not chains:
            return x
        factor = self._noise_factor(chains, options)
        if factor > 0:
            x = x + factor * float(net.ladder.levels[len(chains)]) * draw(x)
        for level in reversed(range(len(chains))):
            beat()
            gradient, change = self._gradient(scale, level, len(x), options.wrap), None
            gap, share = float(net.ladder.gaps[level]), float(net.ladder.shares[level])
            if options.after is not None:
                change = partial(_changed, options.after, share)
            steps = [Step(size, factor * noise) for size, noise in chains[level]]
            x = conditional_chain(x, gap, gradient, steps, draw, change)
        x = (x + share * gradient(x)).clamp(-1, 1)
        return x if options.after is None else options.after(x).clamp(-1, 1)

    def _gradient(self, scale: int, level: int, count: int, wrap: bool) -> Gradient:
        """σ²∇Σf of one level, for `count` states."""
        net = self.nets[scale]
        gradient = net.gradient_at(torch.full((count,), level, device=self.device))
        return on_torus(gradient, net.halo) if wrap else gradient

    def _noise_factor(self, chains: list[list[Step]], options: ChainOptions) -> float:
        """The factor of a chain's noise by which a step of mean length has `options.noise_std`."""
        if options.noise_std is None:
            return 1.0
        gaps = self.settings.ladder().gaps.tolist()
        usual = [noise * gap for steps, gap in zip(chains, gaps, strict=False) for _, noise in steps]
        mean = sum(usual) / len(usual)
        return options.noise_std / mean if mean > 0 else 0.0


def _changed(after: Callable[[Tensor], Tensor], share: float, y: Tensor, drift: Tensor) -> Tensor:
    """y with its image, y + s²∇f(y), under `after`, and the noise as it is; `share` is s²/σ²."""
    image = (y + share * drift).clamp(-1, 1)
    return y + (after(image) - image)
