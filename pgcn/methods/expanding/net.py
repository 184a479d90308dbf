"""The net of one scale: blocks that halve the resolution, the newest first, and a head that sums over positions.

A block is two 3×3 convolutions with spectral norm, SiLU after each, average pooling by two, and beside them a 1×1
convolution with pooling; their sum is divided by √2. A 1×1 convolution reads the channels; a 3×3 one with spectral norm
and SiLU, and a 1×1 one, give f at every position (the published head has one position).
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

ENTRY_STD, LAST_STD = 2.0, 0.005
"""Deviations of the first and last initial weights: features of about one, and small first steps of chains."""


class Kernel(NamedTuple):
    """A kernel of spectral norm `GAIN`, and its bias."""

    kernel: Tensor
    bias: Tensor


class Weights(NamedTuple):
    """Constants of one pass: two kernels and the skip of each block, and the kernel of the head."""

    blocks: list[tuple[Kernel, Kernel, Tensor]]
    head: Kernel

    def detached(self) -> Weights:
        """The same without gradients by parameters."""
        blocks = [(_detached(first), _detached(second), skip.detach()) for first, second, skip in self.blocks]
        return Weights(blocks, _detached(self.head))


def _detached(weights: Kernel) -> Kernel:
    return Kernel(weights.kernel.detach(), weights.bias.detach())


class NormalizedConv(nn.Module):
    """The 3×3 kernel of a convolution of `width` channels, divided by its spectral norm, times `GAIN`."""

    u: Tensor

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kernel = nn.Parameter(_normal(generator, width, width, 3, 3))
        self.bias = nn.Parameter(self.kernel.new_zeros(width))
        u = F.normalize(_normal(generator, width), dim=-1)
        self.register_buffer("u", power_iteration(self.kernel.detach().flatten(1), u, steps=20))

    def begin_iteration(self) -> None:
        """One power iteration."""
        self.u.copy_(power_iteration(self.kernel.detach().flatten(1), self.u))

    def weights(self) -> Kernel:
        """The kernel, differentiable by the parameters; the singular vectors are constants."""
        matrix = self.kernel.flatten(1)
        v = F.normalize(matrix.detach().mT @ self.u, dim=-1)
        return Kernel(GAIN * self.kernel / (self.u @ (matrix @ v)), self.bias)


class Block(nn.Module):
    """Features `(N, width, h, w)` to `(N, width, ⌈h/2⌉, ⌈w/2⌉)`."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first, self.second = NormalizedConv(width, generator), NormalizedConv(width, generator)
        self.skip = nn.Parameter(_normal(generator, width, width, 1, 1) / width**0.5)

    def weights(self) -> tuple[Kernel, Kernel, Tensor]:
        """Both kernels and the skip."""
        return self.first.weights(), self.second.weights(), self.skip


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, device=generator.device)


def convolved(h: Tensor, weights: Kernel) -> Tensor:
    """SiLU of a convolution of features `h`."""
    return F.silu(F.conv2d(h, weights.kernel, weights.bias, padding=1))


def block(h: Tensor, first: Kernel, second: Kernel, skip: Tensor) -> Tensor:
    """The output of a block for features `h`."""
    both: Tensor = (half(convolved(convolved(h, first), second)) + F.conv2d(half(h), skip)) / 2**0.5
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
        self.entry = nn.Parameter(ENTRY_STD * _normal(generator, width, channels, 1, 1) / channels**0.5)
        self.entry_bias = nn.Parameter(self.entry.new_zeros(width))
        self.blocks = nn.ModuleList(Block(width, generator) for _ in range(blocks))
        self.head = NormalizedConv(width, generator)
        self.last = nn.Parameter(LAST_STD * _normal(generator, 1, width, 1, 1))
        self.last_bias = nn.Parameter(self.last.new_zeros(1))
        stride = 2**blocks
        self.area = stride**2
        # The receptive field is 1 + Σ 5·2^i + 2·stride; whole strides keep the positions of a torus in place.
        self.halo = -(-(5 * (stride - 1) + 2 * stride) // stride) * stride
        self.fading: tuple[Callable[[Tensor], Tensor], float] | None = None
        """f_{s-1} with the weights that it has, and α; None: α is one."""

    def begin_iteration(self) -> None:
        """One power iteration of each normalized kernel."""
        for module in self.modules():
            if isinstance(module, NormalizedConv):
                module.begin_iteration()

    def forward(self, x: Tensor) -> Tensor:
        """f at every position: `(N, C, H, W)` to `(N, h, w)`, a side of which is H or W over 2^blocks, rounded up."""
        return self._f(x, self._weights())

    def gradient(self) -> Gradient:
        """∇ₓΣf with the present weights, whose norms are computed once for all steps of a chain."""
        weights = self._weights().detached()

        def gradient(x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self._f(x, weights).sum(), x)[0]

        return gradient

    def grow_from(self, coarse: ExpandingEnergy) -> None:
        """Take the weights of the net of the scale below, whose blocks come after the newest one, as far as they fit.

        The newest block begins as a copy of the one that was the newest: neighbouring scales of an image are alike.
        """
        blocks = [coarse.blocks[0], *coarse.blocks]
        for own, below in zip(self.blocks, blocks, strict=False):
            own.load_state_dict(below.state_dict())
        others = {name: value for name, value in coarse.state_dict().items() if not name.startswith("blocks.")}
        self.load_state_dict(others, strict=False)

    def fade(self, coarse: ExpandingEnergy, share: float) -> None:
        """Mix with the net of the scale below, as it is now: α = `share`."""
        weights = coarse._weights().detached()
        self.fading = None if share >= 1 else (lambda x: coarse._own(x, weights), share)

    def _weights(self) -> Weights:
        return Weights([each.weights() for each in self.blocks if isinstance(each, Block)], self.head.weights())

    def _f(self, x: Tensor, weights: Weights) -> Tensor:
        f = self._own(x, weights)
        if self.fading is None:
            return f
        coarse, share = self.fading
        return share * f + (1 - share) * 4 * spread(coarse(half(x)), f.shape[-2:])

    def _own(self, x: Tensor, weights: Weights) -> Tensor:
        h = F.conv2d(x, self.entry, self.entry_bias)
        for first, second, skip in weights.blocks:
            h = block(h, first, second, skip)
        f: Tensor = self.area * F.conv2d(convolved(h, weights.head), self.last, self.last_bias)[:, 0]
        return f
