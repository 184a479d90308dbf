"""The expanding energy: one net that gets a block for each doubling of the resolution.

Zhao, Xie and Li, "Learning Energy-Based Generative Models via Coarse-to-Fine Expanding and Sampling", ICLR 2021. Each
scale has twice the sides of the one below. At a new scale the net gets a new first block, which halves the resolution;
the others go on from the weights that they have. The new block fades in: in the first half of a stage

    f(x) = (1 - α)·4·f_{s-1}(down x) + α·f_s(x),   α from 0 to 1,   f = Σ over positions,

f_{s-1} as it was at the end of its stage (the paper mixes features before the shared blocks; here the frozen energy
keeps what it has learned). Chains of an iteration go from noise through the retained nets of all scales,

    x ← clamp(x + ½δ²∇ₓf + σε, -1, 1),

where σ falls linearly to zero over the whole cascade (`noise`), and one step of Adam follows on mean f(synthesized) -
mean f(observed), the observed image with noise that falls to zero (`data_noise`).

`sampling`: "cascade" runs the chains of all scales, "finest" those of the last net alone, from enlarged noise, in as
many steps as all scales have together; it is trained on such chains then.

`blocks` bounds the receptive field: one block and the head see 10 px, two 24; with 0 each scale adds one, so that the
net sees the whole image. More context copies more of it.

`draft` at 332 px: VGG-Fréchet (layer 3_3) 0.006 of the cat, 0.007 of the launch and 0.009 of the bricks, where
`patchgencn` has 0.007, 0.004 and 0.010 in twice the time; faces are less often whole.

`paper` has the published constants: 8 px on, whole fields, 15 steps of δ² = 2, σ from 0.015, Adam of 1e-3. Not carried
over: batches of 256 images, of which one image has one (16 chains instead), widths that grow with depth, the head of
one size of image, and 1e-3 to 2e-3 by resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from pgcn.imaging.noise import normal_batch
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import Size, learned_sizes, resize
from pgcn.method import ChainOptions
from pgcn.methods.base import EXACT_DRAFT, NetMethod, NetPyramid, NetSettings, NetTrainer
from pgcn.methods.base.trainer import Learned
from pgcn.methods.expanding.net import ExpandingEnergy
from pgcn.patchgencn.langevin import langevin
from pgcn.settings import Step


class Settings(NetSettings):
    """Settings of the expanding energy. `scales` is the most scales; each has half the sides of the next one."""

    method: ClassVar[str] = "expanding"

    width: int = Field(32, ge=1, le=512, description="channels of all blocks")
    blocks: int = Field(
        1, ge=0, le=8, description="most blocks of a net: 1 sees 10 px, 2 see 24 px; 0: a further one at each scale"
    )
    fade: float = Field(0.5, ge=0, le=1, description="share of a stage in which the new block fades in")
    sampling: Literal["cascade", "finest"] = Field(
        "cascade", description="chains of all scales, or of the finest net alone with as many steps"
    )
    noise: Literal["cascade", "chain"] = Field(
        "cascade", description="σ of a chain's noise: falling to zero over all scales, or the same at each scale"
    )
    data_noise: float = Field(0.0, ge=0, le=1, description="σ of noise on the observed image, falling to zero")

    def blocks_at(self, scale: int) -> int:
        """Blocks of the net of a scale."""
        return min(1 + scale, self.blocks) if self.blocks else 1 + scale

    def fallen(self, steps: Sequence[Step], scale: int, scales: int) -> list[Step]:
        """The steps of a chain at `scale` of a cascade of `scales`, with noise that falls to zero over all of them."""
        if self.noise == "chain":
            return list(steps)
        shares = [1 - (scale + at / len(steps)) / scales for at in range(len(steps))]
        return [Step(size, std * share) for (size, std), share in zip(steps, shares, strict=True)]

    def share(self, iteration: int, iterations: int) -> float:
        """α in an iteration of a stage; one in the last, which leaves the new net alone."""
        last = iteration + 1 == iterations
        return 1.0 if self.fade == 0 or last else min(1.0, iteration / (self.fade * iterations))


class Trainer(NetTrainer):
    """Stages of one scale each; see the module."""

    settings: Settings
    nets: list[ExpandingEnergy]  # type: ignore[assignment]

    def iterate(self) -> Learned:
        """One cascade from noise up to the present scale, one step of Adam."""
        scale, settings = self.stage, self.settings
        if scale > 0:
            self.nets[scale].fade(self.nets[scale - 1], settings.share(self.iteration, self.counts[scale]))
        observed = self.scales[scale]
        std = settings.data_noise * (1 - self.iteration / self.counts[scale])
        if std > 0:
            noise = torch.randn(observed.shape, generator=self.generator, device=observed.device)
            observed = (observed + std * noise).clamp(-1, 1)
        return self.update(scale, self._start(scale), observed)

    def _start(self, scale: int) -> Tensor:
        noise = self.noise(self.settings.chains)
        return resize(noise, self.sizes[scale]) if self.settings.sampling == "finest" else self.below(noise, scale)

    def chain(self, x: Tensor, scale: int, steps: int | None = None, noise_std: float | None = None) -> Tensor:
        """The end of a chain of a scale, of the cascade up to the present one."""
        settings, draw = self.settings, normal_batch([self.generator])
        alone = settings.sampling == "finest"
        count = settings.langevin_steps * (scale + 1 if alone else 1) if steps is None else steps
        plan = settings.chain(count, noise_std)
        plan = settings.fallen(plan, 0, 1) if alone else settings.fallen(plan, scale, self.stage + 1)
        return langevin(applied(self.rule, x), self.nets[scale].gradient(), plan, draw, self.rule)

    def begin_stage(self) -> None:
        """The net of the new scale takes the weights of the one below."""
        self.nets[self.stage - 1].fading = None
        self.nets[self.stage].grow_from(self.nets[self.stage - 1])

    def metrics(self, learned: Learned, rate: float) -> dict[str, float]:
        """The metrics of the base, and α."""
        fading = self.nets[self.stage].fading
        return super().metrics(learned, rate) | {"fade": 1.0 if fading is None else fading[1]}


class ExpandingPyramid(NetPyramid):
    """The nets of all stages; with `sampling` "finest", chains of the coarse ones keep their starts."""

    settings: Settings

    def steps(self, scale: int, options: ChainOptions) -> list[Step]:
        """The steps of a chain, with the noise of its place in the cascade."""
        settings, plain = self.settings, super().steps(scale, options)
        if settings.sampling == "cascade":
            return settings.fallen(plain, scale, self.learned)
        if scale < self.learned - 1:
            return []
        if options.steps is None and options.last is None:
            plain = settings.chain(settings.langevin_steps * self.learned, options.noise_std)
        return settings.fallen(plain, 0, 1)


# From 8 px on, a field of 10 px sees nearly all, and samples are copies; from 16 px on, faces break.
_draft = Settings(
    **EXACT_DRAFT,
    min_size=12,
    learned_size=48,
    scales=3,
    iterations=130,
    iteration_growth=1.7,
    langevin_steps=10,
    step_size=0.8,
    learning_rate=4e-3,
    final_learning_rate=4e-4,
    data_noise=0.03,
)


class Expanding(NetMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "one net that expands with the resolution: new blocks fade in, and chains go through all scales"
    paper = "Zhao, Xie, Li: Coarse-to-Fine Expanding and Sampling, ICLR 2021"
    settings = Settings
    model = ExpandingPyramid
    training = Trainer

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "iterations": 400}),
        "paper": Settings(
            max_size=256,
            min_size=8,
            scales=6,
            blocks=0,
            chains=16,
            langevin_steps=15,
            step_size=2.0,
            step_decay=0.0,
            noise_std=0.015,
            iterations=4000,
            learning_rate=1e-3,
            final_learning_rate=1e-3,
            data_noise=0.03,
        ),
    }

    def sizes(self, height: int, width: int, settings: Settings) -> list[Size]:
        """Halves of the finest learned scale, at most `scales` with it, down to a short side of `min_size`."""
        sizes = learned_sizes(height, width, settings)[-1:]
        while len(sizes) < settings.scales and round(min(sizes[0]) / 2) >= settings.min_size:
            sizes.insert(0, (max(1, round(sizes[0][0] / 2)), max(1, round(sizes[0][1] / 2))))
        return sizes

    def after_divergence(self, settings: Settings) -> Settings:
        """Half the step size and half the learning rate: published trainings blow up at their last stage."""
        halves = {"step_size": settings.step_size / 2, "learning_rate": settings.learning_rate / 2}
        halves["final_learning_rate"] = min(settings.final_learning_rate, halves["learning_rate"])
        return settings.model_copy(update=halves)

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: torch.Generator
    ) -> ExpandingEnergy:
        """The net of a scale before it grows from the one below."""
        return ExpandingEnergy(channels, settings.width, settings.blocks_at(scale), generator)


METHOD: Any = Expanding()
