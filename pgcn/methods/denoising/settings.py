"""Settings of the denoising energy, and its chains in units of the noise level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from pgcn.imaging.noise import Draw
from pgcn.methods.base import NetSettings, ScaleEnergy
from pgcn.methods.denoising.net import DenoisingEnergy
from pgcn.settings import Step

LEAST_UNIT = 0.02
"""Least deviation of an image as unit of noise levels: one of a single colour has levels too."""


class Settings(NetSettings):
    """Settings of the denoising energy. `iterations` are updates of either kind."""

    method: ClassVar[str] = "denoising"

    semantic_scales: int = Field(2, ge=0, le=32, description="coarsest scales, whose energies decide the layout")
    width: int = Field(32, ge=1, le=512, description="channels of the denoising nets")
    levels: int = Field(16, ge=1, le=1000, description="noise levels, geometric")
    sigma_min: float = Field(0.07, gt=0, le=10, description="least noise level, in units of the image's deviation")
    sigma_max: float = Field(2.0, gt=0, le=10, description="largest noise level, in the same units")
    chain_sigma: float = Field(
        0.5, gt=0, le=10, description="noise level of the energy of chains and maps, in the same units"
    )
    start_noise: float = Field(
        1.0, ge=0, le=10, description="σ of noise on the starts of pixel chains, in units of chain_sigma"
    )
    draws: int = Field(8, ge=1, le=1000, description="noisy copies of the image in a denoising update")
    denoising_share: float = Field(0.5, ge=0, le=1, description="share of a stage that only denoises")
    denoising_updates: int = Field(3, ge=0, le=100, description="denoising updates before each contrastive one")
    contrastive_weight: float = Field(
        10.0, gt=0, le=1000, description="factor of the gradients of contrastive updates, beside those of denoising"
    )
    texture_rate: float = Field(
        2e-3, gt=0, le=1, description="as learning_rate, of denoising nets; it falls in the same proportion"
    )
    pool_size: int = Field(32, ge=1, le=10_000, description="samples of the scale below that chains start from")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="number format of the semantic energies' convolutions in chains; all else is float32"
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> Settings:
        if self.sigma_min > self.sigma_max:
            raise ValueError(f"sigma_min ({self.sigma_min}) is larger than sigma_max ({self.sigma_max})")
        return self

    def is_texture(self, scale: int) -> bool:
        """True for a scale with a texture energy."""
        return scale >= self.semantic_scales

    def noisy(self, x: Tensor, net: ScaleEnergy, draw: Draw) -> Tensor:
        """The start of a chain of `net`: that of pixels is `x` with noise."""
        if not isinstance(net, DenoisingEnergy) or self.start_noise == 0:
            return x
        return (x + self.start_noise * net.level * draw(x)).clamp(-1, 1)

    def contrastive(self, iteration: int, iterations: int) -> bool:
        """True for an iteration of a texture scale with a contrastive update."""
        since = iteration - round(self.denoising_share * iterations)
        return since >= 0 and since % (self.denoising_updates + 1) == self.denoising_updates


def scaled(steps: Sequence[Step], net: ScaleEnergy) -> list[Step]:
    """The steps of a chain of `net`: for one of texture, δ² and σ in units of the noise level.

    A step of ½δ² = σ_c² along -∇E leads from x to about r(x, σ_c), since n is about the noise over -σ_c.
    """
    unit = net.level if isinstance(net, DenoisingEnergy) else 1.0
    return [Step(size * unit**2, std * unit) for size, std in steps]
