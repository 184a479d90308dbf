"""Settings of models with fixed filters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pgcn.methods.base import NetSettings


class FilterSettings(NetSettings):
    """Settings of models with fixed filters."""

    start: Literal["fresh", "persistent"] = Field(
        "fresh", description="start of chains: noise or samples of the scale below (fresh), or their own ends"
    )
    pool: int = Field(24, ge=1, le=4096, description="samples of the scale below that chains start from")
    reference: float = Field(3.0, gt=0, le=100, description="ρ of the Gaussian reference, in units of [-1, 1]")
    warm_start: bool = Field(True, description="a scale begins with the potentials of the scale below")
    sampling_steps: int = Field(
        0,
        ge=0,
        le=100_000,
        description="steps of a chain in sampling, more than K where chains are persistent; 0: K",
    )

    @property
    def steps_in_sampling(self) -> int:
        """Steps of a chain in sampling."""
        return self.sampling_steps or self.langevin_steps
