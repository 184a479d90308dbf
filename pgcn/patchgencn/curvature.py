"""A bound of f's curvature where chains end, which keeps long trainings stable.

A chain of steps δ² converges to a ridge of f only where the curvature across it is below 4/δ²; above, each step
overshoots by more than the one before. Chains of few steps never reach the image quite, so that training sharpens f
without end: curvature grows from iteration to iteration, until even the last, short steps overshoot. Samples then show
grids and combs, the directions of largest curvature, and the training diverges (docs/trainer.md has the course).

f is linear in the last layer, and so is its Hessian. The bound therefore reduces the last layer where the curvature,
found by power iteration on Hessian-vector products, exceeds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgcn.method import State
from pgcn.patchgencn.energy import EnergyNet, energy_gradient
from pgcn.patchgencn.resume import joined
from pgcn.patchgencn.sampling import Gradient

EVERY = 4
"""Iterations from one correction to the next: the curvature changes slowly."""

POWER_STEPS = 2
"""Hessian-vector products of a correction, which goes on from the direction of the one before."""

REACH = 0.1
"""Length of the finite differences. Spread over the pixels of a pattern, it is far below one gray level in 8 bits."""


def hessian_product(gradient: Gradient, x: Tensor, direction: Tensor) -> Tensor:
    """The Hessian of Σf at `x` times `direction`, both `(N, B·C, H, W)`, by central differences of ∇Σf."""
    return (gradient(x + REACH * direction) - gradient(x - REACH * direction)) / (2 * REACH)


class CurvatureBound:
    """The bound `largest` for the net of one scale of a batch of images, and the directions of the power iteration.

    `largest` is in units of f over squared pixel values in [-1, 1].
    """

    def __init__(self, largest: float, images: int, like: Tensor) -> None:
        self.largest, self.images = largest, images
        generator = torch.Generator().manual_seed(0)
        shape = (2, like.shape[1] // images, *like.shape[-2:])
        own = torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)
        self.direction = own.repeat(1, images, 1, 1)
        """`(2, B·C, H + 10, W + 10)`, for a synthesized and the observed image."""

    def apply(self, net: EnergyNet, synthesized: Tensor, observed: Tensor) -> None:
        """Reduce the last layer of each image's net to the bound; both images are `(1, B·C, H + 10, W + 10)`."""
        x = torch.cat([synthesized, observed])
        # Always in float32: the differences are small.
        gradient = energy_gradient(net.weights())
        lengths = self._lengths(self.direction)
        for _ in range(POWER_STEPS):
            unit = self.direction.unflatten(1, (self.images, -1)) / lengths.clamp_min(1e-12)
            self.direction = hessian_product(gradient, x, unit.flatten(1, 2))
            lengths = self._lengths(self.direction)
        curvature = lengths.amax(0)  # (B, 1, 1, 1)
        with torch.no_grad():
            net.kernels[-1].mul_((self.largest / curvature.clamp_min(1e-12)).clamp_max(1).unsqueeze(-1))

    def _lengths(self, x: Tensor) -> Tensor:
        """The length of each image's part of `x`: `(2, B, 1, 1, 1)`."""
        length: Tensor = x.unflatten(1, (self.images, -1)).flatten(2).norm(dim=2)
        return length[:, :, None, None, None]

    def tensors(self, image: int) -> dict[str, Tensor]:
        """One image's part, for a state."""
        return {"curvature": self.direction.chunk(self.images, dim=1)[image]}

    def load(self, states: Sequence[State]) -> None:
        """Take over the `tensors` of a batch's states."""
        self.direction = joined(states, "curvature", self.direction, dim=1)
