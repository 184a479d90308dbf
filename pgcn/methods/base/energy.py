"""Energy nets of one scale: p(x) ∝ exp Σ f(x), f a convolutional net, with gradients by autograd or written out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.patchgencn.energy import EnergyNet, crop, energies, energy, energy_gradient, pad
from pgcn.patchgencn.spectral import power_iteration
from pgcn.patchgencn.weights import PAD, Precision

Gradient = Callable[[Tensor], Tensor]
"""Maps images `(N, C, H, W)` to ∇ₓΣf there, for constant weights."""


class ScaleEnergy(nn.Module):
    """The net f of one scale of one image. A subclass has `forward`; the rest follows by autograd.

    `halo` is the distance, px, up to which a pixel's gradient depends on other pixels.
    """

    halo: int = 0

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """f at every position: images `(N, C, H, W)` to `(N, h, w)`, of the same size or a smaller one."""

    def begin_iteration(self) -> None:
        """Called once before the chains of an iteration: the place for one power iteration of spectral norms."""

    def gradient(self) -> Gradient:
        """∇ₓΣf with the present weights."""

        def gradient(x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self(x).sum(), x)[0]

        return gradient

    def learn(self, images: Tensor, coefficients: Tensor, positions: Tensor | None = None) -> Tensor:
        """Set every parameter's gradient to that of Σ_n coefficients[n]·f[n]; returns the mean f of each image, `(N,)`.

        `images` is `(N, C, H, W)`, `coefficients` `(N,)`, `positions` `(1, 1, H, W)` are weights in the mean, 1 by
        default.
        """
        with torch.enable_grad():
            return self.set_gradients(self(images), coefficients, positions)

    def set_gradients(self, f_at: Tensor, coefficients: Tensor, positions: Tensor | None) -> Tensor:
        """As `learn`, for f at every position, `(N, h, w)`, computed with gradients."""
        parameters = list(self.parameters())
        if positions is not None:
            f_at = f_at * pooled(positions, f_at)
        f: Tensor = f_at.mean((1, 2))
        gradients = torch.autograd.grad((coefficients * f).sum(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return f.detach()

    def energy(self, x: Tensor) -> Tensor:
        """-f of `x` `(N, C, H, W)` at every pixel, `(N, H, W)`; that of a net with strides is enlarged."""
        with torch.no_grad():
            f: Tensor = self(x)
        if f.shape[-2:] != x.shape[-2:]:
            f = F.interpolate(f[:, None], size=x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return -f


def pooled(x: Tensor, f: Tensor) -> Tensor:
    """The means of `x` `(N, 1, H, W)` over the pixels of each position of `f` `(N, h, w)`."""
    return F.adaptive_avg_pool2d(x, (f.shape[-2], f.shape[-1]))[:, 0]


class Layer(NamedTuple):
    """One convolution: channels of its output, side of its kernel, and stride, px."""

    channels: int
    side: int
    stride: int = 1


class StackEnergy(ScaleEnergy):
    """f = the last of a stack of convolutions, with ELU between them, plus an optional Gaussian reference.

    f(x) is divided into positions: each carries the reference's share -|x|²/2ρ², so that Σf has the whole of it.
    Layers are zero-padded by half their side. With `normalize`, kernels except the last are divided by their spectral
    norm. The first layer sees `input_scale`·x.
    """

    def __init__(
        self,
        channels: int,
        layers: Sequence[Layer],
        generator: torch.Generator,
        *,
        normalize: bool = True,
        reference: float | None = None,
        input_scale: float = 1.0,
        kernel_std: float = 0.005,
    ) -> None:
        super().__init__()
        self.layers, self.normalize, self.reference, self.input_scale = layers, normalize, reference, input_scale
        self.kernels, self.biases = nn.ParameterList(), nn.ParameterList()
        self.halo, step = 0, 1
        for layer in layers:
            shape = layer.channels, channels, layer.side, layer.side
            kernel = kernel_std * torch.randn(*shape, generator=generator, device=generator.device)
            self.kernels.append(nn.Parameter(kernel))
            self.biases.append(nn.Parameter(kernel.new_zeros(layer.channels)))
            channels = layer.channels
            self.halo += (layer.side - 1) * step
            step *= layer.stride
        for at in range(len(layers) - 1 if normalize else 0):
            matrix = self.kernels[at].detach().flatten(1)
            u = torch.randn(len(matrix), generator=generator, device=generator.device)
            self.register_buffer(f"u{at}", power_iteration(matrix, F.normalize(u, dim=-1), steps=20))

    def begin_iteration(self) -> None:
        """One power iteration of each normalized layer."""
        for at in range(len(self.layers) - 1 if self.normalize else 0):
            u = self.get_buffer(f"u{at}")
            u.copy_(power_iteration(self.kernels[at].detach().flatten(1), u))

    def _kernel(self, at: int) -> Tensor:
        kernel: Tensor = self.kernels[at]
        if not self.normalize or at == len(self.layers) - 1:
            return kernel
        matrix, u = kernel.flatten(1), self.get_buffer(f"u{at}")
        v = F.normalize(matrix.detach().mT @ u, dim=-1)
        norm: Tensor = u @ (matrix @ v)
        return kernel / norm

    def forward(self, x: Tensor) -> Tensor:
        """f at every position of the last layer: `(N, C, H, W)` to `(N, h, w)`."""
        h = self.input_scale * x
        for at, (layer, bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            h = F.elu(h) if at else h
            h = F.conv2d(h, self._kernel(at), bias, stride=layer.stride, padding=layer.side // 2)
        f = h.sum(1)
        if self.reference is not None:
            # Each position has its equal share of the image's pixels, borders included.
            squares = x.square().sum(1, keepdim=True)
            share = squares.shape[-1] * squares.shape[-2] / (f.shape[-1] * f.shape[-2])
            f = f - share * pooled(squares, f) / (2 * self.reference**2)
        return f


class PatchEnergy(ScaleEnergy):
    """The net of PatchGenCN: five 3×3 convolutions, a receptive field of 11 px, gradients written out.

    On a GPU the fused kernels compute it.
    """

    halo = 2 * PAD

    def __init__(
        self, channels: int, *, wide: bool, generator: torch.Generator, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self.net, self.precision = EnergyNet(wide=wide, generators=[generator], inputs=channels), precision

    def begin_iteration(self) -> None:
        """One power iteration of each normalized layer."""
        self.net.update_norms()

    def forward(self, x: Tensor) -> Tensor:
        """f at every pixel: `(N, C, H, W)` to `(N, H, W)`; no gradients by weights."""
        return energy(pad(x), self.net.weights())[:, 0]

    def gradient(self) -> Gradient:
        """∇ₓΣf with the present weights."""
        of_padded = energy_gradient(self.net.weights(), self.precision)
        return lambda x: crop(of_padded(pad(x)))

    def learn(self, images: Tensor, coefficients: Tensor, positions: Tensor | None = None) -> Tensor:
        """As `ScaleEnergy.learn`."""
        f, by_weights = energies(pad(images), coefficients, self.net.weights(), self.precision, positions)
        self.net.set_gradients(by_weights)
        return f[:, 0]
