"""Matches of a picture's patches in the image: by exhaustive comparison, or refined from a coarser scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pgcn.exact import plain
from pgcn.exact.field import Field, Round, jumps_of
from pgcn.exact.patches import Patches, around
from pgcn.exact.settings import DetailSettings
from pgcn.fused import is_fused
from pgcn.heartbeat import beat

KEPT = 2**26
"""Values of queries that are kept between rounds (256 MiB); above it they are made again in each."""


@dataclass(eq=False)
class Queries:
    """The patches of a noisy picture `y` `(1, 3, H, W)` at 1 - t = `alpha`, in bands of rows."""

    patches: Patches
    y: Tensor
    alpha: float
    wrap: bool
    band: int

    def __post_init__(self) -> None:
        margin, device = self.patches.patch // 2, self.y.device
        self._rows, self._columns = (around(side, margin, self.wrap, device) for side in self.size)
        self._kept: dict[int, Tensor] | None = {}
        if self.y.shape[2] * self.y.shape[3] * self.patches.keys.shape[1] > KEPT:
            self._kept = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, px."""
        return self.y.shape[2], self.y.shape[3]

    def bands(self) -> list[tuple[int, int]]:
        """First and last row (excluded) of every band."""
        height, width = self.size
        rows = max(1, self.band // width)
        return [(top, min(height, top + rows)) for top in range(0, height, rows)]

    def of(self, first: int, last: int) -> Tensor:
        """Queries of a band, `((last - first)·W, components)`."""
        if self._kept is not None and first in self._kept:
            return self._kept[first]
        rows = self._rows[first : last + self.patches.patch - 1]
        bordered_rows = self.y.index_select(2, rows).index_select(3, self._columns)
        found = self.patches.queries(bordered_rows, self.alpha)
        if self._kept is not None:
            self._kept[first] = found
        return found


def compiled(x: Tensor) -> bool:
    """True if the compiled kernels take this tensor: float32 on a CPU."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def carried(below: Field, image_below: tuple[int, int], image: tuple[int, int], size: tuple[int, int]) -> Field:
    """The matches of a coarser scale at the positions of a finer one, the part of a pixel kept."""
    (h, w), (height, width), (lh, lw) = image, size, below.size
    device = below.index.device
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    cy, cx = (y + 0.5) * lh / height - 0.5, (x + 0.5) * lw / width - 0.5
    ny, nx = cy.round().long().clamp(0, lh - 1), cx.round().long().clamp(0, lw - 1)
    found = below.index[ny[:, None], nx]
    my = ((found // image_below[1] + (cy - ny)[:, None, None] + 0.5) * h / image_below[0] - 0.5).round().int()
    mx = ((found % image_below[1] + (cx - nx)[None, :, None] + 0.5) * w / image_below[1] - 0.5).round().int()
    index = my.clamp_(0, h - 1) * w + mx.clamp_(0, w - 1)
    return Field(index, torch.zeros_like(index, dtype=torch.float32))


def exhaustive(queries: Queries, settings: DetailSettings) -> Field:
    """The best matches among all patches that may be used, by the same cost, the least distance over all positions."""
    patches, alpha = queries.patches, queries.alpha
    allowed = patches.allowed
    keys = alpha * patches.keys[allowed]
    squares = keys.square().sum(1)
    least = torch.full_like(squares, torch.inf)
    if settings.completeness != torch.inf:
        for _, d in _distances(queries, keys, squares):
            least = torch.minimum(least, d.amin(0))
    factor = 1 / (1 + least / settings.completeness) if settings.completeness != torch.inf else torch.ones_like(least)
    top = min(settings.top, len(allowed))
    # Allocated before the loop: small results that stay, between large ones that go, would leave holes in the memory.
    count = queries.size[0] * queries.size[1]
    index, cost = allowed.new_empty(count, top, dtype=torch.int32), keys.new_empty(count, top)
    first = 0
    for rows, d in _distances(queries, keys, squares):
        best = ((d + settings.tie) * factor).topk(top, 1, largest=False)
        index[first : first + rows], cost[first : first + rows] = allowed[best.indices].int(), best.values
        first += rows
    return Field(index.view(*queries.size, top), cost.view(*queries.size, top))


def _distances(queries: Queries, keys: Tensor, squares: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Mean squared differences of some queries to all keys at a time."""
    chunk = max(1, 4_000_000 // len(keys))
    for first, last in queries.bands():
        for q in queries.of(first, last).split(chunk):
            beat()
            d = torch.addmm(squares + q.square().sum(1, keepdim=True), q, keys.T, alpha=-2)
            yield len(q), d.clamp_min_(0).div_(queries.patches.values)


def improve(queries: Queries, field: Field, settings: DetailSettings, seed: int, least: Tensor) -> Tensor:
    """`settings.passes` rounds of search from `field`, which they overwrite; the least distances of the last one."""
    patches = queries.patches
    if patches.snap is not None:
        for first, last in queries.bands():
            field.index[first:last] = patches.snap[field.index[first:last].long()].int()
    for number in range(settings.passes):
        task = Round(
            patches, settings, queries.alpha, least, jumps_of(number), (seed + number) & 0xFFFFFFFF, queries.wrap
        )
        least = _round(task, queries, field)
    return least


def _round(task: Round, queries: Queries, field: Field) -> Tensor:
    """One round over all bands: all of them see the matches from before it. Returns the least distances."""
    before = Field(field.index.clone(), field.cost)  # costs from before are not looked at
    search = _search_fused if is_fused(queries.y) else _search_compiled if compiled(queries.y) else _search_plain

    def one(rows: tuple[int, int], least: Tensor) -> None:
        search(task, before, queries.of(*rows), rows[0], least, field)

    threads = torch.get_num_threads() if queries.y.device.type == "cpu" else 1
    leasts = in_threads(queries.bands(), one, lambda: torch.full_like(task.least, torch.inf), threads)
    least = leasts[0] if len(leasts) == 1 else torch.stack(leasts).amin(0)
    return torch.where(least.isinf(), 0, least)


def in_threads(
    bands: list[tuple[int, int]],
    one: Callable[[tuple[int, int], Tensor], None],
    room: Callable[[], Tensor],
    threads: int,
) -> list[Tensor]:
    """Do bands in so many threads at most, each with a `room` of its own: these.

    The calling thread is one of them: it alone sends heartbeats, one a band.
    """
    threads = min(threads, len(bands))
    rooms = [room() for _ in range(threads)]

    def work(thread: int) -> None:
        for band in bands[thread::threads]:
            beat()
            one(band, rooms[thread])

    if threads == 1:
        work(0)
    else:
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(work, thread) for thread in range(1, threads)]
            work(0)
            for other in others:
                other.result()
    return rooms


def _search_plain(task: Round, field: Field, queries: Tensor, first: int, least: Tensor, new: Field) -> None:
    found = plain.search_rows(task, field, queries, first, least)
    new.index[first : first + len(found.index)] = found.index
    new.cost[first : first + len(found.cost)] = found.cost


def _search_fused(task: Round, field: Field, queries: Tensor, first: int, least: Tensor, new: Field) -> None:
    from pgcn.exact import triton_kernels

    triton_kernels.search_rows(task, field, queries, first, least, new)


def _search_compiled(task: Round, field: Field, queries: Tensor, first: int, least: Tensor, new: Field) -> None:
    patches, s = task.patches, task.settings
    snap = torch.zeros(1, dtype=torch.int64) if patches.snap is None else patches.snap
    from pgcn.exact import kernels

    kernels.search_rows(
        queries.numpy(),
        patches.keys.numpy(),
        snap.numpy(),
        (*patches.size, task.wrap, s.random, s.reach),
        first,
        field.index.numpy(),
        task.least.numpy(),
        least.numpy(),
        task.jumps.numpy(),
        (task.alpha, s.completeness, s.coherence, s.tie, 1 / patches.values),
        task.seed,
        new.index.numpy(),
        new.cost.numpy(),
    )


__all__ = ["Queries", "carried", "compiled", "exhaustive", "improve", "in_threads"]
