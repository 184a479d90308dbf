"""The energies of all noise levels of one scale: shared kernels, and factors and biases for each level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.methods.base import ScaleEnergy
from pgcn.methods.base.energy import Gradient
from pgcn.methods.recovery.ladder import Ladder, at
from pgcn.patchgencn.energy import NARROW, WIDE, convolve


class LevelEnergy(ScaleEnergy):
    """f_t(y) = (c_t/σ_t)·g_t((y - m)/c_t) - |y - m|²/2c_t², g_t five 3×3 convolutions with ELU between them.

    m is the image's mean colour and c_t² = s_t² + its variance: the last term is the energy of a Gaussian of this mean
    and variance with the noise of level t. It is nearly exact where noise is strong, so that g has the rest to learn.
    Each channel of a layer has a factor and a bias for each level: h ← ELU(a_t·conv(h) + b_t).
    """

    halo = 10

    def __init__(self, channels: int, ladder: Ladder, *, wide: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("levels", ladder.levels, persistent=False)
        self.kernels, self.factors, self.biases = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        inputs = channels
        for out in (WIDE if wide else NARROW)[:-1]:
            shape = out, channels, 3, 3
            kernel = torch.randn(*shape, generator=generator, device=generator.device) * (2 / (9 * channels)) ** 0.5
            self.kernels.append(nn.Parameter(kernel))
            self.factors.append(nn.Parameter(kernel.new_ones(len(ladder.gaps), out)))
            self.biases.append(nn.Parameter(kernel.new_zeros(len(ladder.gaps), out)))
            channels = out
        last = torch.randn(1, channels, 3, 3, generator=generator, device=generator.device) * 0.005
        self.kernels.append(nn.Parameter(last))
        self.register_buffer("used", torch.tensor(len(ladder.gaps)))
        self.register_buffer("mean", last.new_zeros(inputs))
        self.register_buffer("variance", last.new_tensor(0.25))

    @property
    def ladder(self) -> Ladder:
        """The levels of noise, on the device of the net."""
        return Ladder(self.get_buffer("levels"))

    @property
    def count(self) -> int:
        """The number of levels that the scale has, the clean ones of the ladder."""
        return int(self.get_buffer("used"))

    def set_image(self, image: Tensor, count: int) -> None:
        """Take the mean and variance of the scale's image `(1, C, H, W)`, and the number of its levels."""
        mean = image.mean((0, 2, 3), keepdim=True)
        self.get_buffer("mean").copy_(mean.flatten())
        self.get_buffer("variance").copy_((image - mean).square().mean().clamp_min(1e-4))
        self.get_buffer("used").fill_(count)

    def forward(self, x: Tensor, levels: Tensor | None = None) -> Tensor:
        """f of `x` `(N, C, H, W)` at every position, `(N, H, W)`; `levels` `(N,)` of the images, None: the cleanest."""
        levels = torch.zeros(len(x), dtype=torch.long, device=x.device) if levels is None else levels
        ladder = self.ladder
        mean = self.get_buffer("mean").view(1, -1, 1, 1)
        variance = at(ladder.levels.square() + self.get_buffer("variance"), levels)
        scale, x = variance.sqrt(), x - mean
        h = (x / scale).contiguous(memory_format=torch.channels_last)
        for kernel, factor, bias in zip(self.kernels[:-1], self.factors, self.biases, strict=True):
            h = convolve(h, kernel[None], padding=1)
            h = F.elu(h * factor[levels, :, None, None] + bias[levels, :, None, None])
        f: Tensor = scale / at(ladder.gaps, levels) * convolve(h, self.kernels[-1][None], padding=1)
        return (f - x.square().sum(1, keepdim=True) / (2 * variance))[:, 0]

    def gradient_at(self, levels: Tensor) -> Gradient:
        """σ_t²∇Σf_t at a level for each image `(N,)`, with the present weights."""
        squares = at(self.ladder.gaps.square(), levels)

        def gradient(x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return squares * torch.autograd.grad(self(x, levels).sum(), x)[0]

        return gradient

    def learn_at(self, levels: Tensor, images: Tensor, coefficients: Tensor, positions: Tensor | None) -> Tensor:
        """As `learn`, at a level for each image `(N,)`."""
        with torch.enable_grad():
            return self.set_gradients(self(images, levels), coefficients, positions)
