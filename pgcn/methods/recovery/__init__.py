"""Diffusion recovery likelihood: conditional energies at levels of noise, each learned from the noisier image.

Gao, Song, Poole, Wu and Kingma, "Learning Energy-Based Models by Diffusion Recovery Likelihood", ICLR 2021. With
levels s_0 < … < s_T of noise, y_t = I + s_t·ε and σ_t² = s_{t+1}² - s_t², the energy of level t is learned by the
likelihood of y_t given y_{t+1},

    p(y_t | y_{t+1}) ∝ exp(Σf_t(y_t) - |y_{t+1} - y_t|²/2σ_t²),

whose Gaussian term makes it nearly unimodal, so that a short chain from y_{t+1} comes close to it:

    y ← y + ½δ²(σ_t²∇Σf_t(y) - (y - y_{t+1})) + δσ_t·ε.

After each chain, one step of Adam on mean f_t(y) - mean f_t(y_t), where y_t is the image with noise that y_{t+1} was
made of. Chains start from the image with noise and are held near it: no training meets its own errors, and no chain
passes through another scale. A scale only begins with the weights of the one below (`warm_start`).

The levels of a scale share kernels; `LevelEnergy` has the net. A sample of scale 0 passes the whole ladder, from
noise of s_T. A scale above it has the levels up to the first with s_t ≥ `entry`·RMS(I_s - resize(I_{s-1})), and
begins with the resized result below it, with the noise of that level. After the cleanest level the noise is taken
off: y + s_0²∇Σf_0(y). Tasks clamp known pixels in this estimate of the image, at each step, and the noise stays.

Against the paper: its y_t is scaled to variance 1 at each level (√(1 - σ̄²)·I + σ̄ε, where s = σ̄/√(1 - σ̄²)); here
images keep their range. Its step is b² = 2e-4·(σ̄_t/σ̄_0)·σ_t², which is 0.02σ_t² at strong noise and 0.0002σ_t² at
weak noise, and chains at weak noise have next to none; here all levels have the same δ², and levels are in geometric
progression. The Gaussian of the image's mean and variance in f is ours: without it, a training of this length leaves
colours and borders wild.

`draft` trains 40 s of a busy core on a photograph of 332 px, where PatchGenCN's takes 69 s and multi-grid's 35 s.
Coarse samples are smooth, with right colours and new layouts; the finest learned scale has about 60 % of the image's
detail. VGG 3_3 of samples of a cat is 0.015 (PatchGenCN 0.009, multi-grid 0.005), with as diverse layouts as
PatchGenCN's, and more broken faces. At a learning rate of 5e-3 and δ² = 0.3, the same image had 0.012, and one
training of another image diverged.

`paper` has its number of levels and steps, its cleanest level, its δ² at strong noise, and its learning rate. The
noisiest level is the last but one of the paper, whose last is pure noise. Its net of residual blocks, its batches of 64
to 256 images and its 240 thousand iterations do not carry over to one image; iterations are those of PatchGenCN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from pgcn.imaging.scales import Size
from pgcn.method import WorkPlan
from pgcn.methods.base import EXACT_DRAFT, NetMethod
from pgcn.methods.recovery.energy import LevelEnergy
from pgcn.methods.recovery.model import RecoveryPyramid
from pgcn.methods.recovery.settings import Settings
from pgcn.methods.recovery.trainer import Trainer

_draft = Settings(
    **EXACT_DRAFT,
    min_size=12,
    # Three scales with more iterations each, at the time of four: one trial of each, no clear difference in VGG 3_3.
    scales=3,
    iterations=110,
    iteration_growth=1.6,
)


class Recovery(NetMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "energies at levels of noise, each learned from the noisier image; scales independent of each other"
    paper = "Gao, Song, Poole, Wu, Kingma: Diffusion Recovery Likelihood, ICLR 2021"
    settings = Settings
    model = RecoveryPyramid
    training = Trainer

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "scales": 4, "iterations": 240}),
        "paper": Settings(
            max_size=250,
            levels=6,
            cleanest=0.01,
            noisiest=3.5,
            langevin_steps=30,
            step_size=0.02,
            chains=8,
            iterations=4000,
            learning_rate=1e-4,
            final_learning_rate=1e-4,
            momentum=0.9,
            warm_start=False,
        ),
    }

    def plan(self, height: int, width: int, settings: Settings) -> WorkPlan:
        """The work of training; that of sampling with all levels at each scale, which is an upper bound."""
        plan = super().plan(height, width, settings)
        return replace(plan, sampling=plan.sampling * settings.levels)

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: torch.Generator
    ) -> LevelEnergy:
        """Five 3×3 convolutions, wide from 64 px on."""
        return LevelEnergy(channels, settings.ladder(), wide=max(sizes[scale]) >= 64, generator=generator)


METHOD = Recovery()
