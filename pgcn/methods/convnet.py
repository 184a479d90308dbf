"""The generative ConvNet: one net at one scale, with a Gaussian reference.

p(x) ∝ exp(Σ f(x)) · exp(-|x|²/2ρ²), f a convolutional net (Xie, Lu, Zhu and Wu, "A Theory of Generative ConvNet", ICML
2016). Learned by maximum likelihood with short chains

    x ← clamp(x + ½δ²(∇Σf(x) - x/ρ²) + σε, -1, 1),

one step of Adam on mean f(synthesized) - mean f(observed) after each. Chains start from noise at every iteration
(`fresh`: short-run dynamics, Nijkamp et al., NeurIPS 2019), from their ends (`persistent`; each starts anew with a
chance of 5 %), or from the image (`data`: contrastive divergence, Hinton, 2002).

A short chain without noise is a map x = G(z) from its start: `ConvNetModel.interpolate` mixes starts, and
`ConvNetModel.invert` finds the start of an image, min_z |G(z) - x|².

`paper` has the constants of the published texture models, which live in [0, 255] minus a mean: `input_scale` takes
[-1, 1] there, and δ, σ and ρ are theirs divided by 127.5. 600 epochs of one image are 600 iterations. Where the
published net sees a texture of 224 px without layout, here it is one photograph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from pgcn.imaging.noise import noise_start, seeded
from pgcn.imaging.scales import Size
from pgcn.methods.base import EXACT_DRAFT, Layer, NetMethod, NetPyramid, NetSettings, NetTrainer, StackEnergy
from pgcn.methods.base.trainer import Learned

PUBLISHED = (Layer(100, 15, 3), Layer(64, 5, 2), Layer(30, 5, 2), Layer(1, 3))
"""The texture net: kernels of 15 and 5 px with strides, receptive field 67 px."""

SMALL = (Layer(64, 5), Layer(48, 5, 2), Layer(48, 5, 2), Layer(32, 3), Layer(1, 3))
"""Receptive field 33 px: at a short side of 32 px it sees the whole layout, as one scale has to."""

RESTARTS = 0.05
"""Chance of a persistent chain to start anew."""


class Settings(NetSettings):
    """Settings of the generative ConvNet: one scale, below it nothing."""

    method: ClassVar[str] = "convnet"

    min_size: int = Field(12, ge=8, le=512, description="least short side of the learned scale, px")
    scales: int = Field(1, ge=1, le=1, description="one: the net has one scale")
    net: Literal["small", "published"] = Field(
        "small", description="layers: five of 5 and 3 px (small), or those of the published texture model"
    )
    start: Literal["fresh", "persistent", "data"] = Field(
        "fresh", description="start of chains: noise, their own ends, or the image (contrastive divergence)"
    )
    reference: float = Field(3.0, gt=0, le=100, description="ρ of the Gaussian reference, in units of [-1, 1]")
    input_scale: float = Field(1.0, gt=0, le=1000, description="factor from [-1, 1] to the values that the net sees")
    data_noise: float = Field(0.0, ge=0, le=1, description="σ of noise on the observed image, falling to zero")


class Trainer(NetTrainer):
    """The training of one net; see the module."""

    settings: Settings

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.ends = self.noise(self.settings.chains)

    def iterate(self) -> Learned:
        """One synthesis, one step of Adam."""
        observed, settings = self.scales[0], self.settings
        std = settings.data_noise * (1 - self.iteration / self.counts[0])
        if std > 0:
            noise = torch.randn(observed.shape, generator=self.generator, device=observed.device)
            observed = (observed + std * noise).clamp(-1, 1)
        learned = self.update(0, self._start(), observed)
        self.ends = learned.synthesized
        return learned

    def _start(self) -> Tensor:
        count = self.settings.chains
        if self.settings.start == "data":
            return self.scales[0].expand(count, -1, -1, -1)
        fresh = self.noise(count)
        if self.settings.start == "fresh":
            return fresh
        anew = torch.rand(count, 1, 1, 1, generator=self.generator, device=fresh.device) < RESTARTS
        return torch.where(anew, fresh, self.ends)

    def more_tensors(self) -> dict[str, Tensor]:
        """The persistent chains."""
        return {"ends": self.ends}

    def load_more(self, tensors: dict[str, Tensor]) -> None:
        """The persistent chains."""
        self.ends = tensors["ends"]


class ConvNetModel(NetPyramid):
    """The trained net; without noise, its chain is a map from a start z to an image."""

    settings: Settings

    def chain_end(self, z: Tensor) -> Tensor:
        """G(z): the end of the chain without noise from `z` `(N, C, H, W)`, differentiable by z."""
        net, x = self.nets[0], z
        for size, _ in self.settings.chain(noise_std=0.0):
            leaf = x if x.requires_grad else x.detach().requires_grad_()
            with torch.enable_grad():
                gradient = torch.autograd.grad(net(leaf).sum(), leaf, create_graph=z.requires_grad)[0]
            x = (x + 0.5 * size * gradient).clamp(-1, 1)
        return x

    def interpolate(self, first: int, last: int, count: int, size: Size | None = None) -> Tensor:
        """Images between the samples of two seeds, `(count, C, H, W)` at the learned scale, the ends included.

        Their starts are √(1-t²)-like mixtures: (1-t)·a + t·b, divided by √(t² + (1-t)²), keep the noise's variance.
        """
        shape = size or self.sizes[0]
        a, b = (
            noise_start(shape, seeded(seed, 1), channels=self.channels.count).to(self.device) for seed in (first, last)
        )
        shares = torch.linspace(0, 1, count, device=self.device).view(-1, 1, 1, 1)
        mixed = ((1 - shares) * a + shares * b) / (shares.square() + (1 - shares).square()).sqrt()
        return self.chain_end(mixed.clamp(-1, 1)).detach()

    def invert(self, image: Tensor, steps: int = 30, rate: float = 0.1) -> Tensor:
        """The start z whose chain ends nearest to `image` `(1, C, H, W)`: min over z of |G(z) - image|², by Adam.

        The search begins at the image itself.
        """
        z = image.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=rate)
        best, least = z.detach().clone(), float("inf")
        for _ in range(steps):
            error = (self.chain_end(z) - image).square().mean()
            if error.item() < least:
                best, least = z.detach().clone(), error.item()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            with torch.no_grad():
                z.clamp_(-1, 1)
        return best

    def reconstruct(self) -> list[Tensor]:
        """The image by min over z at the learned scale, and from there by the exact ones."""
        end = self.chain_end(self.invert(self.observed)).detach()
        return [end, *self.ascend(end, self.sizes, 1)]


# Longer trainings at this learning rate, larger steps or weaker references diverged after some 160 iterations.
_draft = Settings(
    **EXACT_DRAFT,
    iterations=120,
    langevin_steps=20,
    step_size=0.4,
    reference=2.0,
    data_noise=0.03,
)


class ConvNet(NetMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "one net at one scale with a Gaussian reference: short-run, persistent or contrastive chains"
    paper = "Xie, Lu, Zhu, Wu: A Theory of Generative ConvNet, ICML 2016"
    settings = Settings
    model = ConvNetModel
    training = Trainer

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "iterations": 2000}),
        "paper": Settings(
            max_size=224,
            net="published",
            start="persistent",
            chains=3,
            langevin_steps=20,
            step_size=(0.3 / 127.5) ** 2,
            step_decay=0.0,
            noise_std=0.3 / 127.5,
            reference=1 / 127.5,
            input_scale=127.5,
            iterations=600,
            learning_rate=5e-4,
            final_learning_rate=5e-4,
        ),
    }

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: torch.Generator
    ) -> StackEnergy:
        """The net of the one scale."""
        published = settings.net == "published"
        return StackEnergy(
            channels,
            PUBLISHED if published else SMALL,
            generator,
            normalize=not published,
            reference=settings.reference,
            input_scale=settings.input_scale,
        )


METHOD = ConvNet()
