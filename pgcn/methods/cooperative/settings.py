"""Settings of cooperative learning."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pgcn.generator import Sampling
from pgcn.methods.base import NetSettings


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
    generator_rate: float = Field(3e-3, gt=0, le=1, description="learning rate of the generator's Adam at first")
    final_generator_rate: float = Field(2e-4, ge=0, le=1, description="reached as final_learning_rate")
    warm_start: bool = Field(True, description="nets start from those below, where widths agree")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="number format of the convolutions in chains; all else is float32"
    )

    def generator_rate_at(self, iteration: int, iterations: int) -> float:
        """Linear from `generator_rate` to `final_generator_rate` over 80 % of `iterations`, then constant."""
        share = min(1.0, iteration / max(1.0, 0.8 * iterations))
        return self.generator_rate + share * (self.final_generator_rate - self.generator_rate)
