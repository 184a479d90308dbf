"""Copying of an image by its samples: connected pieces of one shift, found from the exact nearest patches.

A shift is where the nearest patch of the image is, minus where the patch of the sample is. A copied part of the image
has one shift over its whole area; new content has a different shift at nearly every position.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.metrics.nearest_patches import TIE, UNKNOWN, PatchKeys, patch_grid, to_search_size
from pgcn.metrics.patch_distribution import PATCH, known_patches, patches

SEARCH_SIDE = 100
"""Longest side at which patches are searched, px: the search is exact, and its cost is quadratic in pixels."""

CHUNK = 2**22
"""Distances that are taken at a time: 16 MiB."""

SWEEPS = 64
"""At most so many times do positions take over the shift of a neighbour."""

NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def copying(sample: Tensor, image: Tensor, known: Tensor | None = None) -> dict[str, float]:
    """`largest_piece`, `mean_piece` and `in_place` of a sample, both `(1, C, H, W)` in [-1, 1], of any sizes.

    Both are reduced by one factor, to at most 100 pixels on the longest side, and each 7x7 patch of the sample gets
    the shift of its nearest patch of the image (`shifts`). A piece is a set of neighbouring positions of one shift.
    With A the area of a piece as a share of the sample's area, all in [0, 1]:

    - largest_piece = max A: the image, a crop and a moved image give 1, two exchanged halves about 0.5;
    - mean_piece = Σ A²: the mean of A over the area. Small where a sample is made of many small pieces;
    - in_place: share of the area with a shift of at most one pixel both ways: copied from the same place.

    The area of a position is log(n / k) / log(n), n the patches of the image and k those in its `nearest_set`: a patch
    of a flat sky is near to all of the sky, and says little about where it is from. A mirrored, turned or resized copy
    has no single shift, and is not found. NaN for an image of one colour, which has no pieces.
    """
    sample, image = to_search_size(sample, image, SEARCH_SIDE)
    grid, image_grid = patch_grid(sample), patch_grid(image)
    near = nearest_set(sample, image, known).view(*grid, *image_grid)
    shift = shifts(near)
    area = position_area(near)
    piece = pieces(shift)
    total = area.sum()
    if float(total) <= 0:
        return dict.fromkeys(("largest_piece", "mean_piece", "in_place"), float("nan"))
    shares = torch.zeros(piece.numel(), dtype=torch.float64).index_add_(0, piece.flatten(), area.flatten()) / total
    kept = shift.abs().amax(-1) <= 1
    return {
        "largest_piece": min(1.0, float(shares.max())),  # sums of other orders may differ in the last digit
        "mean_piece": min(1.0, float(shares.square().sum())),
        "in_place": min(1.0, float(area[kept].sum() / total)),
    }


def nearest_set(sample: Tensor, image: Tensor, known: Tensor | None = None) -> Tensor:
    """For each patch of `sample` those of `image` that are its nearest: bool `(n, m)`, on the CPU.

    A patch of the image is in the set if its distance is at most the least distance + `TIE`, or at most its
    `half_pixel_distance`: a copy that is moved by a fraction of a pixel lies between two shifts, and which of them is
    nearer would change from place to place. Patches with pixels that are not `known` `(1, 1, H, W)` are in no set.
    """
    queries, keys, half_pixel = patches(sample), PatchKeys(patches(image)), half_pixel_distance(image)
    found, whole = [], known_patches(known, image)
    for chunk in queries.split(max(1, CHUNK // len(keys))):
        distances = keys.distances(chunk)
        if known is not None:
            distances = torch.where(whole, distances, UNKNOWN)
        bound = torch.maximum(distances.amin(1, keepdim=True) + TIE, half_pixel)
        found.append((distances <= bound).cpu())
    return torch.cat(found)


def half_pixel_distance(image: Tensor) -> Tensor:
    """Distance of each patch of `image` `(1, C, H, W)` from itself, shifted by half a pixel both ways: `(m,)`.

    The mean over the patch of ((∂x)² + (∂y)²) / 4, from differences of neighbouring pixels: exact to first order.
    """
    right = F.pad(image, (0, 1, 0, 0), mode="replicate").diff(dim=3).square()
    down = F.pad(image, (0, 0, 0, 1), mode="replicate").diff(dim=2).square()
    return F.avg_pool2d((right + down).mean(1, keepdim=True), PATCH, 1).flatten() / 4


def position_area(near: Tensor) -> Tensor:
    """log(n / k) / log(n) of each position, from its set as `(h, w, H, W)`: `(h, w)`, float64."""
    n = near.shape[2] * near.shape[3]
    k = near.flatten(2).sum(2, dtype=torch.int32).double()
    return (n / k).log() / torch.tensor(float(n)).double().log()


def shifts(near: Tensor) -> Tensor:
    """The shift of each position, `(h, w, 2)` rows and columns, from `nearest_set` as `(h, w, H, W)`.

    A position takes, of the shifts in its set, the one that most positions have in theirs; shift 0 where that is one
    of the most frequent. Then, until nothing changes, it takes the shift of the neighbour in the largest piece, where
    that shift is in its set and that piece is larger than its own.
    """
    shift = _most_frequent(near)
    for _ in range(SWEEPS):
        changed = _join_neighbours(near, shift)
        if torch.equal(changed, shift):
            break
        shift = changed
    return shift


def pieces(shift: Tensor) -> Tensor:
    """Number of each position's piece: `(h, w)`, the smallest index of a position in it, counted along rows.

    `shift` is `(h, w, 2)`; a piece is connected over edges, not over corners.
    """
    h, w = shift.shape[:2]
    label = torch.arange(h * w).view(h, w)
    right = (shift[:, 1:] == shift[:, :-1]).all(-1)
    down = (shift[1:] == shift[:-1]).all(-1)
    while True:
        before = label.clone()
        label[:, 1:] = torch.where(right, torch.minimum(label[:, 1:], before[:, :-1]), label[:, 1:])
        label[:, :-1] = torch.where(right, torch.minimum(label[:, :-1], before[:, 1:]), label[:, :-1])
        label[1:] = torch.where(down, torch.minimum(label[1:], before[:-1]), label[1:])
        label[:-1] = torch.where(down, torch.minimum(label[:-1], before[1:]), label[:-1])
        # A label is the index of a position of the same piece, so its own label is as valid, and smaller or equal.
        for _ in range(3):
            label = label.flatten()[label]
        if torch.equal(label, before):
            return label


def _most_frequent(near: Tensor) -> Tensor:
    """For each position the shift in its set that most positions have in theirs: `(h, w, 2)`."""
    h, w, rows, columns = near.shape
    votes = torch.zeros(h + rows - 1, w + columns - 1, dtype=torch.int32)
    for i in range(h):
        for j in range(w):
            votes[h - 1 - i : h - 1 - i + rows, w - 1 - j : w - 1 - j + columns] += near[i, j]
    votes *= 2
    votes[h - 1, w - 1] += 1  # the shift of nothing, before others that are as frequent
    found = []
    for i in range(h):
        at_row = votes[h - 1 - i : h - 1 - i + rows].unfold(1, columns, 1).transpose(0, 1).flip(0)
        best = torch.where(near[i], at_row, -1).flatten(1).argmax(1)
        found.append(torch.stack([best // columns - i, best % columns - torch.arange(w)], 1))
    return torch.stack(found)


def _join_neighbours(near: Tensor, shift: Tensor) -> Tensor:
    """One sweep of taking over the shift of a neighbour in a larger piece: `(h, w, 2)`."""
    h, w, rows, columns = near.shape
    label = pieces(shift)
    size = label.flatten().bincount(minlength=h * w)[label]
    rank = size * (h * w) - label  # the larger piece, then the first one
    i, j = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    best, found = rank.clone(), shift.clone()
    for di, dj in NEIGHBOURS:
        y, x = (i + di).clamp(0, h - 1), (j + dj).clamp(0, w - 1)
        other, other_rank = shift[y, x], rank[y, x]
        at_y, at_x = i + other[..., 0], j + other[..., 1]
        inside = (at_y >= 0) & (at_y < rows) & (at_x >= 0) & (at_x < columns)
        fits = inside & near[i, j, at_y.clamp(0, rows - 1), at_x.clamp(0, columns - 1)]
        takes = fits & (other_rank > best)
        best = torch.where(takes, other_rank, best)
        found = torch.where(takes[..., None], other, found)
    return found
