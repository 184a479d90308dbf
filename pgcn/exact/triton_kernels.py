"""The search and the drawing on a GPU. `pgcn.exact.plain` says the same in PyTorch.

Random numbers and the order of candidates are those of the other two versions, so that all three find the same matches
but for rounding. The drawing gathers: each pixel sums the middles that lie over it, in a fixed order. The only atomic
operation is a minimum, whose result does not depend on the order: results repeat to the bit. Written in Triton, which
comes with PyTorch for GPUs.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from pgcn.exact.field import Field, Round
from pgcn.exact.patches import Patches

GAPS = 4096
"""Differences of components that a program of the search holds at once: 32 for each thread of four warps."""

COMPONENTS = 32
"""Components that it compares at once, as rows of contiguous numbers."""

VOTES = tl.constexpr(256)
"""More than the votes of a candidate."""

VALUES = 128
"""Values of pixels that a program of the drawing holds: one for each thread of four warps."""

_SIZES = ["H", "W", "h", "w"]


@triton.jit
def _stirred(hash, number):
    hash = hash ^ number
    hash = hash ^ (hash >> 16)
    hash = hash * 0x85EBCA6B
    hash = hash ^ (hash >> 13)
    hash = hash * 0xC2B2AE35
    return hash ^ (hash >> 16)


@triton.jit
def mixed(seed, a, b):
    """A number of 32 bits that depends on three, all uint32: that of `pgcn.exact.plain.mixed`."""
    hash = _stirred(_stirred(seed, a), b)
    return _stirred(hash, tl.zeros_like(hash))


@triton.jit
def _candidates(
    field, snap, jumps, at, inside, best, H, W, h, w, reach, seed,
    TOP: tl.constexpr, JUMPS: tl.constexpr, RANDOM: tl.constexpr, ROOM: tl.constexpr, WRAP: tl.constexpr,
    SNAP: tl.constexpr,
):  # fmt: skip
    """Candidates of the positions `at`, `(positions, ROOM)`, and their votes; a position's `best` where there is none.

    The order is that of the rows: own matches, those of the neighbours, random ones.
    """
    slot = tl.arange(0, ROOM)
    mine = tl.load(field + (at * TOP)[:, None] + slot[None, :], mask=inside[:, None] & (slot < TOP)[None, :], other=0)

    number = slot - TOP
    is_jump = (number >= 0) & (number < JUMPS)
    down = tl.load(jumps + 3 * number, mask=is_jump, other=0)[None, :]
    right = tl.load(jumps + 3 * number + 1, mask=is_jump, other=0)[None, :]
    vote = tl.load(jumps + 3 * number + 2, mask=is_jump, other=0)[None, :]
    y, x = (at // W)[:, None] + down, (at % W)[:, None] + right
    is_match = is_jump[None, :] & inside[:, None]
    if WRAP:
        y, x = (y % H + H) % H, (x % W + W) % W  # the remainder has the sign of the dividend
    else:
        is_match &= (y >= 0) & (y < H) & (x >= 0) & (x < W)
    theirs = tl.load(field + (y * W + x) * TOP, mask=is_match, other=0)
    y, x = theirs // w - down, theirs % w - right
    is_match &= (y >= 0) & (y < h) & (x >= 0) & (x < w)
    moved = y * w + x

    number = slot - TOP - JUMPS
    is_random = ((number >= 0) & (number < RANDOM))[None, :] & inside[:, None]
    halved = tl.maximum(reach >> tl.minimum(tl.maximum(number, 0), 31), 1)
    span = tl.where(number == 0, reach, halved)[None, :]
    chance = mixed(seed, at[:, None].to(tl.uint32), number[None, :].to(tl.uint32))
    y = (best // w)[:, None] + (chance & 0xFFFF).to(tl.int32) % (2 * span + 1) - span
    x = (best % w)[:, None] + (chance >> 16).to(tl.int32) % (2 * span + 1) - span
    drawn = tl.minimum(tl.maximum(y, 0), h - 1) * w + tl.minimum(tl.maximum(x, 0), w - 1)

    found = tl.where(is_random, drawn, tl.where(is_match, moved, best[:, None]))
    if SNAP:
        found = tl.load(snap + found, mask=is_random | is_match, other=0).to(tl.int32)
        found = tl.where(is_random | is_match, found, best[:, None])
    return tl.where((slot < TOP)[None, :], mine, found), tl.where(is_match, vote, 0)


@triton.jit(do_not_specialize=["first", "count", *_SIZES, "reach", "seed"])
def _search(
    queries, keys, snap, field, least, new_least, jumps, new_field, new_cost,
    first, count, H, W, h, w, reach, seed, alpha, completeness, coherence, tie, scale,
    LENGTH: tl.constexpr, PART: tl.constexpr, TOP: tl.constexpr, JUMPS: tl.constexpr, RANDOM: tl.constexpr,
    POSITIONS: tl.constexpr, ROOM: tl.constexpr, WRAP: tl.constexpr, SNAP: tl.constexpr,
):  # fmt: skip
    """New matches of `POSITIONS` positions, each with `ROOM` candidates, all compared at once."""
    here = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)  # in the band
    inside = here < count
    at = first * W + here
    best = tl.load(field + at * TOP, mask=inside, other=0)
    candidate, vote = _candidates(
        field, snap, jumps, at, inside, best, H, W, h, w, reach, seed.to(tl.uint32),
        TOP, JUMPS, RANDOM, ROOM, WRAP, SNAP,
    )  # fmt: skip

    slot = tl.arange(0, ROOM)
    same = candidate[:, :, None] == candidate[:, None, :]
    # Votes, and the number of equal candidates before a candidate, in one sum over all pairs.
    before = (slot[None, :, None] > slot[None, None, :]).to(tl.int32) * VOTES
    votes = tl.sum(tl.where(same, vote[:, None, :] + before, 0), 2)
    is_new = (votes < VOTES) & inside[:, None]

    d = tl.zeros((POSITIONS, ROOM), tl.float32)
    for begin in range(0, LENGTH, PART):
        component = begin + tl.arange(0, PART)
        query = tl.load(
            queries + here.to(tl.int64)[:, None] * LENGTH + component[None, :],
            mask=inside[:, None] & (component < LENGTH)[None, :],
            other=0.0,
        )
        key = tl.load(
            keys + candidate.to(tl.int64)[:, :, None] * LENGTH + component[None, None, :],
            mask=is_new[:, :, None] & (component < LENGTH)[None, None, :],
            other=0.0,
        )
        gap = query[:, None, :] - alpha * key
        d += tl.sum(gap * gap, 2)
    d *= scale

    # Floats that are not negative are in the order of their bits.
    tl.atomic_min(new_least + candidate, d.to(tl.int32, bitcast=True), mask=is_new, sem="relaxed")
    usual = tl.minimum(d, tl.load(least + candidate))
    cost = (d + tie) / (1 + usual / completeness) * (1 - coherence * votes)
    cost = tl.where(is_new, cost, float("inf"))
    for k in tl.static_range(TOP):
        lowest, chosen = tl.min(cost, 1, return_indices=True)  # the first of equals
        is_chosen = slot[None, :] == chosen[:, None]
        index = tl.sum(tl.where(is_chosen, candidate, 0), 1)
        if k == 0:
            best = index
        index = tl.where(lowest == float("inf"), best, index)
        tl.store(new_field + at * TOP + k, index, mask=inside)
        tl.store(new_cost + at * TOP + k, lowest, mask=inside)
        cost = tl.where(is_chosen, float("inf"), cost)


@cache
def _table(jumps: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    """`Round.jumps` on the GPU: once, since a copy waits for the GPU."""
    return torch.tensor(jumps, dtype=torch.int32, device=device)


def search_rows(task: Round, field: Field, queries: Tensor, first: int, new_least: Tensor, new: Field) -> None:
    """As `pgcn.exact.plain.search_rows`; the matches of rows from `first` on are written to `new`."""
    patches, s = task.patches, task.settings
    (h, w), (height, width), top = patches.size, field.size, field.index.shape[2]
    count, length = queries.shape
    jumps = tuple(map(tuple, task.jumps.tolist()))
    room = triton.next_power_of_2(top + len(jumps) + s.random)
    part = min(COMPONENTS, triton.next_power_of_2(length))
    positions = max(1, GAPS // (room * part))
    seed = task.seed - (task.seed >> 31 << 32)  # as int32: larger numbers would be another type
    index = field.index.contiguous()
    _search[(triton.cdiv(count, positions),)](
        queries, patches.keys, index if patches.snap is None else patches.snap, index, task.least,
        new_least.view(torch.int32), _table(jumps, queries.device), new.index, new.cost,
        first, count, height, width, h, w, s.reach, seed,
        task.alpha, s.completeness, s.coherence / 8, s.tie, 1 / patches.values,
        LENGTH=length, PART=part, TOP=top, JUMPS=len(jumps), RANDOM=s.random, POSITIONS=positions, ROOM=room,
        WRAP=task.wrap, SNAP=patches.snap is not None, num_warps=4,
    )  # fmt: skip


@triton.jit(do_not_specialize=["count", *_SIZES])
def _draw(
    start, weight, drawable, window, out, count, H, W, w,
    CHANNELS: tl.constexpr, SIDE: tl.constexpr, TOP: tl.constexpr, VALUES: tl.constexpr, WRAP: tl.constexpr,
):  # fmt: skip
    """The mean of the middles over each of `VALUES` values, by the window and the weights of matches."""
    value = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    inside = value < count
    at, channel = (value // CHANNELS).to(tl.int32), value % CHANNELS
    row, column = at // W, at % W
    sums, total = tl.zeros((VALUES,), tl.float32), tl.zeros((VALUES,), tl.float32)
    for a in range(SIDE):
        y, has_row = row + (SIDE // 2 - a), inside
        if WRAP:
            y = (y + SIDE * H) % H  # the sum is not negative
        else:
            has_row &= (y >= 0) & (y < H)
        for b in tl.static_range(SIDE):
            x, over = column + (SIDE // 2 - b), has_row
            if WRAP:
                x = (x + SIDE * W) % W
            else:
                over &= (x >= 0) & (x < W)
            part = tl.load(window + a * SIDE + b)
            total += tl.where(over, part, 0.0)
            first = (y * W + x) * TOP
            for k in tl.static_range(TOP):
                pixel = tl.load(start + k + first, mask=over, other=0) + (a * (w + SIDE - 1) + b)
                share = part * tl.load(weight + k + first, mask=over, other=0.0)
                sums += share * tl.load(drawable + pixel.to(tl.int64) * CHANNELS + channel, mask=over, other=0.0)
    tl.store(out + value, sums / tl.where(inside, total, 1.0), mask=inside)


def drawn(field: Field, sharpness: float, patches: Patches, window: Tensor, wrap: bool) -> Tensor:
    """The mean of windowed middles: `(1, C, H, W)`.

    It is the sum of `pgcn.exact.plain.draw_rows` over all rows, its border cut off or carried around, over that of the
    windows.
    """
    (height, width), top = field.size, field.index.shape[2]
    channels, w, side = patches.image.shape[1], patches.size[1], len(window)
    # Index of a middle's first pixel in the image with its border.
    start = (field.index + field.index.div(w, rounding_mode="floor") * (side - 1)).contiguous()
    weight = torch.softmax(-sharpness * field.cost, 2).contiguous()
    out = patches.image.new_empty(height, width, channels)
    _draw[(triton.cdiv(out.numel(), VALUES),)](
        start, weight, patches.drawable, window, out, out.numel(), height, width, w,
        CHANNELS=channels, SIDE=side, TOP=top, VALUES=VALUES, WRAP=wrap, num_warps=4,
    )  # fmt: skip
    return out.permute(2, 0, 1)[None].contiguous()
