"""Settings of diffusion recovery likelihood."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from pgcn.methods.base import NetSettings
from pgcn.methods.recovery.ladder import Ladder
from pgcn.settings import Step


class Settings(NetSettings):
    """A ladder of noise levels; a chain has `langevin_steps` at each of them."""

    method: ClassVar[str] = "recovery"

    levels: int = Field(8, ge=1, le=64, description="T, energies at scale 0; finer scales have the clean ones alone")
    cleanest: float = Field(0.03, gt=0, le=1, description="s_0, σ of the least noise, in units of [-1, 1]")
    noisiest: float = Field(4.0, gt=0, le=100, description="s_T, σ of the noise that scale 0 starts with")
    entry: float = Field(
        2.0, gt=0, le=100, description="noise that a scale above 0 begins with at least, in units of its detail's RMS"
    )
    langevin_steps: int = Field(8, ge=1, le=10_000, description="K, steps of a chain at each level")
    step_size: float = Field(0.2, gt=0, le=10, description="δ², the mean over a chain's steps, in units of σ_t²")
    step_decay: float = Field(
        0.0, ge=0, lt=1, description="share by which a chain's first step is longer than step_size and its last shorter"
    )
    noise_std: float = Field(1.0, ge=0, le=1, description="factor of a step's noise δσ_t; 1: Langevin dynamics")
    chains: int = Field(4, ge=1, le=256, description="chains in each iteration, spread over the levels of a scale")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="of Adam, at the first iteration")
    warm_up: int = Field(20, ge=1, description="first iterations of a scale, with a learning rate that rises from zero")
    warm_start: bool = Field(True, description="a scale begins with the weights of the one below, where widths agree")

    @model_validator(mode="after")
    def _levels_rise(self) -> Settings:
        if self.noisiest <= self.cleanest:
            raise ValueError(f"noisiest ({self.noisiest}) is not above cleanest ({self.cleanest})")
        return self

    def ladder(self) -> Ladder:
        """The levels of noise."""
        return Ladder.of(self.cleanest, self.noisiest, self.levels)

    def chain(self, steps: int | None = None, noise_std: float | None = None) -> list[Step]:
        """The steps of a chain at one level, with the noise in units of σ_t; `noise_std` is a factor. None: as set."""
        factor = self.noise_std if noise_std is None else noise_std
        return super().chain(steps, factor * self.step_size**0.5)
