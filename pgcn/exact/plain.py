"""The search and the drawing in plain PyTorch, on any device: what the compiled kernels are tested against."""

from __future__ import annotations

import torch
from torch import Tensor

from pgcn.exact.field import Field, Round
from pgcn.exact.patches import Patches

CHUNK = 4096
"""Positions whose candidates are compared together."""


def mixed(seed: int, a: Tensor, b: int) -> Tensor:
    """A number of 32 bits, in int64, that depends on three, without pattern: MurmurHash3's finalizer, three times."""
    mask = 0xFFFFFFFF
    h = torch.full_like(a, seed & mask)
    for k in (a, torch.full_like(a, b), torch.zeros_like(a)):
        h = h ^ (k & mask)
        h = h ^ (h >> 16)
        h = _times(h, 0x85EBCA6B)
        h = h ^ (h >> 13)
        h = _times(h, 0xC2B2AE35)
        h = h ^ (h >> 16)
    return h


def _times(h: Tensor, factor: int) -> Tensor:
    """The product modulo 2³², in halves: whole it would leave int64."""
    return ((h * (factor & 0xFFFF)) + (((h * (factor >> 16)) & 0xFFFF) << 16)) & 0xFFFFFFFF


def search_rows(task: Round, field: Field, queries: Tensor, first: int, new_least: Tensor) -> Field:
    """New matches of the rows from `first` on, whose patches are `queries` `(rows·W, components)`.

    Candidates are a position's own matches, the best of the neighbours in `jumps`, moved by the jump, and random ones
    around its best. The cost of one at mean squared difference d is (d + tie) / (1 + min(d, least)/completeness), less
    the share `coherence` · votes/8. `new_least` takes the smallest d of every patch that was a candidate.
    """
    width = field.size[1]
    index, cost = [], []
    for start in range(0, len(queries), CHUNK):
        query = queries[start : start + CHUNK]
        at = torch.arange(first * width + start, first * width + start + len(query), device=query.device)
        candidates, votes = _candidates(task, field, at // width, at % width)
        found = _best(task, query, candidates, votes, new_least, field.index.shape[2])
        index.append(found.index)
        cost.append(found.cost)
    return Field(
        torch.cat(index).view(-1, width, field.index.shape[2]), torch.cat(cost).view(-1, width, field.index.shape[2])
    )


def _candidates(task: Round, field: Field, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates `(n, m)` of the positions, and the votes of each column for its own `(n, m)`."""
    (h, w), (height, width) = task.patches.size, field.size
    own = field.index[y, x].long()
    found, votes = [own], [torch.zeros_like(own)]
    for dy, dx, vote in task.jumps.tolist():
        ny, nx = y + dy, x + dx
        inside = (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width) | task.wrap
        theirs = field.index[ny % height, nx % width, :1].long()
        my, mx = theirs // w - dy, theirs % w - dx
        good = inside[:, None] & (my >= 0) & (my < h) & (mx >= 0) & (mx < w)
        found.append(torch.where(good, _usable(task.patches, (my * w + mx).clamp(0, h * w - 1)), own[:, :1]))
        votes.append(good * vote)
    span = task.settings.reach
    for r in range(task.settings.random):
        chance = mixed(task.seed, y * width + x, r)
        my = (own[:, 0] // w + (chance & 0xFFFF) % (2 * span + 1) - span).clamp(0, h - 1)
        mx = (own[:, 0] % w + (chance >> 16) % (2 * span + 1) - span).clamp(0, w - 1)
        found.append(_usable(task.patches, my * w + mx)[:, None])
        votes.append(torch.zeros_like(found[-1]))
        span = max(1, span // 2)
    return torch.cat(found, 1), torch.cat(votes, 1)


def _usable(patches: Patches, at: Tensor) -> Tensor:
    return at if patches.snap is None else patches.snap[at]


def _best(task: Round, query: Tensor, candidates: Tensor, votes: Tensor, new_least: Tensor, top: int) -> Field:
    same = candidates[:, :, None] == candidates[:, None, :]
    votes = (same * votes[:, None, :]).sum(2)
    again = same.tril(-1).any(2)
    keys = task.patches.keys[candidates]
    d = (query[:, None, :] - task.alpha * keys).square().sum(2) / task.patches.values
    new_least.scatter_reduce_(0, candidates.reshape(-1), d.reshape(-1), "amin")
    s = task.settings
    cost = (d + s.tie) / (1 + torch.minimum(d, task.least[candidates]) / s.completeness)
    cost = torch.where(again, torch.inf, cost * (1 - s.coherence * votes / 8))
    kept = cost.sort(dim=1, stable=True)
    index = candidates.gather(1, kept.indices[:, :top])
    index = torch.where(kept.values[:, :top].isinf(), index[:, :1], index)
    return Field(index.int(), kept.values[:, :top])


def draw_rows(field: Field, sharpness: float, patches: Patches, window: Tensor, first: int, last: int) -> Tensor:
    """Sum of the middles of the patches around rows `first` to `last`, windowed: `(rows + 6, W + 6, C)`.

    A position's middle is the mean of its matches', weighted by softmax(-sharpness · cost). `window` is `(7, 7)`.
    """
    side, w = window.shape[0], patches.size[1]
    index, cost = field.index[first:last].long(), field.cost[first:last]
    weights = torch.softmax(-sharpness * cost, 2)
    rows, width = index.shape[:2]
    out = patches.image.new_zeros(rows + side - 1, width + side - 1, patches.image.shape[1])
    for a in range(side):
        for b in range(side):
            pixels = patches.drawable[index // w + a, index % w + b]
            out[a : a + rows, b : b + width] += window[a, b] * (weights[..., None] * pixels).sum(2)
    return out
