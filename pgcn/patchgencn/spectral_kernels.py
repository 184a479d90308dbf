"""Spectral norms on a GPU: one kernel for all layers and images of a batch, for each of three operations.

The functions are those of `pgcn.patchgencn.spectral`, whose thirty small operations for each layer would be kernels
that take longer to start than to run. Written in Triton, one program for each layer and image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

LAYERS = 4
"""All but the last, which is not normalized."""

BLOCK, WARPS = 128, 16
"""Columns of M that a program holds at once, and its warps."""

ITERATE, NORMALIZE, PROJECT = range(3)
"""u ← Mv/|Mv| with v = Mᵀu/|Mᵀu|; M/σ; the gradient by M from the gradient G by M/σ."""


@triton.jit
def _norms(
    m0, m1, m2, m3, u0, u1, u2, u3, g0, g1, g2, g3, out0, out1, out2, out3,
    r0, r1, r2, r3, c0, c1, c2, c3,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WHAT: tl.constexpr,
):  # fmt: skip
    """The operation `WHAT` on one layer of one image, in at most two passes over M."""
    layer, image = tl.program_id(0), tl.program_id(1)
    m, u, g, out, rows, columns = m0, u0, g0, out0, r0, c0
    if layer == 1:
        m, u, g, out, rows, columns = m1, u1, g1, out1, r1, c1
    elif layer == 2:
        m, u, g, out, rows, columns = m2, u2, g2, out2, r2, c2
    elif layer == 3:
        m, u, g, out, rows, columns = m3, u3, g3, out3, r3, c3
    row = tl.arange(0, ROWS)
    left = tl.load(u + image * rows + row, mask=row < rows, other=0.0)
    here = image.to(tl.int64) * rows * columns
    square, product = 0.0, 0.0
    moved = tl.zeros((ROWS,), tl.float32)
    for begin in range(0, columns, BLOCK):
        column = begin + tl.arange(0, BLOCK)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        at = here + row[:, None] * columns + column[None, :]
        part = tl.load(m + at, mask=inside, other=0.0)
        along_v = tl.sum(part * left[:, None], 0)
        square += tl.sum(along_v * along_v)
        if WHAT == 0:
            moved += tl.sum(part * along_v[None, :], 1)
        if WHAT == 2:
            product += tl.sum(part * tl.load(g + at, mask=inside, other=0.0))
    if WHAT == 0:
        length = tl.sqrt(tl.sum(moved * moved))
        tl.store(u + image * rows + row, moved / length, mask=row < rows)
    else:
        sigma = tl.sqrt(square)
        for begin in range(0, columns, BLOCK):
            column = begin + tl.arange(0, BLOCK)
            inside = (row < rows)[:, None] & (column < columns)[None, :]
            at = here + row[:, None] * columns + column[None, :]
            part = tl.load(m + at, mask=inside, other=0.0)
            if WHAT == 2:  # (G - (G·M/σ)·uvᵀ)/σ, v = Mᵀu/σ
                along_v = tl.sum(part * left[:, None], 0)
                part = tl.load(g + at, mask=inside, other=0.0)
                part -= product / (sigma * sigma) * left[:, None] * along_v[None, :]
            tl.store(out + at, part / sigma, mask=inside)


def iterate(kernels: Sequence[Tensor], us: Sequence[Tensor]) -> None:
    """One power iteration of every u, in place."""
    _run(ITERATE, kernels, us, kernels, kernels)


def normalized(kernels: Sequence[Tensor], us: Sequence[Tensor]) -> list[Tensor]:
    """The kernels divided by σ."""
    found = [torch.empty_like(kernel) for kernel in kernels]
    _run(NORMALIZE, kernels, us, kernels, found)
    return found


def projected(kernels: Sequence[Tensor], us: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """The gradients by M from those by M/σ."""
    found = [torch.empty_like(kernel) for kernel in kernels]
    _run(PROJECT, kernels, us, [gradient.contiguous() for gradient in gradients], found)
    return found


def _run(
    what: int, kernels: Sequence[Tensor], us: Sequence[Tensor], gradients: Sequence[Tensor], out: Sequence[Tensor]
) -> None:
    rows = [kernel.shape[1] for kernel in kernels]
    columns = [kernel[0, 0].numel() for kernel in kernels]
    _norms[(LAYERS, len(kernels[0]))](
        *kernels, *us, *gradients, *out, *rows, *columns, ROWS=max(rows), BLOCK=BLOCK, WHAT=what, num_warps=WARPS
    )
