"""One scale: from a picture of the scale below to one with the detail of the image, in a few steps of falling noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.exact import plain
from pgcn.exact.candidates import Queries, compiled, exhaustive, improved
from pgcn.exact.field import Field
from pgcn.exact.patches import Patches, around
from pgcn.exact.settings import DETAIL, MIDDLE, DetailSettings
from pgcn.fused import is_fused
from pgcn.heartbeat import beat

SPREAD = 0.2
"""Standard deviation of the window that middles are drawn with, in halves of a patch's side."""


@dataclass(frozen=True, eq=False)
class Hold:
    """Constraints on the estimates.

    `low` `(1, C, h, w)`: the low frequencies, a picture of a smaller size. `pixels` `(1, C, H, W)`, with `known`
    `(1, 1, H, W)` from 0 to 1: pixels that stay.
    """

    low: Tensor | None = None
    pixels: Tensor | None = None
    known: Tensor | None = None

    def __call__(self, estimate: Tensor, wrap: bool, last: bool) -> Tensor:
        """An estimate `(1, C, H, W)` made to agree; its low frequencies not in the last step, which is to be sharp."""
        if self.low is not None and not last:
            size, small = _size(estimate), _size(self.low)
            estimate = estimate + resized(self.low - resized(estimate, small, wrap), size, wrap)
        if self.pixels is not None and self.known is not None:
            estimate = estimate + self.known * (self.pixels - estimate)
        return estimate


Held = Callable[[Tensor, bool, bool], Tensor]
"""Maps an estimate `(1, C, H, W)`, `wrap` and whether the step is the last one to the estimate that is kept."""


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def resized(x: Tensor, size: tuple[int, int], wrap: bool = False) -> Tensor:
    """Bicubic, antialiased, not clamped: differences are resized too. With `wrap` borders are those of a tile."""
    if _size(x) == tuple(size):
        return x
    if not wrap:
        return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
    h, w = _size(x)
    # Whole pixels of the result must stay whole pixels: the border is as many tiles as it takes, one on each side.
    tiled = x.index_select(2, around(h, h, True, x.device)).index_select(3, around(w, w, True, x.device))
    large = F.interpolate(tiled, size=(3 * size[0], 3 * size[1]), mode="bicubic", antialias=True, align_corners=False)
    return large[:, :, size[0] : 2 * size[0], size[1] : 2 * size[1]].contiguous()


@dataclass(frozen=True)
class Way:
    """The schedule of one scale: noise levels that fall to 0, the seed of its search, whether borders meet."""

    levels: list[float]
    seed: int
    wrap: bool = False


def draw_scale(
    patches: Patches, settings: DetailSettings, start: Tensor, noise: Tensor, way: Way, hold: Held, field: Field | None
) -> tuple[Tensor, Field]:
    """A picture `(1, C, H, W)` in [-1, 1] from `start`, of the same size, and where it comes from in the image.

    y = (1 - t)·x + t·ε; every step estimates x as the mean of matching middles, holds it, and goes to the next t with
    the noise that the estimate leaves (a deterministic step of the linear flow). `field` are matches to begin with;
    without one all patches are compared in the first step. `noise`, of the same size, is overwritten.
    """
    y = noise.mul_(way.levels[0]).add_(start, alpha=1 - way.levels[0])
    del start  # pictures are large: nothing stays that is not needed
    least = torch.zeros(len(patches.keys), dtype=y.dtype, device=y.device)
    few = y.shape[2] * y.shape[3] * len(patches.keys) <= settings.exhaustive
    for step, (t, after) in enumerate(zip(way.levels, way.levels[1:], strict=False)):
        beat()
        queries = Queries(patches, y, 1 - t, way.wrap, settings.band)
        if few or field is None:
            field = exhaustive(queries, settings)
        field, least = improved(queries, field, settings, way.seed + DETAIL * step, least)
        del queries
        estimate = drawn(patches, settings, field, t, way.wrap)
        y.add_(estimate, alpha=t - 1).div_(t)  # the noise that the estimate leaves
        estimate = hold(estimate, way.wrap, after == 0)
        y.mul_(after).add_(estimate, alpha=1 - after)
    assert field is not None
    return y.clamp_(-1, 1), field


def noise_scale(channels: int) -> float:
    """Factor of the noise of C channels, √(C/3): the mean of a patch's values is as certain as in three channels.

    Gray as one channel is so drawn as gray in three equal ones, whose independent noise averages out.
    """
    return float((channels / 3) ** 0.5)


def drawn(patches: Patches, settings: DetailSettings, field: Field, t: float, wrap: bool = False) -> Tensor:
    """The mean of the middles of matches, put together: `(1, C, H, W)`. With all patches: the posterior mean at t."""
    height, width = field.size
    sharpness = patches.values / (2 * (t * noise_scale(patches.image.shape[1])) ** 2)
    window = _window(patches)
    if is_fused(patches.image):
        from pgcn.exact import triton_kernels

        return triton_kernels.drawn(field, sharpness, patches, window, wrap)
    margin = MIDDLE // 2
    channels = patches.image.shape[1]
    out = patches.image.new_zeros(height + 2 * margin, width + 2 * margin, channels)
    rows = max(1, settings.band // width)
    for first in range(0, height, rows):
        beat()
        last = min(height, first + rows)
        part = out[first : last + 2 * margin]
        if compiled(patches.image):
            from pgcn.exact import kernels

            kernels.draw_rows(
                field.index.numpy(),
                field.cost.numpy(),
                sharpness,
                patches.drawable.flatten(1).numpy(),
                window.repeat_interleave(channels, 1).contiguous().numpy(),
                part.flatten(1).numpy(),
                channels,
                first,
                last,
            )
        else:
            part += plain.draw_rows(field, sharpness, patches, window, first, last)
    return _whole(out, window, wrap).permute(2, 0, 1)[None].contiguous()


def _window(patches: Patches) -> Tensor:
    """Gaussian over the middle of a patch, `(7, 7)`."""
    margin = MIDDLE // 2
    at = torch.arange(-margin, margin + 1, device=patches.image.device) / (patches.patch // 2)
    line = torch.exp(-0.5 * (at / SPREAD) ** 2)
    return (line[:, None] * line).to(patches.image.dtype)


def _whole(out: Tensor, window: Tensor, wrap: bool) -> Tensor:
    """Sums of windowed middles, with a border, to their mean: the border is cut off, or belongs to the other side."""
    margin = MIDDLE // 2
    for dim in (0, 1):
        size = out.shape[dim] - 2 * margin
        line = window.sum(1 - dim) / window.sum().sqrt()
        if wrap:
            at = around(size, margin, True, out.device)
            shape = list(out.shape)
            shape[dim] = size
            out = out.new_zeros(shape).index_add_(dim, at, out)
            out = out / line.sum()
        else:
            weight = out.new_zeros(size + 2 * margin)
            for shift, part in enumerate(line):
                weight[shift : shift + size] += part
            out = out.narrow(dim, margin, size) / weight[margin : margin + size].view(-1, *[1] * (2 - dim))
    return out
