"""The patches of an image at one size: principal components for comparing them, and the pixels to draw them from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.exact.settings import MIDDLE
from pgcn.heartbeat import beat

SOME = 16_384
"""Patches from which the principal components are taken."""


def around(size: int, margin: int, wrap: bool, device: torch.device) -> Tensor:
    """Indices of a row of `size` with `margin` more at both ends, mirrored at the border or carried around it."""
    at = torch.arange(-margin, size + margin, device=device)
    if wrap or size == 1:
        return at % size
    at = at % (2 * size - 2)
    return torch.where(at < size, at, 2 * size - 2 - at)


def bordered(x: Tensor, margin: int, wrap: bool = False) -> Tensor:
    """`(N, C, H, W)` with a border of `margin` pixels: mirrored, or from the other side. Any size, also small ones."""
    rows, columns = (around(side, margin, wrap, x.device) for side in x.shape[-2:])
    return x.index_select(2, rows).index_select(3, columns)


def unfolded(x: Tensor, patch: int, wrap: bool = False) -> Tensor:
    """Patches around every pixel of `x` `(1, C, H, W)`, as rows: `(H·W, C·patch²)`."""
    return F.unfold(bordered(x, patch // 2, wrap), patch)[0].T


@dataclass(frozen=True, eq=False)
class Patches:
    """All patches of `image` `(1, C, h, w)`, one around every pixel, the image mirrored at its border.

    `basis` `(components, C, patch, patch)` are the principal components and `mean` the mean patch in them.
    `keys` `(h·w, components)` are the patches in components, without the mean. `snap` `(h·w,)` gives for every
    position the nearest one that may be used, where not all may.
    """

    image: Tensor
    patch: int
    basis: Tensor
    mean: Tensor
    keys: Tensor
    snap: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.image.shape[2], self.image.shape[3]

    @property
    def values(self) -> int:
        """Values of a patch."""
        return self.image.shape[1] * self.patch**2

    @cached_property
    def drawable(self) -> Tensor:
        """The image with the border that middles of patches reach, `(h + 6, w + 6, C)`, channels last."""
        return bordered(self.image, MIDDLE // 2)[0].permute(1, 2, 0).contiguous()

    @cached_property
    def allowed(self) -> Tensor:
        """Positions that may be used, `(m,)`."""
        every = torch.arange(len(self.keys), device=self.keys.device)
        return every if self.snap is None else every[self.snap == every]

    def queries(self, bordered_rows: Tensor, alpha: float) -> Tensor:
        """Patches of rows of a noisy picture, less α times the mean patch, in components: `(n, components)`.

        `bordered_rows` `(1, C, b + patch - 1, W + patch - 1)` have their border already.
        """
        x = bordered_rows.contiguous(memory_format=torch.channels_last)
        with float32_convolutions() if x.is_cuda else nullcontext():
            found = F.conv2d(x, self.basis).permute(0, 2, 3, 1).reshape(-1, self.basis.shape[0])
        return (found - alpha * self.mean).contiguous()


@contextmanager
def float32_convolutions() -> Iterator[None]:
    """Products of convolutions on a GPU in float32, for which PyTorch takes TF32.

    TF32 has 10 bits: as many patches are then as good as equal, the same seed gives another picture than on a CPU.
    """
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolution.fp32_precision
    convolution.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolution.fp32_precision = before


def patches_of(image: Tensor, patch: int, components: int, known: Tensor | None = None, band: int = 2**17) -> Patches:
    """The patches of `image` `(1, C, h, w)` in [-1, 1]; only those of pixels `known` `(1, 1, h, w)` where given."""
    basis, mean = _components(image, patch, components)
    kernel = basis.T.reshape(-1, image.shape[1], patch, patch).contiguous(memory_format=torch.channels_last)
    snap = None if known is None else nearest_usable(usable(known, patch))
    made = Patches(image, patch, kernel, mean @ basis, image.new_empty(0, basis.shape[1]), snap)
    padded, (h, w) = bordered(image, patch // 2), made.size
    rows = max(1, band // w)
    keys = image.new_empty(h * w, basis.shape[1])
    for top in range(0, h, rows):
        beat()
        b = min(rows, h - top)
        keys[top * w : (top + b) * w] = made.queries(padded[:, :, top : top + b + patch - 1], 1.0)
    return Patches(image, patch, kernel, made.mean, keys, snap)


def _components(image: Tensor, patch: int, components: int) -> tuple[Tensor, Tensor]:
    """Orthonormal columns `(C·patch², components)`, the leading ones of some patches, and their mean."""
    h, w = image.shape[2:]
    padded = bordered(image, patch // 2)[0]
    at = torch.arange(h * w, device=image.device)
    if len(at) > SOME:  # evenly spread, by a stride that no row is a multiple of
        at = (at[:SOME] * 2_654_435_761) % (h * w)
    y, x = at // w, at % w
    step = torch.arange(patch, device=image.device)
    rows = padded[:, (y[:, None] + step)[:, :, None], (x[:, None] + step)[:, None, :]]
    rows = rows.permute(1, 0, 2, 3).reshape(len(at), -1).double()
    mean = rows.mean(0)
    covariance = (rows - mean).T @ (rows - mean)
    vectors = torch.linalg.eigh(covariance.cpu()).eigenvectors  # a GPU takes longer for eigenvalues of so few numbers
    return vectors[:, -components:].flip(1).to(image), mean.to(image)


def usable(known: Tensor, patch: int) -> Tensor:
    """Positions whose whole patch is known, or its middle, or itself: the first of these that any position fulfils."""
    mask = (known > 0.5).float()
    for side in (patch, MIDDLE, 1):
        unknown = F.max_pool2d(bordered(1 - mask, side // 2), side, stride=1)
        if bool((unknown < 0.5).any()):
            return unknown[0, 0] < 0.5
    raise ValueError("no pixel is known: there is nothing to draw from")


def nearest_usable(where: Tensor) -> Tensor:
    """For every position of `(h, w)` the nearest one of `where`, by jumps of falling length: `(h·w,)`."""
    h, w = where.shape
    y, x = torch.meshgrid(torch.arange(h, device=where.device), torch.arange(w, device=where.device), indexing="ij")
    best = torch.where(where, y * w + x, -1)
    jump = 1 << max(h, w).bit_length()
    while jump:
        jump //= 2
        for dy, dx in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if jump and (a or b)):
            other = best[(y + dy * jump).clamp(0, h - 1), (x + dx * jump).clamp(0, w - 1)]
            best = torch.where(_apart(other, y, x, w) < _apart(best, y, x, w), other, best)
    return best.reshape(-1)


def _apart(at: Tensor, y: Tensor, x: Tensor, w: int) -> Tensor:
    """Squared distance from `(y, x)` to the positions `at`; very large where there is none."""
    far = torch.full_like(at, 2**62)
    return torch.where(at < 0, far, (at // w - y) ** 2 + (at % w - x) ** 2)
