"""The energy of FRAME at one scale: Σf(x) = Σ_k Σ_u λ_k((F_k * x)(u)) - |x|²/2ρ²."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.methods.base.energy import Gradient
from pgcn.methods.frame.filters import bank, planes
from pgcn.methods.frame.model import FilterEnergy
from pgcn.methods.frame.potentials import Potentials


class FrameEnergy(FilterEnergy):
    """Fixed filters of C channels, a learned potential for each, and a Gaussian reference of deviation `reference`.

    Every filter of the bank sees every plane of `planes`; the planes themselves, and the channels where there are
    several, are the intensity filters. Beyond its borders an image goes on with its outermost pixels.
    """

    filters: Tensor
    planes: Tensor

    def __init__(self, channels: int, *, longest: int, orientations: int, bins: int, reference: float) -> None:
        super().__init__()
        filters, names = bank(longest, orientations)
        self.register_buffer("filters", filters[:, None], persistent=False)
        self.register_buffer("planes", planes(channels)[:, :, None, None], persistent=False)
        self.names = intensity_names(channels) + [
            name if channels == 1 else f"{name}, plane {plane}" for plane in range(channels) for name in names
        ]
        waves = [name for name in names if name.startswith(f"Gabor cosine, {longest // 2 * 2} px")]
        on_brightness = [names[1], waves[0], waves[len(waves) // 2]]
        first = "" if channels == 1 else ", plane 0"
        self.shown = [f"{name}{first}" for name in ("intensity", *dict.fromkeys(on_brightness))]
        self.potentials = Potentials(len(self.names), bins)
        self.reference = reference
        self.halo = filters.shape[-1] - 1

    def responses(self, x: Tensor) -> Tensor:
        """F_k * x at every pixel: `(N, C, H, W)` to `(N, K, H, W)`."""
        seen = F.conv2d(x, self.planes)
        reach = self.filters.shape[-1] // 2
        padded = F.pad(seen, (reach,) * 4, mode="replicate").flatten(0, 1)[:, None]
        filtered = F.conv2d(padded, self.filters).reshape(len(x), -1, *x.shape[-2:])
        return torch.cat([seen, filtered] if x.shape[1] == 1 else [x, seen, filtered], dim=1)

    def fit(self, image: Tensor) -> None:
        """Place the bins of every filter around its responses to `image` `(1, C, H, W)`."""
        self.potentials.fit(self.responses(image))

    def shown_responses(self, x: Tensor) -> Mapping[str, Tensor]:
        """Of the brightness: its intensity, a Laplacian of a Gaussian, and the longest wavelength in two directions."""
        responses, places = self.responses(x), {name: k for k, name in enumerate(self.names)}
        return {name: responses[:, places[name]] for name in self.shown}

    def forward(self, x: Tensor) -> Tensor:
        """f at every pixel: `(N, C, H, W)` to `(N, H, W)`."""
        potentials: Tensor = self.potentials(self.responses(x))
        return potentials.sum(1) + self._reference(x)

    def gradient(self) -> Gradient:
        """∇ₓΣf = Σ_k F_k⁻ * λ_k'(F_k * x) - x/ρ², F_k⁻ the mirrored filter: the convolutions transposed."""

        def gradient(x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                responses = self.responses(x)
            slopes = self.potentials.slopes(responses.detach())
            return torch.autograd.grad(responses, x, slopes)[0] - x.detach() / self.reference**2

        return gradient

    def learn(self, images: Tensor, coefficients: Tensor, positions: Tensor | None = None) -> Tensor:
        """As `ScaleEnergy.learn`: the gradient is the difference of smooth histograms."""
        with torch.no_grad():
            histograms = self.potentials.histograms(self.responses(images), positions)
            difference = torch.tensordot(coefficients, histograms, 1).clamp(-1, 1)
            self.potentials.heights.grad = difference * self.potentials.deviations.square()[:, None]
            weights = 1.0 if positions is None else positions[:, 0]
            reference = (weights * self._reference(images)).mean((1, 2))
            f: Tensor = (self.potentials.heights * histograms).sum((1, 2)) + reference
        return f

    def _reference(self, x: Tensor) -> Tensor:
        return -x.square().sum(1) / (2 * self.reference**2)


def intensity_names(channels: int) -> list[str]:
    """The names of the intensity filters."""
    seen = [f"intensity, plane {plane}" for plane in range(channels)]
    return ["intensity"] if channels == 1 else [*(f"intensity, channel {c}" for c in range(channels)), *seen]
