"""The energy of patches: p(I) ∝ exp Σ f(I), f a five-layer network with a receptive field of 11 pixels.

Zheng, Xie and Li, "Patchwise Generative ConvNet: Training Energy-Based Models from a Single Natural Image for
Internal Learning", CVPR 2021. Sampling goes UP f.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.patchgencn.spectral import power_iteration
from pgcn.settings import Step

ONE_DNN = torch.backends.mkldnn.is_available()
HAS_TRITON = find_spec("triton") is not None and any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))
"""Triton compiles with the machine's C compiler, too."""

PAD = 5
"""Pixels of zero border: five 3x3 valid convolutions take them off again."""

NARROW = (64, 32, 32, 32, 1)
WIDE = (128, 64, 64, 64, 1)


class Weights(NamedTuple):
    """What f needs, for a stack of B images that are learned side by side; B is 1 for one image.

    Kernels `(B, C_out, C_in, 3, 3)`, spectrally normalized but for the last, and biases `(B, C_out)`.
    """

    kernels: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def detach(self) -> Weights:
        """The same numbers without gradients, as chains use them."""
        return Weights(tuple(k.detach() for k in self.kernels), tuple(b.detach() for b in self.biases))

    def of(self, image: int) -> Weights:
        """One image's, as a stack of one."""
        one = slice(image, image + 1)
        return Weights(tuple(k[one] for k in self.kernels), tuple(b[one] for b in self.biases))

    def to(self, where: str | torch.device | torch.dtype) -> Weights:
        """The same on a device, or in a number format."""
        return Weights(tuple(k.to(where) for k in self.kernels), tuple(b.to(where) for b in self.biases))


Precision = Literal["float32", "bfloat16"]
"""Of the convolutions. Weights, states of chains, means and updates are float32 in both."""


def pad(x: Tensor) -> Tensor:
    """Add the border of zeros: `(N, C, H, W)` to `(N, C, H + 10, W + 10)`."""
    return F.pad(x, (PAD, PAD, PAD, PAD))


def crop(x: Tensor) -> Tensor:
    """Take the border off: the inverse of `pad`."""
    return x[..., PAD:-PAD, PAD:-PAD]


