"""Chains and loss gradients on a processor: 3x3 convolutions by Winograd's F(4x4, 3x3), in float32.

The arithmetic is that of `pgcn.patchgencn.energy` and `pgcn.patchgencn.langevin`. A convolution of a tile of 6x6 input
positions d with a kernel g is Aᵀ[(G·g·Gᵀ) ∘ (Bᵀ·d·B)]A, 4x4 output positions: 36 products of matrices over all tiles
and channels, a quarter of the multiplications of the definition (Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks", 2016). Bias, ELU and their derivatives are computed while a tile is in the cache. Times and rounding
errors: docs/benchmarks.md.

Channels are last, `(N, H, W, C)`. The calls of a gradient are listed once for each size, with their buffers: at these
sizes Python took a quarter of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.patchgencn.weights import PAD, Weights
from pgcn.patchgencn.winograd_kernels import ACTIVATE, BACKWARD, BACKWARD_FIRST, elu, ends, transforms
from pgcn.settings import Step

TILES = 64
"""Tiles of one product of matrices: with 64 channels 0.6 MB of transformed values, which a core's cache holds."""

LARGE, MOST = 2**16, 8
"""Positions of states above which the buffers of one shape alone are kept, and most shapes below: bounds of memory."""

_G = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_KERNELS = torch.kron(_G, _G)
"""G ⊗ G, `(36, 9)`: from the nine values of a kernel to the 36 of its transform."""

Calls = list[Callable[[], Any]]


class _Chain(NamedTuple):
    """The calls from `state` `(N, H, W, C)` to the `products` of which `step` makes ∇Σf."""

    state: Tensor
    products: Tensor
    calls: Calls


class _Learning(NamedTuple):
    """The calls from images `x` to the outputs of four `layers`, and from the last of `gradients` to the others.

    `gradients` are those behind the layers, `sums` the transformed gradients by the kernels of all but the first.
    `columns` are the rows that the first layer sees.
    """

    x: Tensor
    columns: Tensor
    layers: list[Tensor]
    gradients: list[Tensor]
    sums: list[Tensor]
    forward: Calls
    backward: Calls


class _Behind:
    """`gradient` `(1, h + 2, w + 2, C)`: the sums of the last kernel's values that meet each position of its input."""

    def __init__(self, size: Sequence[int], last: Tensor) -> None:
        ones = F.pad(torch.ones(1, 1, *size), [2] * 4)
        self._meets = F.unfold(ones, 3)[0].T.contiguous()  # (positions, 9), taps from the last to the first
        self.gradient = torch.empty(1, size[0] + 2, size[1] + 2, last.shape[1])
        self.load(last)

    def load(self, last: Tensor) -> None:
        """Take another kernel `(1, C, 3, 3)`."""
        torch.mm(self._meets, last.flip(2, 3)[0].flatten(1).T, out=self.gradient.flatten(0, 2))


P = ParamSpec("P")
R = TypeVar("R")


def _alone(method: Callable[P, R]) -> Callable[P, R]:
    """A method of a gradient for one thread at a time, without autograd; its buffers belong to no inference mode."""

    @wraps(method)
    def one(*arguments: P.args, **named: P.kwargs) -> R:
        gradient: Any = arguments[0]
        with gradient._turn, torch.inference_mode(False), torch.no_grad():
            return method(*arguments, **named)

    return one


