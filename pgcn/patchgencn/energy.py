"""The energy function of PatchGenCN: p(I) ∝ exp Σ f(I), f a five-layer network with a receptive field of 11 pixels.

Zheng, Xie and Li, "Patchwise Generative ConvNet: Training Energy-Based Models from a Single Natural Image for
Internal Learning", CVPR 2021. f has the paper's sign: a chain ascends f. The public `Pyramid.energy` is -f.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.fused import is_fused
from pgcn.patchgencn.spectral import power_iteration
from pgcn.patchgencn.weights import PAD, Precision, Weights
from pgcn.settings import Step

ONE_DNN = torch.backends.mkldnn.is_available()

RGB_CHANNELS = 3
"""Channels of the states that the kernels for GPUs take; others run in plain PyTorch there."""

NARROW = (64, 32, 32, 32, 1)
WIDE = (128, 64, 64, 64, 1)


def pad(x: Tensor) -> Tensor:
    """Add the zero border: `(N, C, H, W)` to `(N, C, H + 10, W + 10)`."""
    return F.pad(x, (PAD, PAD, PAD, PAD))


def crop(x: Tensor) -> Tensor:
    """Remove the border: the inverse of `pad`."""
    return x[..., PAD:-PAD, PAD:-PAD]


def convolve(h: Tensor, kernel: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """Convolve each image of a batch with its own kernel: h `(N, B·C_in, H, W)`, kernel `(B, C_out, C_in, 3, 3)`.

    Channels are last in memory, the layout in which oneDNN and cuDNN are fast.
    """
    flat = kernel.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    offset = None if bias is None else bias.flatten()
    if ONE_DNN and h.device.type == "cpu" and h.dtype == torch.float32:
        # torch itself does not use oneDNN for small single images; its own loop takes up to 1.4 times as long.
        out: Tensor = torch.ops.aten.mkldnn_convolution(h, flat, offset, [padding] * 2, [1, 1], [1, 1], len(kernel))
        return out
    return F.conv2d(h, flat, offset, padding=padding, groups=len(kernel))


def energy(padded: Tensor, weights: Weights, precision: Precision = "float32") -> Tensor:
    """f at every position: padded images `(N, B·C, H + 10, W + 10)` to `(N, B, H, W)`.

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

    `padded` is `(N, B·C, H + 10, W + 10)`, `coefficients` `(N,)`: the same for all images of a batch. `positions`
    `(1, 1, H, W)` are the weights of positions in the mean, 1 by default.
    """
    if positions is None and runs_winograd(weights, precision):
        from pgcn.patchgencn.winograd import WinogradGradient

        return WinogradGradient(weights).energies(padded, coefficients)
    leaves = Weights(*(tuple(x.detach().requires_grad_() for x in part) for part in weights))
    with torch.enable_grad():
        f_at = energy(padded, leaves, precision)
        f = (f_at if positions is None else f_at * positions).mean((2, 3))
        loss = (coefficients.unsqueeze(1) * f).sum()
    gradients = torch.autograd.grad(loss, [*leaves.kernels, *leaves.biases])
    return f.detach(), Weights(gradients[: len(leaves.kernels)], gradients[len(leaves.kernels) :])


@runtime_checkable
class FusedLangevin(Protocol):
    """A gradient that brings faster versions of `pgcn.patchgencn.langevin.langevin` and `energies`."""

    def __call__(self, padded: Tensor, /) -> Tensor:
        """∇Σf."""

    def run(self, x: Tensor, steps: Sequence[Step], draw: Callable[[Tensor], Tensor]) -> Tensor:
        """As `pgcn.patchgencn.langevin.langevin`: the end of the chain from `x`."""

    def energies(self, padded: Tensor, coefficients: Tensor) -> tuple[Tensor, Weights]:
        """As `energies`."""


def runs_winograd(weights: Weights, precision: Precision) -> bool:
    """True where `pgcn.patchgencn.winograd` computes: one image, in float32, on a processor.

    Unless `PGCN_PLAIN` is set in the environment.
    """
    kernel = weights.kernels[0]
    plain = len(kernel) > 1 or kernel.dtype != torch.float32 or precision != "float32" or kernel.device.type != "cpu"
    return not (plain or os.environ.get("PGCN_PLAIN"))


def _number_format(x: Tensor, precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bfloat16" and x.dtype == torch.float32 else x.dtype


def energy_gradient(
    weights: Weights, precision: Precision = "float32", former: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """A function from padded images `(N, B·C, H + 10, W + 10)` to ∇Σf there, for constant weights.

    `former` is a gradient for weights of the same shapes that is no longer used: its buffers may be taken over.

    One image in float32 on a processor has `pgcn.patchgencn.winograd`, GPUs `pgcn.patchgencn.kernels`. For others the
    backward pass is written out, which takes 0.88 to 0.98 of the time of autograd on a CPU core
    (`benchmarks/gradient.py`): f itself is not computed, the gradient behind the last layer is the same at every step,
    and the gradient of each convolution is a convolution with the flipped kernel.
    """
    if runs_winograd(weights, precision):
        from pgcn.patchgencn.winograd import WinogradGradient

        if isinstance(former, WinogradGradient):
            former.load(weights)
            return former
        return WinogradGradient(weights)
    if is_fused(weights.kernels[0]) and weights.kernels[0].shape[2] == RGB_CHANNELS:
        from pgcn.patchgencn.kernels import FusedGradient

        return FusedGradient(weights, precision)
    kernels, biases = weights.detach().to(_number_format(weights.kernels[0], precision))
    flipped = [kernel.flip(3, 4).transpose(1, 2) for kernel in kernels]
    ends: dict[torch.Size, Tensor] = {}

    def end(images: int, height: int, width: int) -> Tensor:
        """∇Σf at the last layer's input, which depends on its kernel alone."""
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
    """`pgcn.patchgencn.spectral`, or its version for GPUs."""
    return import_module("pgcn.patchgencn.spectral_kernels" if is_fused(x) else "pgcn.patchgencn.spectral")


