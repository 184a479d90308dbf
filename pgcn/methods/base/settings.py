"""Settings that all methods with a net at every scale have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from pgcn.settings import PyramidSettings, Step

EXACT_DRAFT: Mapping[str, Any] = {"detail": "exact", "layout_patch": 15, "layouts": 2, "max_size": 512}
"""The part of `draft` that all methods share: exact scales above the learned ones, and layouts that are drawn again."""


class NetSettings(PyramidSettings):
    """A pyramid, Langevin chains, and Adam. Tensors are in [-1, 1].

    A chain is x ← clamp(x + ½·step_size·∇ₓΣf + σε, -1, 1); the sizes of its steps decay linearly around `step_size`.
    """

    channels: Literal["rgb", "auto"] = Field(
        "auto", description="auto: all channels with all their bits, gray as one; rgb: every image as RGB of 8 bits"
    )
    transparency: Literal["white", "unknown", "learned"] = Field(
        "unknown",
        description="transparent pixels: unknown, and left out of the loss; learned, with opacity as a channel; or "
        "blended with white",
    )
    langevin_steps: int = Field(10, ge=1, le=10_000, description="K, steps of a chain")
    step_size: float = Field(0.8, gt=0, le=10, description="δ², the mean over a chain's steps")
    step_decay: float = Field(
        0.9, ge=0, lt=1, description="share by which a chain's first step is longer than step_size and its last shorter"
    )
    noise_std: float = Field(0.0, ge=0, le=1, description="σ of a step of mean length")
    chains: int = Field(1, ge=1, le=256, description="synthesis chains in each iteration")
    iterations: int = Field(300, ge=1, le=1_000_000, description="iterations at the finest learned scale")
    iteration_growth: float = Field(1.0, ge=1, le=10, description="factor of iterations for each coarser scale")
    learning_rate: float = Field(4e-4, gt=0, le=1, description="of Adam, at the first iteration")
    final_learning_rate: float = Field(5e-5, ge=0, le=1, description="reached linearly after 80 % of the iterations")
    momentum: float = Field(0.5, ge=0, lt=1, description="β₁ of Adam; β₂ is 0.999")

    def iterations_at(self, scale: int, scales: int) -> int:
        """Iterations at `scale` of `scales` learned ones."""
        return round(self.iterations * self.iteration_growth ** (scales - 1 - scale))

    def chain(self, steps: int | None = None, noise_std: float | None = None) -> list[Step]:
        """The steps of a chain; `noise_std` is that of a step of mean length. None: as set."""
        count = self.langevin_steps if steps is None else steps
        sigma = self.noise_std if noise_std is None else noise_std
        decay = [self.step_decay * (1 - 2 * k / (count - 1)) if count > 1 else 0.0 for k in range(count)]
        return [Step(self.step_size * (1 + share), sigma * (1 + share) ** 0.5) for share in decay]

    def learning_rate_at(self, iteration: int, iterations: int) -> float:
        """Linear from `learning_rate` to `final_learning_rate` over 80 % of `iterations`, then constant."""
        share = min(1.0, iteration / max(1.0, 0.8 * iterations))
        return self.learning_rate + share * (self.final_learning_rate - self.learning_rate)
