"""Learned one-dimensional potentials λ_k: quadratic splines, whose gradients by their heights are smooth histograms.

λ_k(r) = Σ_b h_kb·B(t_k(r) - b) with the quadratic B-spline B, so that ∂λ_k/∂h_kb is the share that r has in bin b: its
mean over an image is bin b of the histogram of filter k, and maximum likelihood makes the histograms of the image and
of the samples equal (Zhu, Wu and Mumford, 1998). t_k(r) = (r - c_k)/w_k + (B - 1)/2, with bins of width w_k around the
mean response c_k. Beyond the bins λ_k goes on as a straight line.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RANGE = 4.0
"""Distance of the last bin's centre from the mean response, in its standard deviations."""


class Potentials(nn.Module):
    """The potentials of K filters: `heights` `(K, B)`, zero at first. `fit` places the bins."""

    means: Tensor
    deviations: Tensor

    def __init__(self, filters: int, bins: int) -> None:
        super().__init__()
        self.heights = nn.Parameter(torch.zeros(filters, bins))
        self.register_buffer("means", torch.zeros(filters))
        self.register_buffer("deviations", torch.ones(filters))

    @property
    def bins(self) -> int:
        """B, the number of bins."""
        return self.heights.shape[1]

    def fit(self, responses: Tensor) -> None:
        """Place the bins by the mean and standard deviation of responses `(N, K, H, W)`."""
        std, mean = torch.std_mean(responses, (0, 2, 3), correction=0)
        self.means.copy_(mean)
        self.deviations.copy_(std.clamp_min(1e-3))

    def widths(self) -> Tensor:
        """w, the widths of bins, `(K, 1, 1)`."""
        return 2 * RANGE * self.deviations.view(-1, 1, 1) / (self.bins - 1)

    def forward(self, responses: Tensor) -> Tensor:
        """λ_k of responses `(N, K, H, W)`, of the same shape."""
        inside, excess = self._positions(responses)
        total = torch.zeros_like(responses)
        for b in range(self.bins):
            height = self.heights[:, b].view(-1, 1, 1)
            total = total + height * (spline(inside - b) + excess * spline_slope(inside - b))
        return total

    def histograms(self, responses: Tensor, positions: Tensor | None = None) -> Tensor:
        """Smooth histograms of responses `(N, K, H, W)` over their positions: `(N, K, B)`, each of sum 1.

        `positions` `(1, 1, H, W)` are weights in the mean, 1 by default.
        """
        inside, excess = self._positions(responses)
        weights = torch.ones_like(responses[:1, :1]) if positions is None else positions
        each = [
            (weights * (spline(inside - b) + excess * spline_slope(inside - b))).mean((2, 3)) for b in range(self.bins)
        ]
        return torch.stack(each, dim=2)

    def slopes(self, responses: Tensor) -> Tensor:
        """λ_k' at responses `(N, K, H, W)`: differences of neighbouring heights, linear in t between two of them."""
        inside, _ = self._positions(responses)
        differences = torch.diff(self.heights.detach(), dim=1)
        first = (inside - 0.5).long().clamp(0, self.bins - 3)  # of no number too: the share is none either
        rows = torch.arange(len(differences), device=inside.device).view(-1, 1, 1) * (self.bins - 1)
        place, share = first + rows, inside - 0.5 - first
        return torch.lerp(differences.take(place), differences.take(place + 1), share) / self.widths()

    def _positions(self, responses: Tensor) -> tuple[Tensor, Tensor]:
        """t, from 0 at the first bin's centre, kept where the spline is whole; and the rest."""
        at = (responses - self.means.view(-1, 1, 1)) / self.widths() + (self.bins - 1) / 2
        inside = at.clamp(0.5, self.bins - 1.5)
        return inside, at - inside


def spline(t: Tensor) -> Tensor:
    """The quadratic B-spline: 3/4 - t² for |t| ≤ 1/2, (3/2 - |t|)²/2 to 3/2, then zero."""
    far = t.abs()
    return torch.where(far <= 0.5, 0.75 - far.square(), 0.5 * (1.5 - far).clamp_min(0).square())


def spline_slope(t: Tensor) -> Tensor:
    """The derivative of `spline`."""
    return torch.where(t.abs() <= 0.5, -2 * t, -t.sign() * (1.5 - t.abs()).clamp_min(0))
