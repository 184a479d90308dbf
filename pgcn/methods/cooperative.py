"""Cooperative learning: a generator beside the energy of each scale, which learn from each other.

Xie, Lu, Gao, Zhu and Wu, "Cooperative Training of Descriptor and Generator Networks", TPAMI 2018. At scale s, u is
noise (scale 0) or the enlarged sample below, z a map of normal noise. One iteration:

    x̂ = g_s(u, z) = clamp(u + net(u, z)),
    x̃ = K steps from x̂ of x ← clamp(x + ½δ²∇ₓΣf_s + σε, -1, 1),
    a step of Adam of f_s on [mean f(x̃) - mean f(I)] + w·[mean f(r̃) - mean f(I)],
    a step of Adam of g_s on mean |g_s(u, z) - x̃|² + w·mean |g_s(u*, 0) - I|²       (MCMC teaching).

The image I is tied to one noise, z* = 0, and to u*: the image at three quarters of its size, enlarged (scale 0), or the
enlarged recovery below. r̃ are K steps from g_s(u*, 0). Tasks, which refine given images, use z* too.

The K steps are the last and shortest of a whole chain, `langevin_steps`: the generator takes the place of the first.
Teaching by least squares on one image tends to ignore z, and g then maps all u to few images. Therefore `fresh` whole
chains of each iteration start from u itself, and teach g their ends, which depend on u.

Samples (`sampling`) are drawn by the generator alone, one pass a scale; by both, then K steps; or by a whole chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from pgcn.generator import GeneratorNet, Sampling
from pgcn.heartbeat import beat
from pgcn.imaging.noise import normal_batch, normal_each, seeded
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import Size, resize
from pgcn.method import ChainOptions, WorkPlan
from pgcn.methods.base import NetMethod, NetPyramid, NetSettings, NetTrainer, PatchEnergy
from pgcn.methods.base.model import chain_steps
from pgcn.methods.base.states import load_optimizer, optimizer_tensors
from pgcn.methods.base.trainer import Learned
from pgcn.patchgencn.langevin import langevin
from pgcn.patchgencn.sampling import recover_start


class Settings(NetSettings):
    """Settings of cooperative learning; `langevin_steps` is K, from the generator's output."""

    method: ClassVar[str] = "cooperative"

    revision_steps: int = Field(
        5, ge=1, le=10_000, description="K, steps from the generator's output: the last, shortest of langevin_steps"
    )
    fresh: int = Field(1, ge=0, le=256, description="chains of an iteration that start without the generator")
    sampling: Sampling = Field(
        "both", description="samples by the generator alone, by it and K steps, or by the chain alone"
    )
    noise_channels: int = Field(1, ge=0, le=64, description="channels of z, the noise that a generator sees")
    pool_size: int = Field(64, ge=1, le=65_536, description="number of starts kept for a scale above 0")
    recovery_weight: float = Field(0.5, ge=0, le=100, description="w, of the recovery in both losses")
    generator_rate: float = Field(2e-3, gt=0, le=1, description="learning rate of the generator's Adam at first")
    final_generator_rate: float = Field(2e-4, ge=0, le=1, description="reached as final_learning_rate")
    warm_start: bool = Field(True, description="an energy starts from the one below, where widths agree")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="number format of the convolutions in chains; all else is float32"
    )

    def generator_rate_at(self, iteration: int, iterations: int) -> float:
        """Linear from `generator_rate` to `final_generator_rate` over 80 % of `iterations`, then constant."""
        share = min(1.0, iteration / max(1.0, 0.8 * iterations))
        return self.generator_rate + share * (self.final_generator_rate - self.generator_rate)


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
        self.teachers = [torch.optim.Adam(net.fast.parameters(), lr=self.settings.generator_rate) for net in self.nets]
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
        """The starts of the next scale, half of them ends of chains; its energy starts from the one below."""
        below, scale = self.stage - 1, self.stage
        if self.settings.warm_start:
            own, lower = self.nets[scale].net, self.nets[below].net
            if own.channels == lower.channels:
                own.load_state_dict(lower.state_dict())
        count = self.settings.pool_size
        u = self.starts
        if below == 0:
            u = applied(self.rule, self.noise(count))
        x = applied(self.rule, self.nets[below].fast(u, self._draw_z(u)))
        half = count // 2
        x = torch.cat([x[:half], self._revised(x[half:], below)])
        recovered = self._revised(self.nets[below].fast(self.recovery_start), below)
        self.starts, self.recovery_start = (
            applied(self.rule, resize(each, self.sizes[scale])) for each in (x, recovered)
        )

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