class WinogradGradient:
    """∇Σf and chains along it with the weights of one image, transformed once. Threads take turns."""

    @torch.inference_mode(False)
    def __init__(self, weights: Weights) -> None:
        kernels = weights.kernels
        self._turn = threading.RLock()
        self.inputs = kernels[0].shape[2]
        self.ends = ends(self.inputs)
        self.first = torch.empty(9 * self.inputs + 1, kernels[0].shape[1])
        """Kernel and bias of the first layer, a matrix: see `ends`."""
        pairs = [(kernel.shape[2], kernel.shape[1]) for kernel in kernels[1:-1]]
        self.forward = [torch.empty(36, c_in, c_out) for c_in, c_out in pairs]
        self.backward = [torch.empty(36, c_out, c_in) for c_in, c_out in pairs]
        self.biases = [torch.empty(bias.shape[1]) for bias in weights.biases]
        self.last = torch.empty(kernels[-1].shape[1:])
        widest = max(map(max, pairs))
        self._values, self._sums = torch.empty(TILES * 36 * widest), torch.empty(TILES * 36 * widest)
        self._chains: dict[tuple[int, ...], _Chain] = {}
        self._learnings: dict[tuple[int, ...], _Learning] = {}
        self._behinds: dict[tuple[int, ...], _Behind] = {}
        self.load(weights)

    def __getstate__(self) -> dict[str, Any]:
        """Without the calls: their arrays share memory with tensors, which a copy would lose."""
        kept = {key: value for key, value in self.__dict__.items() if key != "_turn"}
        return kept | {"_chains": {}, "_learnings": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turn = threading.RLock()

    @_alone
    def load(self, weights: Weights) -> None:
        """Replace the weights by others of the same shapes; buffers and lists of calls are kept."""
        kernels = [kernel[0] for kernel in weights.kernels]
        for kept, bias in zip(self.biases, weights.biases, strict=True):
            kept.copy_(bias[0])
        self.first[:-1] = kernels[0].permute(2, 3, 1, 0).flatten(0, 2)
        self.first[-1] = self.biases[0]
        for forward, backward, kernel in zip(self.forward, self.backward, kernels[1:-1], strict=True):
            forward.copy_(_transformed(kernel.permute(2, 3, 1, 0)))
            backward.copy_(_transformed(kernel.flip(2, 3).permute(2, 3, 0, 1)))
        self.last.copy_(kernels[-1])
        for behind in self._behinds.values():
            behind.load(self.last)

    @_alone
    def __call__(self, padded: Tensor) -> Tensor:
        """∇Σf at `padded` `(N, C, H, W)`."""
        chain = self._chain(padded)
        _run(chain.calls)
        found = torch.zeros_like(chain.state)
        self.ends.step(chain.products.numpy(), 1.0, _nothing(found).numpy(), False, found.numpy())
        return _channels_first(found).to(padded.dtype)

    @_alone
    def run(self, x: Tensor, steps: Sequence[Step], draw: Callable[[Tensor], Tensor]) -> Tensor:
        """`pgcn.patchgencn.langevin.langevin` along this gradient: `(N, C, H, W)` in and out."""
        chain = self._chain(x)
        for size, noise_std in steps:
            _run(chain.calls)
            noise = _channels_last(noise_std * draw(x)) if noise_std > 0 else _nothing(chain.state)
            self.ends.step(chain.products.numpy(), 0.5 * size, noise.numpy(), True, chain.state.numpy())
        return _channels_first(chain.state).to(x.dtype)

    @_alone
    def energies(self, padded: Tensor, coefficients: Tensor) -> tuple[Tensor, Weights]:
        """Mean f of each image, `(N, 1)`, and the gradient of Σ_n coefficients[n]·f[n] by the weights."""
        coefficients = coefficients.float()
        learning = self._learning(padded)
        _run(learning.forward)
        last, (height, width) = learning.layers[3], (side - 2 * PAD for side in padded.shape[2:])
        # f is linear behind the fourth layer: the mean of the windows that the last kernel sees is its gradient.
        rows = torch.stack([last[:, y : y + height].mean(1) for y in range(3)], 1)
        windows = torch.stack([rows[:, :, x : x + width].mean(2) for x in range(3)], 2)  # (N, 3, 3, C)
        f = (windows * self.last[0].permute(1, 2, 0)).sum((1, 2, 3)) + self.biases[4]

        scale = (coefficients / (height * width)).view(-1, 1, 1, 1)
        g = torch.add(last, 1, out=learning.gradients[3])
        g.clamp_(max=1).mul_(self._behind(padded.shape)).mul_(scale)
        _run(learning.backward)
        by_first = learning.columns.T @ learning.gradients[0].flatten(0, 2)
        kernels = [by_first[:-1].view(3, 3, self.inputs, -1).permute(3, 2, 0, 1)]
        for sums in learning.sums:
            kernels.append((_KERNELS.T @ sums.flatten(1)).view(3, 3, *sums.shape[1:]).permute(3, 2, 0, 1))
        kernels.append(torch.tensordot(coefficients, windows, 1).permute(2, 0, 1)[None])
        biases = [by_first[-1], *(g.sum((0, 1, 2)) for g in learning.gradients[1:]), coefficients.sum().view(1)]
        return f[:, None].to(padded.dtype), Weights(tuple(k[None] for k in kernels), tuple(b[None] for b in biases))

    def _chain(self, x: Tensor) -> _Chain:
        """The calls for states such as `x` `(N, C, H, W)`, and `x` as their state."""
        if x.shape not in self._chains:
            self._make_room(x.shape)
            state = _channels_last(x)
            _, layers, calls = self._forward(state, 3)
            behind = self._behind(x.shape)
            # The fourth layer forward and backward at once: what follows it is the same at every step.
            g = state.new_empty(len(state), *behind.shape[1:])
            calls += self._convolve(layers[2], self.forward[2], g, BACKWARD_FIRST, bias=self.biases[3], other=behind)
            for layer in (3, 2, 1):
                g, more = self._backward(g, layer, layers[layer - 1])
                calls += more
            products = state.new_empty(*g.shape[:3], 9 * self.inputs)
            calls.append(partial(torch.mm, g.flatten(0, 2), self.first[:-1].T, out=products.flatten(0, 2)))
            self._chains[x.shape] = _Chain(state, products, calls)
        chain = self._chains[x.shape]
        chain.state.copy_(x.permute(0, 2, 3, 1))
        return chain

    def _learning(self, padded: Tensor) -> _Learning:
        """The calls for images such as `padded` `(N, C, H, W)`, and `padded` as theirs."""
        if padded.shape not in self._learnings:
            self._make_room(padded.shape)
            x = _channels_last(padded)
            columns, layers, forward = self._forward(x, 4)
            gradients, sums, backward = [torch.empty_like(layers[3])], list[Tensor](), Calls()
            for layer in (3, 2, 1):
                of_kernel, calls = self._kernel_gradient(layers[layer - 1], gradients[0])
                below, more = self._backward(gradients[0], layer, layers[layer - 1])
                sums, gradients = [of_kernel, *sums], [below, *gradients]
                backward += [*calls, *more]
            self._learnings[padded.shape] = _Learning(x, columns, layers, gradients, sums, forward, backward)
        learning = self._learnings[padded.shape]
        learning.x.copy_(padded.permute(0, 2, 3, 1))
        return learning

    def _make_room(self, shape: Sequence[int]) -> None:
        """Let go of buffers where one more shape would be too many."""
        if shape[0] * shape[2] * shape[3] > LARGE or len(self._chains) + len(self._learnings) >= MOST:
            for kept in (self._chains, self._learnings, self._behinds):
                kept.clear()

    def _forward(self, x: Tensor, layers: int) -> tuple[Tensor, list[Tensor], Calls]:
        """The rows that the first layer is a product of, the outputs of `layers` layers, and the calls for them."""
        n, height, width = len(x), x.shape[1] - 2, x.shape[2] - 2
        columns = x.new_empty(n * height * width, len(self.first))
        found = [x.new_empty(n, height, width, self.first.shape[1])]
        calls: Calls = [
            partial(self.ends.columns, x.numpy(), columns.numpy()),
            partial(torch.mm, columns, self.first, out=found[0].flatten(0, 2)),
            partial(elu, found[0].flatten().numpy()),
        ]
        for layer, kernel in enumerate(self.forward[: layers - 1], start=1):
            found.append(x.new_empty(n, height - 2 * layer, width - 2 * layer, kernel.shape[2]))
            calls += self._convolve(found[-2], kernel, found[-1], ACTIVATE, bias=self.biases[layer])
        return columns, found, calls

    def _backward(self, g: Tensor, layer: int, below: Tensor) -> tuple[Tensor, Calls]:
        """The gradient behind the layer below, whose output is `below`, from that behind `layer`."""
        target = torch.empty_like(below)
        return target, self._convolve(g, self.backward[layer - 1], target, BACKWARD, padding=2, other=below)

    def _behind(self, shape: Sequence[int]) -> Tensor:
        """∂Σf at the last layer's input, `(1, h, w, C)`, for padded images of this shape."""
        size = tuple(side - 2 * PAD for side in shape[2:])
        if size not in self._behinds:
            self._behinds[size] = _Behind(size, self.last)
        return self._behinds[size].gradient

    def _convolve(
        self,
        source: Tensor,
        kernel: Tensor,
        target: Tensor,
        end: int,
        *,
        other: Tensor | None = None,
        bias: Tensor | None = None,
        padding: int = 0,
    ) -> Calls:
        """`target` = the operation `end` after the convolution of `source` with a transformed kernel `(36, C, C')`."""
        c_in, c_out = kernel.shape[1:]
        spread, gather = transforms(c_in).spread, transforms(c_out).gather
        down, across = _tiles(target)
        other = target if other is None else other
        offset = target.new_empty(0) if bias is None else bias
        calls: Calls = []
        for first, values, sums in self._parts(len(target) * down * across, c_in, c_out):
            calls += [
                partial(spread, source.numpy(), padding, down, across, first, values.numpy()),
                partial(torch.bmm, values.transpose(0, 1), kernel, out=sums),
                partial(gather, sums.numpy(), offset.numpy(), other.numpy(), end, down, across, first, target.numpy()),
            ]
        return calls

    def _kernel_gradient(self, source: Tensor, g: Tensor) -> tuple[Tensor, Calls]:
        """The transformed gradient by a kernel, `(36, C, C')`, from the layer's input and the gradient behind it."""
        c_in, c_out = source.shape[3], g.shape[3]
        spread, lift = transforms(c_in).spread, transforms(c_out).lift
        down, across = _tiles(g)
        found = source.new_empty(36, c_in, c_out)
        calls: Calls = [found.zero_]
        for first, values, sums in self._parts(len(g) * down * across, c_in, c_out):
            lifted = sums.view(-1, 36, c_out)
            calls += [
                partial(spread, source.numpy(), 0, down, across, first, values.numpy()),
                partial(lift, g.numpy(), down, across, first, lifted.numpy()),
                partial(found.baddbmm_, values.permute(1, 2, 0), lifted.transpose(0, 1)),
            ]
        return found, calls

    def _parts(self, tiles: int, c_in: int, c_out: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The first tile of each part of a convolution, its transformed input `(T, 36, C)` and output `(36, T, C')`."""
        for first in range(0, tiles, TILES):
            count = min(TILES, tiles - first)
            values, sums = self._values[: count * 36 * c_in], self._sums[: 36 * count * c_out]
            yield first, values.view(count, 36, c_in), sums.view(36, count, c_out)


def _run(calls: Calls) -> None:
    for call in calls:
        call()


def _tiles(target: Tensor) -> tuple[int, int]:
    """Rows and columns of tiles of one image."""
    return -(-target.shape[1] // 4), -(-target.shape[2] // 4)


def _transformed(kernel: Tensor) -> Tensor:
    """A kernel `(3, 3, C, C')` as the 36 matrices `(36, C, C')` that transformed tiles are multiplied with."""
    return (_KERNELS @ kernel.flatten(0, 1).flatten(1)).view(36, *kernel.shape[2:])


def _nothing(state: Tensor) -> Tensor:
    """No noise."""
    return state.new_empty(0, *state.shape[1:])


def _channels_last(x: Tensor) -> Tensor:
    """`(N, C, H, W)` to `(N, H, W, C)` float32, a copy."""
    return x.permute(0, 2, 3, 1).to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _channels_first(x: Tensor) -> Tensor:
    """The inverse of `_channels_last`, a copy."""
    return x.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)
