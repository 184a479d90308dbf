"""A generator of one scale: a net from the enlarged sample below, and noise, to a sample, in one forward pass.

    g(u, z) = clamp(u + net(u, z), -1, 1),

u the start of a chain (noise at scale 0, above it the enlarged end below) and z a map of normal noise. It is the fast
part of cooperative learning (Xie, Lu, Gao, Zhu and Wu, "Cooperative Training of Descriptor and Generator Networks",
TPAMI 2018), and what the ends of chains are distilled into. It learns both by MCMC teaching: least squares to where a
chain ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.imaging.scales import Size

Sampling = Literal["generator", "both", "chain"]
"""How a sample is drawn at a learned scale: by the generator alone, by it and a chain from there, or by a chain."""

WIDTH, LAYERS, SIDE = 32, 5, 3
"""Channels of the hidden layers, number of convolutions, and side of their kernels, px."""


class GeneratorNet(nn.Module):
    """g of one scale for a batch of B images of C channels, each with its own weights, in convolutions by group.

    `noise` is the number of channels of z; 0: g is a function of u alone. The last layer starts at zero, so that g
    starts as the identity. Each image draws its weights from its own generator, so that it starts the same in any
    batch.
    """

    def __init__(
        self,
        channels: int,
        noise: int,
        generators: Sequence[torch.Generator],
        *,
        width: int = WIDTH,
        layers: int = LAYERS,
    ) -> None:
        super().__init__()
        self.channels, self.noise, self.layers = channels, noise, layers
        self.kernels, self.biases = nn.ParameterList(), nn.ParameterList()
        widths = [channels + noise, *[width] * (layers - 1), channels]
        for at, (c_in, c_out) in enumerate(itertools.pairwise(widths)):
            std = 0.0 if at == layers - 1 else (2 / (c_in * SIDE**2)) ** 0.5  # He et al., 2015
            drawn = [torch.randn(c_out, c_in, SIDE, SIDE, generator=g, device=g.device) for g in generators]
            self.kernels.append(nn.Parameter(std * torch.stack(drawn)))
            self.biases.append(nn.Parameter(torch.zeros(len(generators), c_out, device=generators[0].device)))

    def forward(self, u: Tensor, z: Tensor | None = None, *, wrap: bool = False) -> Tensor:
        """g(u, z): `(N, B·C, H, W)` in [-1, 1] and `(N, B·noise, H, W)` to the shape of u; without gradients.

        No z is one of zeros. With `wrap` the states are tori; else they are in a border of zeros.
        """
        with torch.no_grad():
            state: Tensor = self._unclamped(u, z, wrap).clamp(-1, 1)
        return state

    def _unclamped(self, u: Tensor, z: Tensor | None, wrap: bool) -> Tensor:
        groups = len(self.kernels[0])
        h = u
        if self.noise:
            z = u.new_zeros(len(u), groups * self.noise, *u.shape[-2:]) if z is None else z
            own = [u.unflatten(1, (groups, -1)), z.unflatten(1, (groups, -1))]
            h = torch.cat(own, 2).flatten(1, 2)
        for at, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            h = F.elu(h, inplace=True) if at else h
            h = F.pad(h, [SIDE // 2] * 4, mode="circular") if wrap else h
            h = F.conv2d(h, kernel.flatten(0, 1), bias.flatten(), padding=0 if wrap else SIDE // 2, groups=groups)
        return u + h

    def teach(self, u: Tensor, z: Tensor | None, ends: Tensor, weights: Tensor | None = None) -> Tensor:
        """Set every parameter's gradient to that of Σ_b e_b, e_b = mean |u + net(u, z) - ends|² of image b; returns e.

        `ends` `(N, B·C, H, W)` are where chains ended, `weights` `(N, 1, H, W)` those of positions, 1 by default. What
        is compared is not clamped, so that values beyond [-1, 1] have a gradient.
        """
        parameters = list(self.parameters())
        with torch.enable_grad():
            squares = (self._unclamped(u, z, False) - ends).square()
            if weights is not None:
                squares = squares * weights
            errors: Tensor = squares.unflatten(1, (len(self.biases[0]), -1)).mean((0, 2, 3, 4))
            gradients = torch.autograd.grad(errors.sum(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return errors.detach()

    def of(self, image: int) -> GeneratorNet:
        """A copy of the net of one image, as a batch of one."""
        width, device = self.kernels[0].shape[1], self.kernels[0].device
        net = GeneratorNet(self.channels, self.noise, [torch.Generator()], width=width, layers=self.layers).to(device)
        own = slice(image, image + 1)
        net.load_state_dict({name: value[own].clone() for name, value in self.state_dict().items()})
        return net

    def operations(self, size: Size) -> float:
        """Multiplications and additions of one forward pass of one image of this size."""
        return float(sum(2 * kernel[0].numel() for kernel in self.kernels) * size[0] * size[1])
