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

Samples (`sampling`) are drawn by the generator alone, one pass a scale; by both, then K steps; or by a whole chain. The
generator alone draws soft layouts without objects: it learns means. docs/trainer.md has metrics of all three.

`paper` has the published ratio of the nets' steps where it carries over (K = 10, a generator rate of 1e-4, no fresh
chains). The published δ = 0.002 belongs to an f that is not normalized; it has our nets and PatchGenCN's constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pgcn.generator import GeneratorNet, Sampling
from pgcn.heartbeat import beat
from pgcn.imaging.noise import normal_each, seeded
from pgcn.imaging.scales import Size
from pgcn.method import ChainOptions, WorkPlan
from pgcn.methods.base import EXACT_DRAFT, NetMethod, NetPyramid
from pgcn.methods.cooperative.settings import Settings
from pgcn.methods.cooperative.trainer import CooperativeScale, Trainer


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
        beat()
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
    **EXACT_DRAFT,
    min_size=12,
    scales=4,
    iterations=200,
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
