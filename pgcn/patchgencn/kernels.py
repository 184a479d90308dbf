"""Chains and loss gradients on a GPU: eight kernels for each Langevin step, one for each layer and direction.

The arithmetic is that of `pgcn.patchgencn.energy` and `pgcn.patchgencn.langevin`. The operations between two
convolutions run while the sums are in registers: bias and ELU forward, ELU' backward, and the Langevin step at the end.
Every image of a batch has its own weights, found by its index: the cost of a batch is that of its pixels.

Channels are last: states `(N·B, H, W, 3)` float32 with chain n of image b at n·B + b, activations `(N·B, h, w, C)`
in the number format of the convolutions. Sums are float32; with float32 convolutions, products are TF32, as
cuDNN's are in PyTorch. Written in Triton, which comes with PyTorch for GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from pgcn.patchgencn.weights import PAD, Precision, Weights
from pgcn.settings import Step

RGB, RGB_ROWS, RGB_COLUMNS = 3, 32, 16
"""Channels of a state; its 27 values for each position and its 3 gradients, rounded up to the tiles of matrix units."""

MULTIPROCESSORS = 132
PROGRAMS = 4 * MULTIPROCESSORS
"""Programs at once on an H100 or H200; the number fits other GPUs well enough."""

ACTIVATE, BACKWARD_FIRST, BACKWARD, STEP = range(4)
"""The operation that follows a layer's sums: bias and ELU; ELU' times the gradient behind the last layer, where the
backward pass begins; ELU'; the Langevin step."""


