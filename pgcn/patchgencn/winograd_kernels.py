"""The transforms of Winograd's F(4x4, 3x3), and what lies between two convolutions, compiled for a processor.

A tile is 4x4 positions of a convolution's output, made from 6x6 positions of its input. `pgcn.patchgencn.winograd` has
the matrices. Channels are last; their number is a constant of the compiled function,
and each function takes rows of tiles as slices: only so are loops over channels compiled to vector instructions
(a transform takes 2.6 times as long without).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from pgcn.numba_jit import jit

ACTIVATE, BACKWARD_FIRST, BACKWARD = range(3)
"""Operations that end a convolution: bias and ELU; bias, and ELU' times the gradient behind the last layer, with which
the backward pass begins; ELU'."""

_jit = jit({"contract", "nsz", "arcp"})  # no "reassoc": it would remove the rounding in `_exponential`

F = np.float32
ONE, TWO, FOUR, FIVE, EIGHT = F(1), F(2), F(4), F(5), F(8)
ROUND = F(1.5 * 2**23)
"""Added to a float32 below 2²², it leaves the nearest whole number in the lowest bits."""


@_jit
def _exponential(x):
    """exp(min(x, 0)) to an error of 1e-7: 2ᵏ·exp(r) with |r| ≤ ln 2 / 2, by Taylor's series. NaN stays NaN."""
    x = F(0) if x > F(0) else x
    x = F(-87) if x < F(-87) else x
    shifted = x * F(1.44269504) + ROUND
    r = x - (shifted - ROUND) * F(0.69314718)
    p = F(1 / 720) * r + F(1 / 120)
    p = p * r + F(1 / 24)
    p = p * r + F(1 / 6)
    p = p * r + F(0.5)
    p = p * r + ONE
    p = p * r + ONE
    power = np.int32((F(shifted).view(np.int32) + np.int32(127)) << np.int32(23))
    return p * power.view(np.float32)


@_jit
def elu(x) -> None:
    """ELU of `x` `(n,)` in place."""
    for i in range(x.shape[0]):
        v = x[i]
        x[i] = v if v > F(0) else _exponential(v) - ONE


class Transforms(NamedTuple):
    """`spread`, `gather` and `lift` for one number of channels."""

    spread: Any
    gather: Any
    lift: Any


