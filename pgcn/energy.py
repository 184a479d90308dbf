"""The energy of patches: p(I) ∝ exp Σ f(I), f a five-layer network with a receptive field of 11 pixels.

Zheng, Xie and Li, "Patchwise Generative ConvNet: Training Energy-Based Models from a Single Natural Image for
Internal Learning", CVPR 2021. Sampling goes UP f.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 5
"""Pixels of zero border: five 3x3 valid convolutions take them off again."""

NARROW = (64, 32, 32, 32, 1)
WIDE = (128, 64, 64, 64, 1)


class Weights(NamedTuple):
    """What f needs: kernels `(C_out, C_in, 3, 3)`, spectrally normalized but for the last, and biases."""

    kernels: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def detach(self) -> Weights:
        """The same numbers without gradients, as chains use them."""
        return Weights(tuple(k.detach() for k in self.kernels), tuple(b.detach() for b in self.biases))


Precision = Literal["float32", "bfloat16"]


def pad(x: Tensor) -> Tensor:
    """Add the border of zeros: `(N, C, H, W)` to `(N, C, H + 10, W + 10)`."""
    return F.pad(x, (PAD, PAD, PAD, PAD))


def crop(x: Tensor) -> Tensor:
    """Take the border off: the inverse of `pad`."""
    return x[..., PAD:-PAD, PAD:-PAD]


def energy(padded: Tensor, weights: Weights, precision: Precision = "float32") -> Tensor:
    """f at every position: padded images `(N, 3, H + 10, W + 10)` to `(N, 1, H, W)`, in the input's type.

    ELU after each of the first four layers; the last is plain. With `precision="bfloat16"` the convolutions
    run in bfloat16, except in float64, which is for checking.
    """
    h = padded
    if precision == "bfloat16" and padded.dtype == torch.float32:
        h = h.to(torch.bfloat16)
    h = h.contiguous(memory_format=torch.channels_last)
    last = len(weights.kernels) - 1
    for layer, (kernel, bias) in enumerate(zip(weights.kernels, weights.biases, strict=True)):
        h = F.conv2d(h, kernel.to(h.dtype), bias.to(h.dtype))
        if layer < last:
            h = F.elu(h)
    return h.to(padded.dtype)


def power_iteration(matrix: Tensor, u: Tensor, steps: int = 1) -> Tensor:
    """Improve `u` `(rows,)`, a guess of the first left singular vector of `matrix` `(rows, columns)`."""
    for _ in range(steps):
        v = F.normalize(matrix.mT @ u, dim=0)
        u = F.normalize(matrix @ v, dim=0)
    return u


def largest_singular_value(matrix: Tensor, u: Tensor) -> Tensor:
    """σ = uᵀ M v with v along Mᵀu; `u` and v are constants to the gradient (Miyato et al., 2018)."""
    with torch.no_grad():
        v = F.normalize(matrix.mT @ u, dim=0)
    return torch.dot(u, matrix @ v)


class EnergyNet(nn.Module):
    """The weights of f at one scale, and the singular vectors that its spectral norm keeps.

    Kernels start from N(0, 0.005), biases from zero; `u` starts converged, so that the first updates see a
    true norm.
    """

    def __init__(self, *, wide: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.channels = WIDE if wide else NARROW
        inputs = (3, *self.channels[:-1])

        def randn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=generator.device)

        self.kernels = nn.ParameterList(
            nn.Parameter(0.005 * randn(c_out, c_in, 3, 3)) for c_in, c_out in zip(inputs, self.channels, strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(c_out, device=generator.device)) for c_out in self.channels
        )
        for layer, kernel in enumerate(list(self.kernels)[:-1]):
            u = F.normalize(randn(kernel.shape[0]), dim=0)
            self.register_buffer(f"u{layer}", power_iteration(kernel.detach().flatten(1), u, steps=20))

    def update_norms(self) -> None:
        """One power iteration for each normalized layer: once an update, since chains do not move weights."""
        with torch.no_grad():
            for layer, kernel in enumerate(list(self.kernels)[:-1]):
                u = self.get_buffer(f"u{layer}")
                u.copy_(power_iteration(kernel.flatten(1), u))

    def weights(self) -> Weights:
        """Kernels divided by their largest singular value (the last one as it is), and biases."""
        kernels = list(self.kernels)
        normalized = [
            kernel / largest_singular_value(kernel.flatten(1), self.get_buffer(f"u{layer}"))
            for layer, kernel in enumerate(kernels[:-1])
        ]
        return Weights((*normalized, kernels[-1]), tuple(self.biases))

    def forward(self, padded: Tensor) -> Tensor:
        """`energy` of padded images with these weights."""
        return energy(padded, self.weights())