def convolve(h: Tensor, kernel: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """Each image of a stack with its own kernel: h `(N, B·C_in, H, W)`, kernel `(B, C_out, C_in, 3, 3)`.

    Channels stay last in memory, which is what oneDNN and cuDNN are fast with.
    """
    flat = kernel.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    offset = None if bias is None else bias.flatten()
    if ONE_DNN and h.device.type == "cpu" and h.dtype == torch.float32:
        # torch itself sends small single images past oneDNN, to a loop that takes up to 1.4 times as long for the net.
        out: Tensor = torch.ops.aten.mkldnn_convolution(h, flat, offset, [padding] * 2, [1, 1], [1, 1], len(kernel))
        return out
    return F.conv2d(h, flat, offset, padding=padding, groups=len(kernel))


def energy(padded: Tensor, weights: Weights, precision: Precision = "float32") -> Tensor:
    """f at every position: padded images `(N, B·3, H + 10, W + 10)` to `(N, B, H, W)`.

    ELU after each of the first four layers; the last is plain.
    """
    form = _number_format(padded, precision)
    weights = weights.to(form)
    h = padded.to(form).contiguous(memory_format=torch.channels_last)
    for kernel, bias in zip(weights.kernels[:-1], weights.biases[:-1], strict=True):
        h = F.elu(convolve(h, kernel, bias), inplace=True)
    return convolve(h, weights.kernels[-1], weights.biases[-1]).to(padded.dtype)


def energies(
    padded: Tensor,
    coefficients: Tensor,
    weights: Weights,
    precision: Precision = "float32",
    positions: Tensor | None = None,
) -> tuple[Tensor, Weights]:
    """Mean f of each padded image, `(N, B)`, and the gradient of Σ_n coefficients[n]·f[n] by the weights.

    `padded` is `(N, B·3, H + 10, W + 10)`, `coefficients` `(N,)`: the same for all images of a stack. `positions`
    `(1, 1, H, W)` says how much each counts in the mean, 1 where it is not given.
    """
    leaves = Weights(*(tuple(x.detach().requires_grad_() for x in part) for part in weights))
    with torch.enable_grad():
        f_at = energy(padded, leaves, precision)
        f = (f_at if positions is None else f_at * positions).mean((2, 3))
        loss = (coefficients.unsqueeze(1) * f).sum()
    gradients = torch.autograd.grad(loss, [*leaves.kernels, *leaves.biases])
    return f.detach(), Weights(gradients[: len(leaves.kernels)], gradients[len(leaves.kernels) :])


@runtime_checkable
class FusedLangevin(Protocol):
    """A gradient that has faster ways of its own for `pgcn.patchgencn.langevin.langevin` and `energies`."""

    def __call__(self, padded: Tensor, /) -> Tensor:
        """∇Σf."""

    def climb(self, x: Tensor, steps: Sequence[Step], draw: Callable[[Tensor], Tensor]) -> Tensor:
        """As `pgcn.patchgencn.langevin.langevin`."""

    def energies(self, padded: Tensor, coefficients: Tensor) -> tuple[Tensor, Weights]:
        """As `energies`."""


def is_fused(x: Tensor) -> bool:
    """Whether `pgcn.patchgencn.kernels` does the arithmetic for tensors such as `x`.

    It does on a GPU with Triton, unless `PGCN_PLAIN` is set in the environment.
    """
    return x.is_cuda and x.dtype == torch.float32 and not os.environ.get("PGCN_PLAIN") and HAS_TRITON


def _number_format(x: Tensor, precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bfloat16" and x.dtype == torch.float32 else x.dtype


def energy_gradient(weights: Weights, precision: Precision = "float32") -> Callable[[Tensor], Tensor]:
    """The function that maps padded images `(N, B·3, H + 10, W + 10)` to ∇Σf there, for weights that stay.

    The five layers written out, which on a CPU core takes 0.88 to 0.98 of the time of autograd
    (`benchmarks/gradient.py`): f itself is never formed, the last layer's part is the same at every step, and
    each convolution's gradient is one with the flipped kernel. On a GPU see `pgcn.patchgencn.kernels`.
    """
    if is_fused(weights.kernels[0]):
        from pgcn.patchgencn.kernels import FusedGradient

        return FusedGradient(weights, precision)
    kernels, biases = weights.detach().to(_number_format(weights.kernels[0], precision))
    flipped = [kernel.flip(3, 4).transpose(1, 2) for kernel in kernels]
    ends: dict[torch.Size, Tensor] = {}

    def end(images: int, height: int, width: int) -> Tensor:
        """∇Σf at the last layer's input: a function of its kernel alone."""
        ones = kernels[-1].new_ones(images, len(kernels[-1]), height - 2 * PAD, width - 2 * PAD)
        return convolve(ones, flipped[-1], padding=2).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def gradient(padded: Tensor) -> Tensor:
        if padded.shape not in ends:
            ends[padded.shape] = end(padded.shape[0], *padded.shape[-2:])
        h = padded.to(kernels[0].dtype).contiguous(memory_format=torch.channels_last)
        activations = []
        for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
            h = F.elu(convolve(h, kernel, bias), inplace=True)
            activations.append(h)
        g = ends[padded.shape]
        for kernel, a in zip(reversed(flipped[:-1]), reversed(activations), strict=True):
            # ELU' is 1 above zero and exp(x) = ELU + 1 below.
            g = convolve(g * a.add_(1).clamp_(max=1), kernel, padding=2)
        return g.to(padded.dtype)

    return gradient


def _spectral(x: Tensor) -> ModuleType:
    """`pgcn.patchgencn.spectral`, or its likeness for GPUs."""
    return import_module("pgcn.patchgencn.spectral_kernels" if is_fused(x) else "pgcn.patchgencn.spectral")


class EnergyNet(nn.Module):
    """The weights of f at one scale for a stack of images, and the singular vectors that their spectral norms keep.

    Kernels start from N(0, 0.005), biases from zero; `u` starts converged, so that the first updates see a
    true norm. Each image draws from its own generator, so that it starts the same in any stack.
    """

    def __init__(self, *, wide: bool, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.channels = WIDE if wide else NARROW
        inputs = (3, *self.channels[:-1])

        def randn(*shape: int) -> Tensor:
            return torch.stack([torch.randn(*shape, generator=g, device=g.device) for g in generators])

        self.kernels = nn.ParameterList(
            nn.Parameter(0.005 * randn(c_out, c_in, 3, 3)) for c_in, c_out in zip(inputs, self.channels, strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(self.kernels[0].new_zeros(len(generators), c_out)) for c_out in self.channels
        )
        for layer, kernel in enumerate(list(self.kernels)[:-1]):
            u = F.normalize(randn(kernel.shape[1]), dim=-1)
            self.register_buffer(f"u{layer}", power_iteration(kernel.detach().flatten(2), u, steps=20))

    def update_norms(self) -> None:
        """One power iteration for each normalized layer: once an update, since chains do not move weights."""
        kernels, us = self._layers()
        _spectral(us[0]).iterate(kernels, us)

    def weights(self) -> Weights:
        """Kernels divided by their largest singular value (the last one as it is), and biases; without gradients."""
        kernels, us = self._layers()
        normalized = _spectral(us[0]).normalized(kernels, us)
        return Weights((*normalized, self.kernels[-1].detach()), tuple(bias.detach() for bias in self.biases))

    def set_gradients(self, by_weights: Weights) -> None:
        """Give every parameter its gradient, from that by `weights()`."""
        kernels, us = self._layers()
        projected = _spectral(us[0]).projected(kernels, us, by_weights.kernels[:-1])
        gradients = [*projected, by_weights.kernels[-1], *by_weights.biases]
        for parameter, gradient in zip([*self.kernels, *self.biases], gradients, strict=True):
            parameter.grad = gradient.contiguous()

    def _layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """The kernels of the normalized layers, and their u."""
        kernels = [kernel.detach() for kernel in self.kernels][:-1]
        return kernels, [self.get_buffer(f"u{layer}") for layer in range(len(kernels))]

    def forward(self, padded: Tensor) -> Tensor:
        """`energy` of padded images with these weights."""
        return energy(padded, self.weights())