class EnergyNet(nn.Module):
    """The weights of f at one scale for a batch of images, and the singular vectors of their spectral norms.

    Kernels start from N(0, 0.005), biases from zero; `u` starts converged, so that the norm is right from the first
    iteration on. Each image draws from its own generator, so that it starts the same in any batch.

    With C channels f(x) = C/3·net(√(3/C)·x). So the network sees values of the same norm, and a step of a chain changes
    them as much, whatever C is: gray as one channel is learned as gray in three equal ones is.
    """

    def __init__(self, *, wide: bool, generators: Sequence[torch.Generator], inputs: int = 3) -> None:
        super().__init__()
        self.channels = WIDE if wide else NARROW
        self._input_scale, self._output_scale = (3 / inputs) ** 0.5, inputs / 3
        widths = (inputs, *self.channels[:-1])

        def randn(*shape: int) -> Tensor:
            return torch.stack([torch.randn(*shape, generator=g, device=g.device) for g in generators])

        self.kernels = nn.ParameterList(
            nn.Parameter(0.005 * randn(c_out, c_in, 3, 3)) for c_in, c_out in zip(widths, self.channels, strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(self.kernels[0].new_zeros(len(generators), c_out)) for c_out in self.channels
        )
        for layer, kernel in enumerate(list(self.kernels)[:-1]):
            u = F.normalize(randn(kernel.shape[1]), dim=-1)
            self.register_buffer(f"u{layer}", power_iteration(kernel.detach().flatten(2), u, steps=20))

    def update_norms(self) -> None:
        """One power iteration for each normalized layer; due once an iteration, since chains keep the weights."""
        kernels, us = self._layers()
        _spectral(us[0]).iterate(kernels, us)

    def weights(self) -> Weights:
        """Kernels divided by their largest singular value (except the last), and biases; without gradients."""
        kernels, us = self._layers()
        normalized = _spectral(us[0]).normalized(kernels, us)
        biases = tuple(bias.detach() for bias in self.biases)
        return self._scaled(Weights((*normalized, self.kernels[-1].detach()), biases))

    def _scaled(self, weights: Weights) -> Weights:
        """Weights with the factors of the channels in their first and last layer; its own adjoint, for gradients."""
        if self._output_scale == 1:
            return weights
        first, *inner, last = weights.kernels
        kernels = (first * self._input_scale, *inner, last * self._output_scale)
        return Weights(kernels, (*weights.biases[:-1], weights.biases[-1] * self._output_scale))

    def set_gradients(self, by_weights: Weights) -> None:
        """Set every parameter's gradient from the gradient with respect to `weights()`."""
        kernels, us = self._layers()
        by_weights = self._scaled(by_weights)
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
