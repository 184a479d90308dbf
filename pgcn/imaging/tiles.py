"""Processing of large images in overlapping tiles, to bound the memory of their chains."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

TILE = 256
"""Longest side of a tile, px: with the narrow net and float32, a chain on one holds about 60 MB."""

OVERLAP = 32
"""Pixels that neighbouring tiles share. A step of a chain reaches 10 px, with little influence beyond a few."""


Where = tuple[slice, slice]
"""Rows and columns of a tile."""


def spans(length: int, tile: int = TILE, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """Equal intervals that cover a side, each at most `tile` long, neighbours sharing at least `overlap`."""
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    return [(start, start + tile) for start in starts]


def _ramp(span: tuple[int, int], length: int, overlap: int) -> Tensor:
    """Weights along one side: 1 inside, falling linearly over the overlap where another tile follows."""
    start, end = span
    at = torch.arange(start, end, dtype=torch.float32)
    left = (at - start + 1) / (overlap + 1) if start > 0 else torch.ones_like(at)
    right = (end - at) / (overlap + 1) if end < length else torch.ones_like(at)
    return torch.minimum(left, right).clamp_max(1)


def tiled(x: Tensor, work: Callable[[Tensor, Where], Tensor], tile: int = TILE, overlap: int = OVERLAP) -> Tensor:
    """The results of `work` on tiles of `x` `(N, C, H, W)`, blended to the same size.

    `work` maps a tile and its place (rows, columns) to a result of the tile's size. A small `x` is one tile.
    """
    height, width = x.shape[-2:]
    pieces = list(_pieces(height, width, tile, overlap))
    if len(pieces) == 1:
        return work(x, (slice(0, height), slice(0, width)))
    total, weights = torch.zeros_like(x), x.new_zeros(1, 1, height, width)
    for rows, columns in pieces:
        weight = _ramp(rows, height, overlap)[:, None] * _ramp(columns, width, overlap)[None]
        where = slice(*rows), slice(*columns)
        weight = weight.to(x)
        total[..., where[0], where[1]] += work(x[..., where[0], where[1]], where) * weight
        weights[..., where[0], where[1]] += weight
    return total / weights


def _pieces(height: int, width: int, tile: int, overlap: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for rows in spans(height, tile, overlap):
        for columns in spans(width, tile, overlap):
            yield rows, columns
