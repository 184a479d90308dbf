"""The texture energy: the error of a denoising net, at a noise level σ.

The net maps a noisy image x̃ and σ to an estimate of the image, r(x̃, σ) = x̃ + σ·n(x̃, σ): five 3×3 convolutions with SiLU
between them, whose features are shifted by channel by a function of log σ. Its energy at σ is

    E(x, σ) = |x - r(x, σ)|²/2σ² = |n(x, σ)|²/2,   f = -E,

at every pixel; the receptive field of n is 11 px. Of noisy images x + σε the same error is the loss of denoising:

    |x - r(x + σε, σ)|²/2σ² = |ε + n(x + σε, σ)|²/2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.methods.base.energy import Gradient, ScaleEnergy

LAYERS = 5


class DenoisingEnergy(ScaleEnergy):
    """f = -E at the noise level `sigma`, of a net that is trained on levels from `lowest` to `highest`.

    These three are in units of the buffer `unit`, the standard deviation of the image; other noise levels are in the
    units of images.
    """

    halo = 4 * LAYERS
    unit: Tensor

    def __init__(
        self,
        channels: int,
        width: int,
        generator: torch.Generator,
        *,
        sigma: float,
        lowest: float,
        highest: float,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        """Factor of contrastive gradients, beside those of denoising."""
        self.sigma, self.middle = sigma, math.log(lowest * highest) / 2
        """The noise level of the energy, and the mean of the logarithms of all levels."""
        self.register_buffer("unit", torch.ones((), device=generator.device))
        sides = [channels, *[width] * (LAYERS - 1), channels]
        self.kernels, self.biases, self.shifts = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for at in range(LAYERS):
            # Small at the end: an untrained net changes its input little.
            std = (2 / (9 * sides[at])) ** 0.5 * (1 if at < LAYERS - 1 else 0.1)
            kernel = torch.randn(sides[at + 1], sides[at], 3, 3, generator=generator, device=generator.device)
            self.kernels.append(nn.Parameter(std * kernel))
            self.biases.append(nn.Parameter(kernel.new_zeros(sides[at + 1])))
            self.shifts.append(nn.Parameter(kernel.new_zeros(sides[at + 1])))

    @property
    def level(self) -> float:
        """The noise level of the energy, in the units of images."""
        return self.sigma * float(self.unit)

    def correction(self, x: Tensor, sigma: Tensor) -> Tensor:
        """n(x, σ) of images `(N, C, H, W)` with noise of `sigma` `(N,)`; r(x, σ) = x + σ·n."""
        return self._correction(x, sigma, [*self.kernels], [*self.biases], [*self.shifts])

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """r(x, σ): the estimate of the image from a noisy one, both `(N, C, H, W)`."""
        return x + sigma * self.correction(x, x.new_full((len(x),), sigma))

    def forward(self, x: Tensor) -> Tensor:
        """-E(x, σ) at every pixel: `(N, C, H, W)` to `(N, H, W)`."""
        n = self.correction(x, x.new_full((len(x),), self.level))
        return -n.square().sum(1) / 2

    def gradient(self) -> Gradient:
        """∇ₓΣf = -Jᵀn with the present weights."""
        kernels, biases, shifts = ([one.detach() for one in own] for own in (self.kernels, self.biases, self.shifts))

        def gradient(x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                n = self._correction(x, x.new_full((len(x),), self.level), kernels, biases, shifts)
                return -torch.autograd.grad(n, x, n.detach())[0]

        return gradient

    def learn(self, images: Tensor, coefficients: Tensor, positions: Tensor | None = None) -> Tensor:
        """As `ScaleEnergy.learn`, with gradients times `weight`."""
        return super().learn(images, self.weight * coefficients, positions)

    def denoise(self, clean: Tensor, sigma: Tensor, noise: Tensor, positions: Tensor | None = None) -> Tensor:
        """Set every parameter's gradient to that of the mean of |ε + n(x + σε, σ)|²/2 by pixel; returns the mean.

        `clean` is x `(N, C, H, W)`, `noise` is ε of that shape, `sigma` `(N,)`; `positions` are weights `(1, 1, H, W)`.
        """
        parameters = list(self.parameters())
        with torch.enable_grad():
            n = self.correction(clean + sigma.view(-1, 1, 1, 1) * noise, sigma)
            errors = (noise + n).square().sum(1, keepdim=True) / 2
            loss = (errors if positions is None else positions * errors).mean()
            gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss.detach()

    def _correction(
        self, x: Tensor, sigma: Tensor, kernels: list[Tensor], biases: list[Tensor], shifts: list[Tensor]
    ) -> Tensor:
        level = ((sigma / self.unit).log() - self.middle).view(-1, 1, 1, 1)
        h = x
        for at, (kernel, bias, shift) in enumerate(zip(kernels, biases, shifts, strict=True)):
            h = F.conv2d(h, kernel, padding=1) + (bias.view(-1, 1, 1) + level * shift.view(-1, 1, 1))
            h = F.silu(h) if at < LAYERS - 1 else h
        return h
