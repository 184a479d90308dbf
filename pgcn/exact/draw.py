"""One scale: from a picture of the scale below to one with the detail of the image, in a few steps of falling noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.exact import plain
from pgcn.exact.candidates import Queries, compiled, exhaustive, improve
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
        """An estimate `(1, C, H, W)` made to agree, in place; its low frequencies not in the last step: it is sharp."""
        if self.low is not None and not last:
            size, small = _size(estimate), _size(self.low)
            for channel, low in zip(estimate.split(1, 1), self.low.split(1, 1), strict=True):  # a third of the memory
                channel += resized(low - resized(channel, small, wrap), size, wrap)
        if self.pixels is not None and self.known is not None:
            estimate.addcmul_(self.known, self.pixels - estimate)
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
    return torch.cat([_resized_tile(channel, size) for channel in x.split(1, 1)], 1)


def _resized_tile(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`resized` with `wrap`, one side after the other: as little memory as there can be."""
    for dim in (3, 2):
        # Whole pixels of the result must stay whole pixels: the border is one tile on each side.
        tiled = x.index_select(dim, around(x.shape[dim], x.shape[dim], True, x.device))
        large = [*_size(x)]
        large[dim - 2] = 3 * size[dim - 2]
        x = F.interpolate(tiled, size=large, mode="bicubic", antialias=True, align_corners=False)
        x = x.narrow(dim, size[dim - 2], size[dim - 2]).contiguous()
    return x


def known_at(known: Tensor, size: tuple[int, int]) -> Tensor:
    """`known` `(1, 1, H, W)`, 1 where a pixel is known, at another size: 1 where all of a pixel is known.

    Many small holes leave no such pixel at a small size. The tenth of the pixels with the largest known parts then
    counts as known.
    """
    share = resized(known.float(), size)
    whole = share > 0.99
    if not bool(whole.any()) and float(share.max()) > 0:
        least = share.flatten().topk(max(1, share.numel() // 10)).values[-1]
        whole = share >= torch.clamp(least, min=1e-6)
    return whole


@dataclass(frozen=True)
class Way:
    """The schedule of one scale: noise levels that fall to 0, the seed of its search, whether borders meet."""

    levels: list[float]
    seed: int
    wrap: bool = False


def draw_scale(
    patches: Patches, settings: DetailSettings, y: Tensor, way: Way, hold: Held, field: Field | None
) -> tuple[Tensor, Field]:
    """A picture `(1, C, H, W)` in [-1, 1], and where it comes from in the image.

    It begins at `y` `(1, C, H, W)`: (1 - t)·x + t·ε of a start x at the first noise level t. Every step estimates x as
    the mean of matching middles, holds it, and goes to the next t with the noise that the estimate leaves (a
    deterministic step of the linear flow). `field` are matches to begin with; without one all patches are compared in
    the first step. Pictures may be large: `y` and `field` are overwritten, and only the estimate comes beside them.
    """
    least = torch.zeros(len(patches.keys), dtype=y.dtype, device=y.device)
    few = y.shape[2] * y.shape[3] * len(patches.keys) <= settings.exhaustive
    for step, (t, after) in enumerate(zip(way.levels, way.levels[1:], strict=False)):
        beat()
        queries = Queries(patches, y, 1 - t, way.wrap, settings.band)
        if few or field is None:
            field = exhaustive(queries, settings)
        least = improve(queries, field, settings, way.seed + DETAIL * step, least)
        del queries
        estimate = drawn(patches, settings, field, t, way.wrap)
        y.add_(estimate, alpha=t - 1).div_(t)  # the noise that the estimate leaves
        estimate = hold(estimate, way.wrap, after == 0)
        y.mul_(after).add_(estimate, alpha=1 - after)
        del estimate
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
    margin, channels = MIDDLE // 2, patches.image.shape[1]
    out, weights = patches.image.new_zeros(1, channels, height, width), _weights(window, field.size, wrap)
    rows = max(1, settings.band // width)
    sums = patches.image.new_zeros(rows + 2 * margin, width + 2 * margin, channels)
    for first in range(0, height, rows):
        beat()
        last = min(height, first + rows)
        part = sums[: last - first + 2 * margin]
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
        done = len(part) if last == height else last - first  # the next band adds to the rest
        _put(out, part[:done], first, weights, wrap)
        sums[: len(part) - done] = part[done:].clone()
        sums[len(part) - done :] = 0
    return out


def _window(patches: Patches) -> Tensor:
    """Gaussian over the middle of a patch, `(7, 7)`."""
    margin = MIDDLE // 2
    at = torch.arange(-margin, margin + 1, device=patches.image.device) / (patches.patch // 2)
    line = torch.exp(-0.5 * (at / SPREAD) ** 2)
    return (line[:, None] * line).to(patches.image.dtype)


def _weights(window: Tensor, size: tuple[int, int], wrap: bool) -> tuple[Tensor, Tensor]:
    """Sums of the window's rows, and of its columns, over all middles that reach a line: `(H + 6,)`, `(W + 6,)`."""
    found = []
    for dim, side in enumerate(size):
        line = window.sum(1 - dim) / window.sum().sqrt()
        weight = window.new_zeros(side + len(line) - 1)
        for shift, part in enumerate(line):
            weight[shift : shift + side] += part
        found.append(line.sum().expand_as(weight) if wrap else weight)
    return found[0], found[1]


def _put(out: Tensor, sums: Tensor, first: int, weights: tuple[Tensor, Tensor], wrap: bool) -> None:
    """Put means into `out` `(1, C, H, W)`, from the sums `(rows, W + 6, C)` of rows from `first` on.

    Rows are counted from the top of the border, which is cut off, or with `wrap` belongs to the other side.
    """
    (height, width), margin, end = _size(out), MIDDLE // 2, first + len(sums)
    found = sums / weights[0][first:end, None, None]
    columns = weights[1][margin : margin + width, None]
    if wrap:
        folded = found.new_zeros(len(found), width, found.shape[2])
        found = folded.index_add_(1, around(width, margin, True, out.device), found) / columns
        out.index_add_(2, around(height, margin, True, out.device)[first:end], found.permute(2, 0, 1)[None])
    else:
        found = found[:, margin : margin + width] / columns
        inside = range(max(first, margin), min(end, height + margin))
        if inside:
            rows = found[inside.start - first : inside.stop - first]
            out[0, :, inside.start - margin : inside.stop - margin] = rows.permute(2, 0, 1)