@triton.jit(do_not_specialize=["images", "height", "width", "out_height", "out_width"])
def _layer(
    source, kernel, bias, other, scale, target, noise, images, height, width, out_height, out_width, half_step,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, PADDING: tl.constexpr, END: tl.constexpr, FROM_RGB: tl.constexpr,
    NOISY: tl.constexpr, CLAMP: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """A 3x3 convolution of `TILE` positions of one image as a matrix product, and the operation `END` that follows."""
    state = tl.program_id(1).to(tl.int64)
    image = state % images
    position = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = position < out_height * out_width
    row, column = position // out_width, position % out_width
    channel_out = tl.arange(0, C_OUT)
    source += state * height * width * (3 if FROM_RGB else C_IN)
    sums = tl.zeros((TILE, C_OUT), tl.float32)
    if FROM_RGB:
        value = tl.arange(0, 32)
        tap = value // 3
        at = ((row[:, None] + tap[None, :] // 3) * width + column[:, None] + tap[None, :] % 3) * 3 + value[None, :] % 3
        h = tl.load(source + at, mask=inside[:, None] & (value < 27)[None, :], other=0.0)
        k = tl.load(kernel + image * 32 * C_OUT + value[:, None] * C_OUT + channel_out[None, :])
        sums = tl.dot(h.to(k.dtype), k, sums)
    else:
        channel_in = tl.arange(0, C_IN)
        kernel += image * 9 * C_IN * C_OUT + channel_in[:, None] * C_OUT + channel_out[None, :]
        for tap in range(9):
            y, x = row + tap // 3 - PADDING, column + tap % 3 - PADDING
            within = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            h = tl.load(source + (y * width + x)[:, None] * C_IN + channel_in[None, :], mask=within[:, None], other=0.0)
            flipped = 8 - tap if PADDING else tap  # the transposed convolution of the backward pass
            sums = tl.dot(h, tl.load(kernel + flipped * C_IN * C_OUT), sums)
    positions = out_height * out_width
    if END == 3:  # the Langevin step, in place
        at = (state * positions + position)[:, None] * 3 + channel_out[None, :]
        mine = inside[:, None] & (channel_out < 3)[None, :]
        moved = tl.load(target + at, mask=mine) + half_step * sums
        if NOISY:
            moved += tl.load(noise + at, mask=mine)
        if CLAMP:  # NaN stays NaN: it shows that an image has failed
            moved = tl.clamp(moved, -1.0, 1.0, propagate_nan=tl.PropagateNan.ALL)
        tl.store(target + at, moved, mask=mine)
    else:
        at = (state * positions + position)[:, None] * C_OUT + channel_out[None, :]
        if END == 2:
            activation = tl.load(other + at, mask=inside[:, None], other=0.0).to(tl.float32)
            out = sums * tl.minimum(activation + 1.0, 1.0, propagate_nan=tl.PropagateNan.ALL)
        else:
            sums += tl.load(bias + image * C_OUT + channel_out)[None, :]
            if END == 0:
                out = tl.where(sums > 0, sums, tl.exp(sums) - 1.0)
            else:
                last = (image * positions + position)[:, None] * C_OUT + channel_out[None, :]
                out = tl.load(other + last, mask=inside[:, None], other=0.0).to(tl.float32)
                out = out * tl.load(scale + state) * tl.where(sums > 0, 1.0, tl.exp(sums))
        tl.store(target + at, out.to(target.dtype.element_ty), mask=inside[:, None])


@triton.jit(do_not_specialize=["images", "chains", "height", "width", "out_height", "out_width"])
def _kernel_gradient(
    source, gradient, target, images, chains, height, width, out_height, out_width,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, CHANNELS: tl.constexpr, PART: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Σ over positions of (input at the position and tap) x (gradient there), of one image, tap and part of them."""
    tap, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    channel_in, channel_out = tl.arange(0, C_IN), tl.arange(0, C_OUT)
    positions = out_height * out_width
    sums = tl.zeros((C_IN, C_OUT), tl.float32)
    for begin in range(0, PART, TILE):
        of_all = part * PART + begin + tl.arange(0, TILE)
        inside = of_all < chains * positions
        chain, position = of_all // positions, of_all % positions
        state = (chain * images + image).to(tl.int64)
        y, x = position // out_width + tap // 3, position % out_width + tap % 3
        h = tl.load(
            source + (state * height * width + y * width + x)[:, None] * CHANNELS + channel_in[None, :],
            mask=inside[:, None] & (channel_in < CHANNELS)[None, :],
            other=0.0,
        )
        g = tl.load(
            gradient + (state * positions + position)[:, None] * C_OUT + channel_out[None, :],
            mask=inside[:, None],
            other=0.0,
        )
        sums = tl.dot(tl.trans(h.to(g.dtype)), g, sums)
    at = ((image * tl.num_programs(1) + part) * 9 + tap) * C_IN * C_OUT
    tl.store(target + at + channel_in[:, None] * C_OUT + channel_out[None, :], sums)


def channels_last(x: Tensor, images: int) -> Tensor:
    """`(N, B·3, H, W)` to `(N·B, H, W, 3)` float32."""
    apart: Tensor = x.float().unflatten(1, (images, RGB))
    return apart.permute(0, 1, 3, 4, 2).flatten(0, 1).contiguous()


def channels_first(x: Tensor, images: int) -> Tensor:
    """The inverse of `channels_last`."""
    apart: Tensor = x.unflatten(0, (-1, images))
    return apart.permute(0, 1, 4, 2, 3).flatten(1, 2).contiguous()


class FusedGradient:
    """∇Σf and chains along it, with the weights of a batch of B images, packed once for the kernels."""

    def __init__(self, weights: Weights, precision: Precision) -> None:
        kernels, self.biases = weights.detach()
        self.images = len(kernels[0])
        self.form = torch.bfloat16 if precision == "bfloat16" else torch.float32
        # (B, 9, C_in, C_out) forward; (B, 9, C_out, C_in), read from its end, backward.
        self.forward = [self._packed(k.permute(0, 3, 4, 2, 1)) for k in kernels[:-1]]
        self.backward = [self._packed(k.permute(0, 3, 4, 1, 2)) for k in kernels[:-1]]
        self.forward[0] = F.pad(self.forward[0].flatten(1, 2), (0, 0, 0, RGB_ROWS - 27))
        self.backward[0] = F.pad(self.backward[0], (0, RGB_COLUMNS - RGB))
        self.last = kernels[-1]
        self.one = self.last.new_ones(1)
        self.end: Tensor | None = None

    def _packed(self, taps: Tensor) -> Tensor:
        target = taps.new_empty(taps.shape, dtype=self.form)
        return target.copy_(taps).flatten(1, 2)

    def __call__(self, padded: Tensor) -> Tensor:
        """∇Σf at `padded` `(N, B·3, H, W)`, float32."""
        x = channels_last(padded, self.images)
        found = torch.zeros_like(x)
        self._move(found, x, half_step=1.0)
        return channels_first(found, self.images)

    def run(self, x: Tensor, steps: Sequence[Step], draw: Callable[[Tensor], Tensor]) -> Tensor:
        """`pgcn.patchgencn.langevin.langevin` along this gradient: `(N, B·3, H, W)` float32 in and out."""
        state = channels_last(x, self.images)
        for size, noise_std in steps:
            noise = channels_last(noise_std * draw(x), self.images) if noise_std > 0 else None
            self._move(state, state, half_step=0.5 * size, noise=noise, clamp=True)
        return channels_first(state, self.images)

    def _last_part(self, height: int, width: int) -> Tensor:
        """∂Σf at the last layer's input, `(B, h, w, C)`: the sum of its kernel's values that meet the position."""
        if self.end is None or self.end.shape[1:3] != (height - 8, width - 8):
            kernels = self.last.flatten(0, 1)
            ones = kernels.new_ones(1, self.images, height - 2 * PAD, width - 2 * PAD)
            spread = F.conv_transpose2d(ones, kernels, groups=self.images)[0]
            self.end = spread.unflatten(0, (self.images, -1)).permute(0, 2, 3, 1).to(self.form).contiguous()
        return self.end

    def _move(
        self, target: Tensor, x: Tensor, *, half_step: float, noise: Tensor | None = None, clamp: bool = False
    ) -> None:
        """target += half_step·∇Σf(x) + noise: four layers forward, four backward."""
        activations = self._activations(x, 3)
        g = self._backward_first(activations[-1], self.one.expand(len(x)), self._last_part(*x.shape[1:3]))
        for layer in (3, 2, 1):
            g = self._backward(g, layer, activations[layer - 1])
        _run(
            g, self.backward[0], target, self.images, padding=2, end=STEP, half_step=half_step, noise=noise, clamp=clamp
        )

    def _activations(self, x: Tensor, layers: int) -> list[Tensor]:
        found = []
        for layer in range(layers):
            c_out = self.forward[layer].shape[-1]
            target = x.new_empty(len(x), x.shape[1] - 2, x.shape[2] - 2, c_out, dtype=self.form)
            _run(x, self.forward[layer], target, self.images, bias=self.biases[layer], end=ACTIVATE)
            x = target
            found.append(x)
        return found

    def _backward_first(self, h: Tensor, scale: Tensor, end: Tensor) -> Tensor:
        """The gradient behind the fourth layer, from its input: forward and backward in one kernel."""
        target = torch.empty(len(h), *end.shape[1:], dtype=self.form, device=h.device)
        scale = scale.float().contiguous()
        _run(h, self.forward[3], target, self.images, bias=self.biases[3], other=end, scale=scale, end=BACKWARD_FIRST)
        return target

    def _backward(self, g: Tensor, layer: int, activation: Tensor) -> Tensor:
        target = torch.empty_like(activation)
        _run(g, self.backward[layer], target, self.images, padding=2, other=activation, end=BACKWARD)
        return target

    def energies(self, padded: Tensor, coefficients: Tensor) -> tuple[Tensor, Weights]:
        """Mean f of each image, `(n, B)`, and the gradient of Σ_n coefficients[n]·f[n] with respect to the weights.

        `padded` is `(n, B·3, H, W)`, `coefficients` `(n,)`; the gradient is summed in float32.
        """
        x = channels_last(padded, self.images)
        height, width = x.shape[1] - 2 * PAD, x.shape[2] - 2 * PAD
        activations = self._activations(x, 4)
        # f is linear behind the fourth layer: the mean of the windows that the last kernel sees is its gradient.
        rows = torch.stack([activations[3][:, y : y + height].mean(1, dtype=torch.float32) for y in range(3)], 1)
        seen = torch.stack([rows[:, :, c : c + width].mean(2) for c in range(3)], 2)
        windows = seen.unflatten(0, (-1, self.images))  # (n, B, 3, 3, C)
        f = (windows * self.last.permute(0, 1, 3, 4, 2)[:, 0]).sum((2, 3, 4)) + self.biases[4].T
        last = (windows * coefficients.view(-1, 1, 1, 1, 1)).sum(0).permute(0, 3, 1, 2).unsqueeze(1)

        scale = (coefficients / (height * width)).repeat_interleave(self.images)
        g = self._backward_first(activations[2], scale, self._last_part(*x.shape[1:3]))
        kernels, biases = [last], [coefficients.sum().expand(self.images, 1)]
        for layer in (3, 2, 1, 0):
            h = activations[layer - 1] if layer else x
            kernels.append(_kernel_sums(h, g, self.images))
            biases.append(g.unflatten(0, (-1, self.images)).sum((0, 2, 3), dtype=torch.float32))
            if layer:
                g = self._backward(g, layer, h)
        return f, Weights(tuple(reversed(kernels)), tuple(reversed(biases)))


def _run(
    source: Tensor,
    kernel: Tensor,
    target: Tensor,
    images: int,
    *,
    end: int,
    padding: int = 0,
    bias: Tensor | None = None,
    other: Tensor | None = None,
    scale: Tensor | None = None,
    half_step: float = 0.0,
    noise: Tensor | None = None,
    clamp: bool = False,
) -> None:
    from_rgb = source.shape[-1] == RGB
    states, (height, width) = len(target), target.shape[1:3]
    c_out = kernel.shape[-1]
    positions = height * width
    tile, warps, stages = _shape(states * positions, source.shape[-1], c_out, kernel.dtype)
    unused: Any = target
    _layer[(triton.cdiv(positions, tile), states)](
        source, kernel, unused if bias is None else bias, unused if other is None else other,
        unused if scale is None else scale, target, unused if noise is None else noise, images,
        source.shape[1], source.shape[2], height, width, half_step,
        C_IN=source.shape[-1], C_OUT=c_out, PADDING=padding, END=end, FROM_RGB=from_rgb, NOISY=noise is not None,
        CLAMP=clamp, TILE=tile, num_warps=warps, num_stages=stages,
    )  # fmt: skip


def _shape(positions: int, c_in: int, c_out: int, form: torch.dtype) -> tuple[int, int, int]:
    """Positions of a program, its warps, and the stages of its loads: the best of a search on an H200."""
    if form == torch.float32:
        return 32, 4, 2
    if positions >= 128 * MULTIPROCESSORS:
        return 128, 8, 2 if c_in == 128 and c_out > RGB_COLUMNS else 3
    return 64 if positions >= 32 * MULTIPROCESSORS else 32, 4, 3


def _kernel_sums(source: Tensor, gradient: Tensor, images: int) -> Tensor:
    """`(B, C_out, C_in, 3, 3)`, the parts summed in a fixed order, so that results repeat to the bit."""
    channels, c_out = source.shape[-1], gradient.shape[-1]
    c_in = max(16, channels)
    chains = len(source) // images
    total = chains * gradient.shape[1] * gradient.shape[2]
    # Enough parts to fill the GPU; their sizes are powers of two, so that few kernels are compiled.
    part = min(2**14, max(256, triton.next_power_of_2(triton.cdiv(total * 9 * images, PROGRAMS))))
    parts = triton.cdiv(total, part)
    sums = torch.empty(images, parts, 9, c_in, c_out, device=source.device)
    _kernel_gradient[(9, parts, images)](
        source, gradient, sums, images, chains, source.shape[1], source.shape[2],
        gradient.shape[1], gradient.shape[2],
        C_IN=c_in, C_OUT=c_out, CHANNELS=channels, PART=part, TILE=64, num_warps=4, num_stages=2,
    )  # fmt: skip
    whole: Tensor = sums.sum(1)[:, :, :channels]
    by_tap: Tensor = whole.permute(0, 3, 2, 1).unflatten(3, (3, 3))
    return by_tap.contiguous()
