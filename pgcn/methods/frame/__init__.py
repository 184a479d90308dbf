"""FRAME: fixed filters, and a learned potential of the responses of each.

p(x) ∝ exp(Σ_k Σ_u λ_k((F_k * x)(u)))·exp(-|x|²/2ρ²), with a fixed bank of filters F_k (Zhu, Wu and Mumford, "Filters,
Random Fields and Maximum Entropy", IJCV 1998): intensities, Laplacians of Gaussians, Gabor filters. Of all laws with
the image's histograms of responses it is the one of maximum entropy over the reference. λ_k has a height for each bin
of filter k, which moves by the difference of the two histograms,

    h_kb ← h_kb + η·σ_k²·(H_kb(observed) - H_kb(synthesized)),

with chains x ← clamp(x + ½δ²∇Σf + σε, -1, 1) in the place of a Gibbs sampler. The factor σ_k², the variance of the
filter's responses to the image, makes the curvature of all potentials alike; without it, all step sizes that we tried
diverged. The step is that of gradient ascent, as published: Adam moves empty bins as far as full ones.

The published model has one scale. Here a bank of short wavelengths is learned at each scale of a pyramid, coarse to
fine, and a chain starts from a sample of the scale below: on 12 to 40 px, wavelengths of 2 and 4 px at three scales see
what longer ones see at one, and short chains need not move structures far. Chains are short, from noise, and without
noise in their steps: the model is what they draw. `start=persistent`, `noise_std` = √`step_size` and more
`sampling_steps` are nearer to the published sampler.

A texture model: it has no place for things. Samples of bricks keep lines, grain and colours; those of a cat are its
colours and strokes, shuffled. All filters of the bank are in the model, where the published algorithm selects a few.

`paper`: one scale, wavelengths to 12 px in six directions, persistent chains with the noise of Langevin dynamics. The
published Gibbs sampler of eight gray levels does not carry over, nor do its rates. In a short trial at 36 px samples
had the rows of bricks in much noise, and 1.5 times the image's contrast; the preset was not tried at its own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from pgcn.imaging.scales import Size
from pgcn.methods.base import EXACT_DRAFT
from pgcn.methods.frame.energy import FrameEnergy
from pgcn.methods.frame.method import FilterMethod
from pgcn.methods.frame.settings import FilterSettings


class Settings(FilterSettings):
    """Settings of FRAME."""

    method: ClassVar[str] = "frame"

    step_size: float = Field(0.4, gt=0, le=10, description="δ², the mean over a chain's steps")
    learning_rate: float = Field(0.03, gt=0, le=1, description="η, at the first iteration")
    final_learning_rate: float = Field(0.006, ge=0, le=1, description="reached linearly after 80 % of the iterations")
    momentum: float = Field(0.5, ge=0, lt=1, description="of the steps of the potentials")
    longest_wavelength: int = Field(
        4, ge=2, le=64, description="px; Gabor filters have wavelengths 2, 4, … to this one"
    )
    orientations: int = Field(4, ge=1, le=64, description="directions of Gabor filters at each wavelength")
    bins: int = Field(15, ge=4, le=256, description="bins of a filter's histogram, and heights of its potential")


_draft = Settings(
    **EXACT_DRAFT,
    min_size=12,
    scales=3,
    iterations=100,
    langevin_steps=15,
)


class Frame(FilterMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "fixed Gabor filters, learned potentials of their responses: textures"
    paper = "Zhu, Wu, Mumford: Filters, Random Fields and Maximum Entropy, IJCV 1998"
    settings = Settings

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(
            update={"max_size": 2048, "iterations": 300, "langevin_steps": 20, "orientations": 6}
        ),
        "paper": Settings(
            max_size=128,
            scales=1,
            longest_wavelength=12,
            orientations=6,
            start="persistent",
            langevin_steps=20,
            sampling_steps=400,
            step_size=0.004,
            step_decay=0.0,
            noise_std=0.004**0.5,
            learning_rate=1.0,
            final_learning_rate=0.2,
            iterations=500,
        ),
    }

    def net(self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: Any) -> FrameEnergy:
        """The filters, with potentials of zero."""
        return FrameEnergy(
            channels,
            longest=settings.longest_wavelength,
            orientations=settings.orientations,
            bins=settings.bins,
            reference=settings.reference,
        )


METHOD = Frame()