@dataclass(frozen=True, eq=False)
class CooperativePyramid(NetPyramid):
    """The trained energies and generators."""

    settings: Settings
    nets: list[CooperativeScale]  # type: ignore[assignment]

    @property
    def samplings(self) -> tuple[Sampling, ...]:
        """The ways of drawing samples."""
        return "generator", "both", "chain"

    def chain(self, x: Tensor, scale: int, options: ChainOptions) -> Tensor:
        """The transition of a learned scale from `x` `(N, C, H, W)`, as `sampling` says; with z* but for samples.

        With a number of steps in its options it is a chain alone.
        """
        if options.steps is not None or options.last is not None:
            return super().chain(x, scale, options)
        if self.sampling == "chain":
            return super().chain(x, scale, options)
        net, z = self.nets[scale].fast, None
        if options.from_noise and net.noise:
            draw = options.draw or normal_each(seeded(0, len(x)))
            z = draw(x[:, :1].expand(-1, net.noise, -1, -1))
        x = net(x, z, wrap=options.wrap)
        if options.after is not None:
            x = options.after(x).clamp(-1, 1)
        if self.sampling == "generator":
            return x
        return super().chain(x, scale, replace(options, last=self.settings.revision_steps))


_draft = Settings(
    detail="exact",
    layout_patch=15,
    max_size=512,
    min_size=12,
    scales=4,
    iterations=274,
    iteration_growth=1.2,
)


class Cooperative(NetMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = (
        "a generator beside the energy of each scale, which learn from each other; samples in one pass or by chains"
    )
    paper = "Xie, Lu, Gao, Zhu, Wu: Cooperative Training of Descriptor and Generator Networks, TPAMI 2018"
    settings = Settings
    model = CooperativePyramid
    training = Trainer

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "scales": 5, "iterations": 400}),
        "paper": Settings(
            max_size=250,
            min_size=16,
            scales=3,
            revision_steps=10,
            langevin_steps=30,
            fresh=0,
            step_size=0.01,
            step_decay=0.0,
            iterations=4000,
            generator_rate=1e-4,
            final_generator_rate=1e-4,
            recovery_weight=0.1,
            warm_start=False,
        ),
    }

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: torch.Generator
    ) -> CooperativeScale:
        """PatchGenCN's net, wide from 64 px on, with a generator."""
        return CooperativeScale(channels, settings, wide=max(sizes[scale]) >= 64, generator=generator)

    def plan(self, height: int, width: int, settings: Settings) -> WorkPlan:
        """The work of both nets."""
        plan = super().plan(height, width, settings)
        generators = [self._proposal(size, settings) for size in plan.learned]
        energies = [self._operations(at, tuple(plan.learned), settings) for at in range(len(plan.learned))]
        chains, fresh = settings.chains, settings.fresh
        steps = (chains + 1) * settings.revision_steps + fresh * settings.langevin_steps
        # A gradient by pixels costs two passes, one by weights three.
        each = [
            (2 * steps + 3 * (chains + fresh + 2)) * energy + (chains + 1 + 3 * (chains + fresh + 1)) * generator
            for energy, generator in zip(energies, generators, strict=True)
        ]
        counts = self.iterations(settings, plan.learned)
        drawn = {
            "generator": sum(generators),
            "both": sum(generators) + 2 * settings.revision_steps * sum(energies),
            "chain": 2 * settings.langevin_steps * sum(energies),
        }
        training = sum(count * one for count, one in zip(counts, each, strict=True))
        return replace(plan, training=training, sampling=drawn[settings.sampling])

    def _proposal(self, size: Size, settings: Settings) -> float:
        """Operations of one pass of a generator."""
        net = GeneratorNet(3, settings.noise_channels, [torch.Generator()])
        return net.operations(size)


METHOD = Cooperative()