@cache
def transforms(channels: int) -> Transforms:
    """The compiled functions for so many channels."""

    @_jit
    def spread(source, padding, down, across, first, target):
        """Bᵀ·d·B of tiles `first`… of a convolution of `source` `(N, H, W, C)`, zero-padded: `target` `(T, 36, C)`."""
        n, height, width, _ = source.shape
        rows = source.reshape(n, height, width * channels)
        tile, half = np.zeros((6, 6 * channels), F), np.empty((6, 6 * channels), F)
        columns = half.reshape(6, 6, channels)
        for i in range(target.shape[0]):
            image, rest = (first + i) // (down * across), (first + i) % (down * across)
            top, begin = 4 * (rest // across) - padding, 4 * (rest % across) - padding
            left, right = max(0, -begin), min(6, width - begin)
            for r in range(6):
                if not 0 <= top + r < height:
                    tile[r] = F(0)
                    continue
                if left > 0:
                    tile[r, : left * channels] = F(0)
                if right < 6:
                    tile[r, right * channels :] = F(0)
                row = rows[image, top + r, (begin + left) * channels : (begin + right) * channels]
                inner = tile[r, left * channels : right * channels]
                for c in range(inner.size):
                    inner[c] = row[c]
            _times_b(tile, half, 6 * channels)
            for r in range(6):
                _times_b(columns[r], target[i, 6 * r : 6 * r + 6], channels)

    @_jit
    def gather(sums, bias, other, end, down, across, first, target):
        """Aᵀ·M·A of `sums` `(36, T, C)`, then the operation `end`: positions of tiles `first`… of `target`."""
        _, height, width, _ = target.shape
        half, row = np.empty((4, 6, channels), F), np.empty((4, channels), F)
        for i in range(sums.shape[1]):
            image, rest = (first + i) // (down * across), (first + i) % (down * across)
            top, begin = 4 * (rest // across), 4 * (rest % across)
            for k in range(6):
                for c in range(channels):
                    m1, m2, m3, m4 = sums[6 + k, i, c], sums[12 + k, i, c], sums[18 + k, i, c], sums[24 + k, i, c]
                    a, b, p, q = m1 + m2, m1 - m2, m3 + m4, m3 - m4
                    half[0, k, c] = sums[k, i, c] + a + p
                    half[1, k, c] = b + TWO * q
                    half[2, k, c] = a + FOUR * p
                    half[3, k, c] = b + EIGHT * q + sums[30 + k, i, c]
            for r in range(min(4, height - top)):
                for c in range(channels):
                    m1, m2, m3, m4 = half[r, 1, c], half[r, 2, c], half[r, 3, c], half[r, 4, c]
                    a, b, p, q = m1 + m2, m1 - m2, m3 + m4, m3 - m4
                    row[0, c] = half[r, 0, c] + a + p
                    row[1, c] = b + TWO * q
                    row[2, c] = a + FOUR * p
                    row[3, c] = b + EIGHT * q + half[r, 5, c]
                y = top + r
                for k in range(min(4, width - begin)):
                    x = begin + k
                    if end == ACTIVATE:
                        for c in range(channels):
                            v = row[k, c] + bias[c]
                            e = _exponential(v) - ONE
                            target[image, y, x, c] = v if v > F(0) else e
                    elif end == BACKWARD_FIRST:
                        for c in range(channels):
                            e = _exponential(row[k, c] + bias[c])
                            target[image, y, x, c] = other[0, y, x, c] * e
                    else:
                        for c in range(channels):
                            slope = other[image, y, x, c] + ONE  # exp(x) = ELU + 1 below zero
                            target[image, y, x, c] = row[k, c] * (ONE if slope > ONE else slope)

    @_jit
    def lift(gradient, down, across, first, target):
        """A·g·Aᵀ of tiles `first`… of `gradient` `(N, H, W, C)`: `target` `(T, 36, C)`, the adjoint of `gather`."""
        _, height, width, _ = gradient.shape
        tile, half = np.empty((4, 4, channels), F), np.empty((6, 4, channels), F)
        for i in range(target.shape[0]):
            image, rest = (first + i) // (down * across), (first + i) % (down * across)
            top, begin = 4 * (rest // across), 4 * (rest % across)
            tile[:] = F(0)
            for r in range(min(4, height - top)):
                y = top + r
                for k in range(min(4, width - begin)):
                    x = begin + k
                    for c in range(channels):
                        tile[r, k, c] = gradient[image, y, x, c]
            for k in range(4):
                for c in range(channels):
                    g0, g1, g2, g3 = tile[0, k, c], tile[1, k, c], tile[2, k, c], tile[3, k, c]
                    even, odd, far, farther = g0 + g2, g1 + g3, g0 + FOUR * g2, TWO * g1 + EIGHT * g3
                    half[0, k, c] = g0
                    half[1, k, c] = even + odd
                    half[2, k, c] = even - odd
                    half[3, k, c] = far + farther
                    half[4, k, c] = far - farther
                    half[5, k, c] = g3
            for r in range(6):
                out = target[i, 6 * r : 6 * r + 6]
                for c in range(channels):
                    g0, g1, g2, g3 = half[r, 0, c], half[r, 1, c], half[r, 2, c], half[r, 3, c]
                    even, odd, far, farther = g0 + g2, g1 + g3, g0 + FOUR * g2, TWO * g1 + EIGHT * g3
                    out[0, c] = g0
                    out[1, c] = even + odd
                    out[2, c] = even - odd
                    out[3, c] = far + farther
                    out[4, c] = far - farther
                    out[5, c] = g3

    return Transforms(spread, gather, lift)


@_jit
def _times_b(d, out, count):
    for c in range(count):
        d0, d1, d2, d3, d4, d5 = d[0, c], d[1, c], d[2, c], d[3, c], d[4, c], d[5, c]
        even, odd = d4 - FOUR * d2, d3 - FOUR * d1
        out[0, c] = FOUR * d0 - FIVE * d2 + d4
        out[1, c] = even + odd
        out[2, c] = even - odd
        even, odd = d4 - d2, TWO * (d3 - d1)
        out[3, c] = even + odd
        out[4, c] = even - odd
        out[5, c] = FOUR * d1 - FIVE * d3 + d5


class Ends(NamedTuple):
    """`columns` and `step`, the first and the last part of a Langevin step, for one number of channels of images."""

    columns: Any
    step: Any


@cache
def ends(channels: int) -> Ends:
    """The compiled functions for images of so many channels."""
    side = 3 * channels

    @_jit
    def columns(source, target):
        """The 3x3 neighbours of each position of `source` `(N, H, W, C)`, and a 1: `target` `(N·h·w, 9·C + 1)`."""
        n, height, width, _ = source.shape
        rows = source.reshape(n, height, width * channels)
        at = 0
        for image in range(n):
            for y in range(height - 2):
                for x in range(width - 2):
                    for r in range(3):
                        row = rows[image, y + r, x * channels :]
                        out = target[at, r * side :]
                        for c in range(side):
                            out[c] = row[c]
                    target[at, 3 * side] = ONE
                    at += 1

    @_jit
    def step(products, half_size, noise, clamp, state):
        """state += half_size·(sum of the products that meet a pixel) + noise, in place; the adjoint of `columns`.

        `products` `(N, h, w, 9·C)`, `state` and `noise` `(N, h + 2, w + 2, C)`; `noise` may be empty.
        """
        _, height, width, _ = products.shape
        wide = (width + 2) * channels
        sums = np.empty(wide, F)
        rows, noises = state.reshape(state.shape[0], height + 2, wide), noise.reshape(noise.shape[0], height + 2, -1)
        for image in range(state.shape[0]):
            for y in range(height + 2):
                sums[:] = F(0)
                for r in range(max(0, y - height + 1), min(3, y + 1)):
                    for x in range(width):
                        part, out = products[image, y - r, x, r * side :], sums[x * channels :]
                        for c in range(side):
                            out[c] += part[c]
                row = rows[image, y]
                for c in range(wide):
                    row[c] += half_size * sums[c]
                if noise.size:
                    more = noises[image, y]
                    for c in range(wide):
                        row[c] += more[c]
                if clamp:
                    for c in range(wide):
                        v = row[c]
                        row[c] = ONE if v > ONE else (-ONE if v < -ONE else v)  # NaN stays NaN

    return Ends(columns, step)
