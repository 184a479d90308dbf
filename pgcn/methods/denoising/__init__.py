"""The denoising energy: the error of a denoising net as texture energy, above semantic energies of coarse scales.

Zeng, "How to Construct Energy for Images? Denoising Autoencoder Can Be Energy Based Model", arXiv 2303.03887, 2023,
whose energies are |x - r(x + ε, σ)|²/2σ² of a denoising autoencoder r, and the same of decoded latents. For one image:

- semantic energies: those of the first `semantic_scales` scales, nets of PatchGenCN whose decoder is the resize. They
  are learned by maximum likelihood with short chains, as in the other methods.
- texture energies: of every finer scale, E(x, σ) = |x - r(x, σ)|²/2σ² of a denoising net of bounded receptive field
  (`net.py`). An autoencoder that sees a whole image learns one image by heart.

A stage of a texture scale has two phases. In the first one (`denoising_share`), each update denoises `draws` noisy
copies of the image, x + σε with σ from `levels` geometric levels. In the second one, after `denoising_updates` of
these comes one contrastive update: a chain from the samples of the scale below,

    x ← clamp(x - ½δ²σ_c²∇ₓE(x, σ_c), -1, 1),   then a step of Adam on mean E(observed) - mean E(synthesized),

at the level σ_c = `chain_sigma`; all levels are in units of the image's standard deviation. The start has noise of
`start_noise`·σ_c, from which detail is made; ½δ² = 1 is about the step from a noisy image to r. A net that only
denoises gives blurred samples: an average of what may be there has little error. The contrastive updates raise the
energy of such samples; `contrastive_weight` is the factor of their gradients.

Sampling has two chains: first the semantic one, from noise, then that of pixels, from its enlarged end. The energy is
an error map with a noise level, in units of the noise: 0 where the net finds nothing to correct.

`draft` at 332 px: VGG-Fréchet (layer 3_3) 0.006 of the cat and 0.011 of the bricks, where `patchgencn` has 0.007 and
0.010 in twice the time; some thin objects are broken, and pixels of wrong colour remain at the border.

There is no public code. `paper` has the constants of the text on these nets: 128 levels from 1 to 0.01, three denoising
updates to a contrastive one from the beginning, chains of 90 steps of η = 0.01 (½δ²σ_c²), Adam of 5e-5, all for images
of a deviation of 0.5. Not taken over: the autoencoder with a latent, in whose place are the semantic scales, and the
noise √(2η) of a step, which is 0.14 and hides the detail of one image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.noise import normal_batch, normal_each, seeded
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import Size, resize
from pgcn.method import ChainOptions, DivergenceError
from pgcn.methods.base import EXACT_DRAFT, NetMethod, NetPyramid, NetTrainer, PatchEnergy, ScaleEnergy
from pgcn.methods.base.trainer import Learned
from pgcn.methods.denoising.net import DenoisingEnergy
from pgcn.methods.denoising.settings import LEAST_UNIT, Settings, scaled
from pgcn.patchgencn.langevin import langevin
from pgcn.settings import Step


class Trainer(NetTrainer):
    """Stages of one scale each; see the module."""

    settings: Settings

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.pool = self.noise(self.settings.pool_size).contiguous()
        """Starts of chains at the present scale."""

    def new_net(self, scale: int) -> ScaleEnergy:
        """The initial net of a scale; noise levels are in units of the deviation of the finest learned scale."""
        net = super().new_net(scale)
        if isinstance(net, DenoisingEnergy):
            net.unit.fill_(self.scales[-1].std().clamp_min(LEAST_UNIT))
        return net

    def iterate(self) -> Learned:
        """One denoising or contrastive update; at a semantic scale a contrastive one always."""
        scale, settings = self.stage, self.settings
        net = self.nets[scale]
        if isinstance(net, DenoisingEnergy) and not settings.contrastive(self.iteration, self.counts[scale]):
            return self._denoise(net, scale)
        count = settings.chains
        if scale == 0:
            return self.update(0, self.noise(count))
        chosen = torch.randint(len(self.pool), (count,), generator=self.generator, device=self.pool.device)
        return self.update(scale, self.pool[chosen])

    @property
    def rate(self) -> float:
        """The learning rate of this iteration, that of both kinds of updates."""
        rate, settings = super().rate, self.settings
        return rate * settings.texture_rate / settings.learning_rate if settings.is_texture(self.stage) else rate

    def _denoise(self, net: DenoisingEnergy, scale: int) -> Learned:
        beat()
        settings, clean = self.settings, self.scales[scale].expand(self.settings.draws, -1, -1, -1)
        levels = torch.randint(settings.levels, (len(clean),), generator=self.generator, device=clean.device)
        ratio = (settings.sigma_max / settings.sigma_min) ** (1 / max(1, settings.levels - 1))
        sigma = net.unit * settings.sigma_min * ratio**levels
        noise = torch.randn(clean.shape, generator=self.generator, device=clean.device)
        loss = net.denoise(clean, sigma, noise, self.positions(scale))
        if not bool(loss.isfinite()):
            where = f"(scale {scale}, iteration {self.iteration + 1})"
            raise DivergenceError(f"Training diverged {where}: the denoised image has values that are no numbers.")
        for group in self.optimizers[scale].param_groups:
            group["lr"] = self.rate
        self.optimizers[scale].step()
        return Learned(clean, loss, -net.energy(self.scales[scale]).mean())

    def chain(self, x: Tensor, scale: int, steps: int | None = None, noise_std: float | None = None) -> Tensor:
        """The end of a chain of a scale, that of pixels from a noisy start; sends a heartbeat."""
        settings, net, draw = self.settings, self.nets[scale], normal_batch([self.generator])
        start = settings.noisy(x, net, draw) if noise_std is None else x
        plan = scaled(settings.chain(steps, noise_std), net)
        return langevin(applied(self.rule, start), net.gradient(), plan, draw, self.rule)

    def begin_stage(self) -> None:
        """The starts move up by chains of the finished scale; a net begins as the one below where it is of its kind."""
        scale = self.stage
        moved = resize(self.chain(self.pool, scale - 1), self.sizes[scale])
        # As in a checkpoint: convolutions of another memory layout round differently.
        self.pool = moved.contiguous()
        below, own = self.nets[scale - 1].state_dict(), self.nets[scale].state_dict()
        if {name: one.shape for name, one in below.items()} == {name: one.shape for name, one in own.items()}:
            self.nets[scale].load_state_dict(below)

    def more_tensors(self) -> dict[str, Tensor]:
        """The starts."""
        return {"pool": self.pool}

    def load_more(self, tensors: dict[str, Tensor]) -> None:
        """The starts."""
        self.pool = tensors["pool"]


class DenoisingPyramid(NetPyramid):
    """Semantic and texture energies of one image."""

    settings: Settings

    def chain(self, x: Tensor, scale: int, options: ChainOptions) -> Tensor:
        """Run one chain of a learned scale; that of pixels starts with noise unless `options` say otherwise."""
        sampled = options.noise_std is None and options.steps is None and options.last is None
        draw = options.draw or normal_each(seeded(0, len(x)))
        start = self.settings.noisy(x, self.nets[scale], draw) if sampled else x
        return super().chain(start, scale, replace(options, draw=draw))

    def denoised(self, x: Tensor, scale: int, sigma: float) -> Tensor:
        """r(x, σ): an estimate of `x` `(N, C, H, W)` without its noise of standard deviation `sigma`.

        Raises `ValueError` for a scale without a denoising net.
        """
        net = self.nets[scale] if scale < self.learned else None
        if not isinstance(net, DenoisingEnergy):
            raise ValueError(f"scale {scale} has no denoising net")
        with torch.no_grad():
            return net.denoised(x, sigma).clamp(-1, 1)

    def steps(self, scale: int, options: ChainOptions) -> list[Step]:
        """The steps of a chain, those of pixels in units of the noise level."""
        return scaled(super().steps(scale, options), self.nets[scale])


# Both kinds of updates share the moments of Adam, where denoising has the far larger gradients: at a contrastive weight
# of 1, bricks at 32 px had half the image's contrast, at 10 all of it.
_draft = Settings(
    **EXACT_DRAFT,
    min_size=12,
    scales=4,
    iterations=250,
    iteration_growth=1.2,
    langevin_steps=10,
    step_size=0.5,
    start_noise=0.7,
    denoising_share=0.2,
    denoising_updates=1,
)


class Denoising(NetMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "the error of a denoising net as energy of texture, above energies of the coarse layout"
    paper = "Zeng: Denoising Autoencoder Can Be Energy Based Model, arXiv 2303.03887"
    settings = Settings
    model = DenoisingPyramid
    training = Trainer

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "iterations": 1000}),
        "paper": Settings(
            max_size=250,
            min_size=16,
            scales=5,
            width=64,
            levels=128,
            sigma_min=0.02,
            sigma_max=2.0,
            chain_sigma=0.3,
            start_noise=0.0,
            langevin_steps=90,
            step_size=0.89,
            step_decay=0.0,
            iterations=4000,
            denoising_share=0.0,
            learning_rate=5e-5,
            final_learning_rate=5e-5,
            texture_rate=5e-5,
            contrastive_weight=1.0,
        ),
    }

    def updates(self, settings: Settings, sizes: Sequence[Size]) -> list[int]:
        """Contrastive updates of each scale, and denoising ones by their work in units of these."""
        chain = 2 * settings.chains * settings.langevin_steps + 3 * (settings.chains + 1)
        found = []
        for scale, count in enumerate(self.iterations(settings, sizes)):
            contrastive = count
            if settings.is_texture(scale):
                contrastive = sum(settings.contrastive(at, count) for at in range(count))
            found.append(contrastive + math.ceil((count - contrastive) * 3 * settings.draws / chain))
        return found

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: torch.Generator
    ) -> ScaleEnergy:
        """PatchGenCN's net at semantic scales, a denoising net at those of texture."""
        if not settings.is_texture(scale):
            return PatchEnergy(channels, wide=False, generator=generator, precision=settings.precision)
        return DenoisingEnergy(
            channels,
            settings.width,
            generator,
            sigma=settings.chain_sigma,
            lowest=settings.sigma_min,
            highest=settings.sigma_max,
            weight=settings.contrastive_weight,
        )


METHOD: Any = Denoising()
