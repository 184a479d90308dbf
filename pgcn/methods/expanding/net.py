"""The net of one scale: blocks that halve the resolution, the newest first, and a head that sums over positions.

A block is two 3×3 convolutions with spectral norm, SiLU after each, average pooling by two, and beside them a 1×1
convolution with pooling; their sum is divided by √2. A 1×1 convolution reads the channels, another one gives f.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.methods.base.energy import Gradient, ScaleEnergy
from pgcn.patchgencn.spectral import power_iteration

GAIN = 2.0
"""Factor of normalized kernels. At one, features shrink to where SiLU is linear, and chains draw no detail."""

ENTRY_STD, HEAD_STD = 2.0, 0.005
"""Deviations of the first and last initial weights: features of about one, and small first steps of chains."""


class Weights(NamedTuple):
    """Kernels of one block, those of 3×3 of spectral norm `GAIN`, and biases."""

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    skip: Tensor


class Block(nn.Module):
    """Features `(N, width, h, w)` to `(N, width, ⌈h/2⌉, ⌈w/2⌉)`."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=generator.device)

        self.kernels = nn.ParameterList(nn.Parameter(normal(width, width, 3, 3)) for _ in range(2))
        self.biases = nn.ParameterList(nn.Parameter(normal(width) * 0) for _ in range(2))
        self.skip = nn.Parameter(normal(width, width, 1, 1) / width**0.5)
        for at, kernel in enumerate(self.kernels):
            u = F.normalize(normal(width), dim=-1)
            self.register_buffer(f"u{at}", power_iteration(kernel.detach().flatten(1), u, steps=20))

    def begin_iteration(self) -> None:
        """One power iteration of both kernels."""
        for at, kernel in enumerate(self.kernels):
            u = self.get_buffer(f"u{at}")
            u.copy_(power_iteration(kernel.detach().flatten(1), u))

    def weights(self) -> Weights:
        """The kernels, differentiable by the parameters; the singular vectors are constants."""
        first, second = (self._normalized(at) for at in range(2))
        return Weights(first, self.biases[0], second, self.biases[1], self.skip)

    def _normalized(self, at: int) -> Tensor:
        kernel, u = self.kernels[at], self.get_buffer(f"u{at}")
        matrix = kernel.flatten(1)
        v = F.normalize(matrix.detach().mT @ u, dim=-1)
        norm: Tensor = u @ (matrix @ v)
        normalized: Tensor = GAIN * kernel / norm
        return normalized


def block(h: Tensor, weights: Weights) -> Tensor:
    """The output of a block for features `h`."""
    inner = F.silu(F.conv2d(h, weights.first, weights.first_bias, padding=1))
    inner = F.silu(F.conv2d(inner, weights.second, weights.second_bias, padding=1))
    both: Tensor = (half(inner) + F.conv2d(half(h), weights.skip)) / 2**0.5
    return both


def half(x: Tensor) -> Tensor:
    """Means of 2×2 px, `(N, C, ⌈H/2⌉, ⌈W/2⌉)`; at odd sides of those pixels that there are."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def spread(f: Tensor, size: Sequence[int]) -> Tensor:
    """f of positions `(N, h, w)`, each divided equally among the 2×2 finer positions of it that `size` has.

    Σ stays the same. f itself where it has `size` already.
    """
    if tuple(f.shape[-2:]) == tuple(size):
        return f
    height, width = size
    finer = F.avg_pool2d(f.new_ones(1, height, width), 2, ceil_mode=True, divisor_override=1)
    shares: Tensor = f / finer
    return shares.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., :height, :width]


class ExpandingEnergy(ScaleEnergy):
    """f_s of a scale, and while it fades in (1 - α)·4·f_{s-1}(half(x)) + α·f_s(x).

    f of a position counts for each of the 4^blocks pixels of it, so that Σf grows with pixels and not with positions.

    The sum over positions of f_{s-1} at half the sides has a quarter of the pixels: the factor 4 makes its gradient by
    a pixel as large as it was at its own scale.
    """

    def __init__(self, channels: int, width: int, blocks: int, generator: torch.Generator) -> None:
        super().__init__()
        kernel = torch.randn(width, channels, 1, 1, generator=generator, device=generator.device)
        self.entry, self.entry_bias = nn.Parameter(ENTRY_STD * kernel / channels**0.5), nn.Parameter(kernel.new_zeros(width))
        self.blocks = nn.ModuleList(Block(width, generator) for _ in range(blocks))
        head = torch.randn(1, width, 1, 1, generator=generator, device=generator.device)
        self.head, self.head_bias = nn.Parameter(HEAD_STD * head), nn.Parameter(kernel.new_zeros(1))
        stride = 2**blocks
        self.area = stride**2
        # The receptive field is 1 + Σ 5·2^i; whole strides keep the positions of a torus in place.
        self.halo = 5 * (stride - 1) + (-5 * (stride - 1)) % stride
        self.fading: tuple[Callable[[Tensor], Tensor], float] | None = None
        """f_{s-1} with the weights that it has, and α; None: α is one."""

    def begin_iteration(self) -> None:
        """One power iteration of each normalized kernel."""
        for each in self._blocks():
            each.begin_iteration()

    def forward(self, x: Tensor) -> Tensor:
        """f at every position: `(N, C, H, W)` to `(N, h, w)`, a side of which is H or W over 2^blocks, rounded up."""
        return self._f(x, [each.weights() for each in self._blocks()])

    def gradient(self) -> Gradient:
        """∇ₓΣf with the present weights, whose norms are computed once for all steps of a chain."""
        weights = [Weights(*(value.detach() for value in each.weights())) for each in self._blocks()]

        def gradient(x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self._f(x, weights).sum(), x)[0]

        return gradient

    def grow_from(self, coarse: ExpandingEnergy) -> None:
        """Take the weights of the net of the scale below: its blocks come after the newest one, as far as they fit."""
        with torch.no_grad():
            for own, other in (
                (self.entry, coarse.entry),
                (self.entry_bias, coarse.entry_bias),
                (self.head, coarse.head),
                (self.head_bias, coarse.head_bias),
            ):
                own.copy_(other)
        for mine, below in zip(self._blocks()[1:], coarse._blocks(), strict=False):
            mine.load_state_dict(below.state_dict())

    def fade(self, coarse: ExpandingEnergy, share: float) -> None:
        """Mix with the net of the scale below, as it is now: α = `share`."""
        weights = [Weights(*(value.detach() for value in each.weights())) for each in coarse._blocks()]
        self.fading = None if share >= 1 else (lambda x: coarse._own(x, weights), share)

    def _blocks(self) -> list[Block]:
        return [each for each in self.blocks if isinstance(each, Block)]

    def _f(self, x: Tensor, weights: Sequence[Weights]) -> Tensor:
        f = self._own(x, weights)
        if self.fading is None:
            return f
        coarse, share = self.fading
        return share * f + (1 - share) * 4 * spread(coarse(half(x)), f.shape[-2:])

    def _own(self, x: Tensor, weights: Sequence[Weights]) -> Tensor:
        h = F.conv2d(x, self.entry, self.entry_bias)
        for each in weights:
            h = block(h, each)
        return self.area * F.conv2d(h, self.head, self.head_bias)[:, 0]
