"""The search and the drawing on a processor, compiled. `pgcn.exact.plain` says the same in PyTorch."""

from __future__ import annotations

import numpy as np

from pgcn.numba_jit import jit

_jit = jit({"reassoc", "contract", "nsz", "arcp"})


@_jit
def mixed(seed, a, b):
    """A number of 32 bits that depends on three, without pattern (the finalizer of MurmurHash3, three times)."""
    h = np.uint32(seed)
    for k in (a, b, 0):
        h ^= np.uint32(k)
        h ^= h >> np.uint32(16)
        h = np.uint32(h * np.uint32(0x85EBCA6B))
        h ^= h >> np.uint32(13)
        h = np.uint32(h * np.uint32(0xC2B2AE35))
        h ^= h >> np.uint32(16)
    return h


@_jit
def _distance(query, keys, at, alpha):
    total = np.float32(0)
    key = keys[at]
    for c in range(query.shape[0]):
        gap = query[c] - alpha * key[c]
        total += gap * gap
    return total


@_jit
def search_rows(queries, keys, snap, shape, first, field, least, new_least, jumps, numbers, seed, new_field, new_cost):
    """New matches of the rows from `first` on, from those of all rows: see `pgcn.exact.plain.search_rows`."""
    h, w, wrap, random, reach = shape
    # float32 throughout: one float64 among the factors would halve what a vector holds.
    alpha, completeness = np.float32(numbers[0]), np.float32(numbers[1])
    coherence, tie, scale = np.float32(numbers[2] / 8), np.float32(numbers[3]), np.float32(numbers[4])
    one = np.float32(1)
    H, W, top = field.shape
    rows = queries.shape[0] // W
    room = top + len(jumps) + random
    at = np.empty(room, np.int32)
    votes = np.empty(room, np.int32)
    for row in range(rows):
        y = first + row
        for x in range(W):
            count = 0
            for k in range(top):
                count = _add(at, votes, count, field[y, x, k], 0)
            for j in range(len(jumps)):
                ny, nx = y + jumps[j, 0], x + jumps[j, 1]
                if wrap:
                    ny, nx = ny % H, nx % W
                elif ny < 0 or ny >= H or nx < 0 or nx >= W:
                    continue
                best = field[ny, nx, 0]
                my = best // w - jumps[j, 0]
                mx = best % w - jumps[j, 1]
                if 0 <= my < h and 0 <= mx < w:
                    place = my * w + mx
                    if snap.shape[0] > 1:
                        place = snap[place]
                    count = _add(at, votes, count, place, jumps[j, 2])
            span = reach
            for r in range(random):
                chance = mixed(seed, y * W + x, r)
                my = field[y, x, 0] // w + np.int64(chance & np.uint32(0xFFFF)) % (2 * span + 1) - span
                mx = field[y, x, 0] % w + np.int64(chance >> np.uint32(16)) % (2 * span + 1) - span
                place = min(max(my, 0), h - 1) * w + min(max(mx, 0), w - 1)
                if snap.shape[0] > 1:
                    place = snap[place]
                count = _add(at, votes, count, place, 0)
                span = max(1, span // 2)
            query = queries[row * W + x]
            for k in range(top):
                new_cost[y, x, k] = np.inf
            for c in range(count):
                d = _distance(query, keys, at[c], alpha) * scale
                if d < new_least[at[c]]:
                    new_least[at[c]] = d
                usual = min(least[at[c]], d)
                cost = (d + tie) / (one + usual / completeness) * (one - coherence * np.float32(votes[c]))
                _insert(new_field[y, x], new_cost[y, x], at[c], cost)
            for k in range(count, top):
                new_field[y, x, k] = new_field[y, x, 0]


@_jit
def _add(at, votes, count, place, vote):
    """Put a candidate among the others, once; its votes add up."""
    for c in range(count):
        if at[c] == place:
            votes[c] += vote
            return count
    at[count] = place
    votes[count] = vote
    return count + 1


@_jit
def _insert(kept, costs, place, cost):
    top = kept.shape[0]
    k = top
    while k > 0 and cost < costs[k - 1]:
        k -= 1
    if k < top:
        for j in range(top - 1, k, -1):
            kept[j] = kept[j - 1]
            costs[j] = costs[j - 1]
        kept[k] = place
        costs[k] = cost


@_jit
def draw_rows(field, cost, sharpness, drawable, window, out, channels, first, last):
    """Add the weighted middles of the matches of rows `first` to `last` to `out`: see `pgcn.exact.plain.draw_rows`.

    `drawable` and `out` have the `channels` values of a pixel side by side in their rows.
    """
    side = window.shape[0]
    w = drawable.shape[1] // channels - side + 1
    W, top = field.shape[1], field.shape[2]
    middle = np.empty((side, channels * side), np.float32)
    weights = np.empty(top, np.float32)
    for y in range(first, last):
        for x in range(W):
            total = np.float32(0)
            for k in range(top):
                weights[k] = np.exp(-sharpness * (cost[y, x, k] - cost[y, x, 0]))
                total += weights[k]
            middle[:] = 0
            for k in range(top):
                weight = weights[k] / total
                if weight < 1e-4:
                    continue
                my, mx = field[y, x, k] // w, channels * (field[y, x, k] % w)
                for a in range(side):
                    for b in range(channels * side):
                        middle[a, b] += weight * drawable[my + a, mx + b]
            for a in range(side):
                for b in range(channels * side):
                    out[y - first + a, channels * x + b] += middle[a, b] * window[a, b]
