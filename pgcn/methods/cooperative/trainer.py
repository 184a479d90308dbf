"""One iteration of cooperative learning: a proposal, its revision, and a step of both nets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pgcn.generator import GeneratorNet
from pgcn.heartbeat import beat
from pgcn.imaging.noise import normal_batch
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import resize
from pgcn.method import ChainOptions
from pgcn.methods.base import NetTrainer, PatchEnergy
from pgcn.methods.base.model import chain_steps
from pgcn.methods.base.states import load_optimizer, optimizer_tensors
from pgcn.methods.base.trainer import Learned
from pgcn.methods.cooperative.settings import Settings
from pgcn.patchgencn.langevin import langevin
from pgcn.patchgencn.sampling import recover_start


class CooperativeScale(PatchEnergy):
    """The energy of one scale and its generator, which files and states hold together."""

    def __init__(self, channels: int, settings: Settings, *, wide: bool, generator: torch.Generator) -> None:
        super().__init__(channels, wide=wide, generator=generator, precision=settings.precision)
        self.fast = GeneratorNet(channels, settings.noise_channels, [generator])


class Trainer(NetTrainer):
    """Scale after scale, coarse to fine; see the module."""

    settings: Settings
    nets: list[CooperativeScale]  # type: ignore[assignment]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        rate = self.settings.generator_rate
        self.teachers = [torch.optim.Adam(net.fast.parameters(), lr=rate, fused=True) for net in self.nets]
        """The optimizers of the generators."""
        self.starts = self.scales[0][:0]
        """The pool of starts of the present scale; none at scale 0."""
        self.recovery_start = applied(self.rule, recover_start(self.scales[0]))
        self.errors: dict[str, float] = {}

    def new_optimizer(self, net: Any) -> torch.optim.Optimizer:
        """The optimizer of an energy."""
        return super().new_optimizer(net.net)

    def iterate(self) -> Learned:
        """One proposal, its revision by chains, and a step of both nets."""
        beat()
        settings, scale, net = self.settings, self.stage, self.nets[self.stage]
        net.begin_iteration()
        u, z = self._starts(settings.chains + settings.fresh)
        proposed = net.fast(u[: settings.chains], z[: settings.chains])
        recovery = net.fast(self.recovery_start)
        revised = self._revised(torch.cat([proposed, recovery]), scale)
        ends, recovered = revised[:-1], revised[-1:]
        if settings.fresh:
            ends = torch.cat([ends, self.chain(u[settings.chains :], scale)])
        self._check(torch.cat([proposed, u[settings.chains :]]), ends, self.scales[scale], scale)
        learned = self._learn_energy(ends, recovered)
        self._teach(u, z, ends)
        return learned

    def _revised(self, x: Tensor, scale: int) -> Tensor:
        """The ends of K steps from generated states."""
        steps = chain_steps(self.settings, ChainOptions(last=self.settings.revision_steps))
        draw = normal_batch([self.generator])
        return langevin(applied(self.rule, x), self.nets[scale].gradient(), steps, draw, self.rule)

    def _starts(self, count: int) -> tuple[Tensor, Tensor]:
        """u and z of `count` chains."""
        if self.stage == 0:
            u = applied(self.rule, self.noise(count))
        else:
            device = self.starts.device
            u = self.starts[torch.randint(len(self.starts), (count,), generator=self.generator, device=device)]
        return u, self._draw_z(u)

    def _draw_z(self, u: Tensor) -> Tensor:
        shape = len(u), self.settings.noise_channels, *u.shape[-2:]
        return torch.randn(shape, generator=self.generator, device=u.device)

    def _learn_energy(self, ends: Tensor, recovered: Tensor) -> Learned:
        """A step of Adam of the present energy; the result has the means without the recovery."""
        scale, n, w = self.stage, len(ends), self.settings.recovery_weight
        images = torch.cat([ends, recovered, self.scales[scale]])
        coefficients = torch.tensor([1 / n] * n + [w, -(1 + w)], device=images.device)
        f = self.nets[scale].learn(images, coefficients, self.positions(scale))
        self._step(self.optimizers[scale], self.rate)
        error = (recovered - self.scales[scale]).square().sum(1)
        self.errors["recovery_error"] = float(error.mean())
        return Learned(ends, f[:n].mean(), f[-1])

    def _teach(self, u: Tensor, z: Tensor, ends: Tensor) -> None:
        """A step of Adam of the present generator: g(u, z) → ends, and g(u*, 0) → image."""
        scale, n, w = self.stage, len(ends), self.settings.recovery_weight
        starts, zs = torch.cat([u, self.recovery_start]), torch.cat([z, torch.zeros_like(z[:1])])
        weights = ends.new_full((n + 1, 1, *ends.shape[-2:]), (n + 1) / n)
        known = self.positions(scale)
        weights[-1:] = w * (n + 1) * (1 if known is None else known)
        error = self.nets[scale].fast.teach(starts, zs, torch.cat([ends, self.scales[scale]]), weights)
        self._step(self.teachers[scale], self.settings.generator_rate_at(self.iteration, self.counts[scale]))
        self.errors["teaching_error"] = float(error)

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()

    def begin_stage(self) -> None:
        """The starts of the next scale; with `warm_start` its nets start from those below."""
        below, scale = self.stage - 1, self.stage
        lower, upper = self.nets[below], self.nets[scale]
        if self.settings.warm_start and lower.net.channels == upper.net.channels:
            upper.net.load_state_dict(lower.net.state_dict())
        if self.settings.warm_start and below > 0:  # the generator of scale 0 maps noise, and the others samples
            upper.fast.load_state_dict(lower.fast.state_dict())
        recovered = self._revised(lower.fast(self.recovery_start), below)
        ends = self._ends(below)
        self.starts, self.recovery_start = (applied(self.rule, resize(x, self.sizes[scale])) for x in (ends, recovered))

    def _ends(self, scale: int) -> Tensor:
        """The pool's ends at a trained scale: in turn by each way of sampling, so that none is new to the next."""
        u = applied(self.rule, self.noise(self.settings.pool_size)) if scale == 0 else self.starts
        made: Tensor = self.nets[scale].fast(u, self._draw_z(u))
        made[1::3] = self._revised(made[1::3], scale)
        if len(u) > 2:
            made[2::3] = self.chain(u[2::3], scale)
        return made

    def metrics(self, learned: Learned, rate: float) -> dict[str, float]:
        """The metrics of the base; the recovery's squared error, summed over channels; the error of the teaching."""
        return super().metrics(learned, rate) | self.errors

    def more_tensors(self) -> dict[str, Tensor]:
        """The starts, and the moments of the generators' optimizers."""
        tensors = {"starts": self.starts, "recovery_start": self.recovery_start}
        for scale, optimizer in enumerate(self.teachers):
            tensors |= optimizer_tensors(optimizer, f"teacher.{scale}.")
        return tensors

    def load_more(self, tensors: dict[str, Tensor]) -> None:
        """The starts, and the moments of the generators' optimizers."""
        self.starts, self.recovery_start = tensors["starts"], tensors["recovery_start"]
        for scale, optimizer in enumerate(self.teachers):
            load_optimizer(optimizer, tensors, f"teacher.{scale}.")
