"""The training: at each scale, short conditional chains from noisy images, and a step of Adam after each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.noise import normal_batch
from pgcn.imaging.scales import resize
from pgcn.method import DivergenceError
from pgcn.methods.base import NetTrainer
from pgcn.methods.base.trainer import Learned
from pgcn.methods.recovery.energy import LevelEnergy
from pgcn.methods.recovery.ladder import at, conditional_chain
from pgcn.methods.recovery.settings import Settings

DIVERGED = 10.0
"""Root mean square distance of a chain's end from y_t, in units of σ_t, that is a divergence.

The chain starts at a distance of 1, and without an energy would end at a distance of at most √2.
"""


class Trainer(NetTrainer):
    """One stage a scale; see the package."""

    settings: Settings
    nets: list[LevelEnergy]  # type: ignore[assignment]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.ladder = self.nets[0].ladder
        for scale, net in enumerate(self.nets):
            net.set_image(self.scales[scale], self._count(scale))

    def _count(self, scale: int) -> int:
        """The number of levels of a scale: those up to the noise that hides its detail."""
        if scale == 0:
            return self.settings.levels
        detail = self.scales[scale] - resize(self.scales[scale - 1], self.sizes[scale])
        return self.ladder.entry(self.settings.entry * float(detail.square().mean().sqrt()))

    def iterate(self) -> Learned:
        """Chains at levels that are spread over those of the scale, one step of Adam."""
        beat()
        scale, net = self.stage, self.nets[self.stage]
        net.begin_iteration()
        levels = self._levels(net.count)
        gap = at(self.ladder.gaps, levels)
        observed = self.scales[scale] + at(self.ladder.levels, levels) * self._normal(scale)
        given = observed + gap * self._normal(scale)
        steps = self.settings.chain()
        end = conditional_chain(given, gap, net.gradient_at(levels), steps, normal_batch([self.generator]))
        self._check_distance((end - observed) / gap, scale)
        n = len(levels)
        coefficients = torch.tensor([1 / n] * n + [-1 / n] * n, device=end.device)
        f = net.learn_at(levels.repeat(2), torch.cat([end, observed]), coefficients, self.positions(scale))
        optimizer = self.optimizers[scale]
        for group in optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, (self.iteration + 1) / self.settings.warm_up)
        optimizer.step()
        return Learned(end, f[:n].mean(), f[n:].mean())

    def begin_stage(self) -> None:
        """The weights of the scale below, where widths agree."""
        below, own = (dict(net.named_parameters()) for net in self.nets[self.stage - 1 : self.stage + 1])
        if self.settings.warm_start and all(below[name].shape == value.shape for name, value in own.items()):
            with torch.no_grad():
                for name, value in own.items():
                    value.copy_(below[name])

    def _levels(self, count: int) -> Tensor:
        """A level for each chain, from an even spread with a random offset: `(chains,)`."""
        chains, device = self.settings.chains, self.image.device
        offset = torch.rand((), generator=self.generator, device=device)
        spread = (torch.arange(chains, device=device) + offset) / chains
        return (spread * count).long().clamp_max(count - 1)

    def _normal(self, scale: int) -> Tensor:
        shape = self.settings.chains, *self.scales[scale].shape[1:]
        return torch.randn(shape, generator=self.generator, device=self.image.device)

    def _check_distance(self, error: Tensor, scale: int) -> None:
        distance = float(error.square().mean().sqrt())
        if not distance <= DIVERGED:  # NaN is above any bound
            raise DivergenceError(
                f"Training diverged (scale {scale}, iteration {self.iteration + 1}): chains end {distance:.3g} σ from "
                f"the image, above {DIVERGED:g}."
            )
