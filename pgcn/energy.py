"""The energy of patches: p(I) ∝ exp Σ f(I), f a five-layer network with a receptive field of 11 pixels.

Zheng, Xie and Li, "Patchwise Generative ConvNet: Training Energy-Based Models from a Single Natural Image for
Internal Learning", CVPR 2021. Sampling goes UP f.
"""

from __future__ import annotations

from collections.abc import Callable
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


def energy(padded: Tensor, weights: Weights) -> Tensor:
    """f at every position: padded images `(N, 3, H + 10, W + 10)` to `(N, 1, H, W)`.

    ELU after each of the first four layers; the last is plain.
    """
    h = padded.contiguous(memory_format=torch.channels_last)
    for kernel, bias in zip(weights.kernels[:-1], weights.biases[:-1], strict=True):
        h = F.elu(F.conv2d(h, kernel, bias))
    return F.conv2d(h, weights.kernels[-1], weights.biases[-1])


def energy_gradient(weights: Weights, precision: Precision = "float32") -> Callable[[Tensor], Tensor]:
    """The function that maps padded images `(N, 3, H + 10, W + 10)` to ∇Σf there, for weights that stay.

    The five layers written out, which on a CPU core takes 0.88 to 0.98 of the time of autograd
    (`benchmarks/gradient.py`): f itself is never formed, the last layer's part is the same at every step, and
    each convolution's gradient is one with the flipped kernel.
    """

    def prepare(kernel: Tensor) -> Tensor:
        half = precision == "bfloat16" and kernel.dtype == torch.float32
        return kernel.to(torch.bfloat16 if half else kernel.dtype).contiguous(memory_format=torch.channels_last)

    kernels = [prepare(kernel) for kernel in weights.kernels]
    biases = [bias.to(kernel.dtype) for bias, kernel in zip(weights.biases, kernels, strict=True)]
    flipped = [prepare(kernel.flip(2, 3).transpose(0, 1)) for kernel in kernels]
    ends: dict[torch.Size, Tensor] = {}

    def end(images: int, height: int, width: int) -> Tensor:
        """∇Σf at the last layer's input: a function of its kernel alone."""
        ones = kernels[-1].new_ones(images, 1, height - 2 * PAD, width - 2 * PAD)
        return F.conv2d(ones, flipped[-1], padding=2).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def gradient(padded: Tensor) -> Tensor:
        if padded.shape not in ends:
            ends[padded.shape] = end(padded.shape[0], *padded.shape[-2:])
        h = padded.to(kernels[0].dtype).contiguous(memory_format=torch.channels_last)
        activations = []
        for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
            h = F.elu(F.conv2d(h, kernel, bias), inplace=True)
            activations.append(h)
        g = ends[padded.shape]
        for kernel, a in zip(reversed(flipped[:-1]), reversed(activations), strict=True):
            # ELU' is 1 above zero and exp(x) = ELU + 1 below.
            g = F.conv2d(g * a.add_(1).clamp_(max=1), kernel, padding=2)
        return g.to(padded.dtype)

    return gradient


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
