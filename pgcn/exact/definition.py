"""The exact energy of an image's patches and what follows from it, as it is written: all patches, all their values.

For tests, for energy maps of small pictures, and for the published closed form that the benchmark compares with
(a training-free diffusion on patches, arXiv 2606.04299). Cost grows with the square of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.exact.patches import unfolded
from pgcn.heartbeat import beat

COMPARED, LEAST = 4_000_000, 64
"""Pairs of patches that are compared together, which bounds memory (16 MB up to 62,500 patches of the image), and the
least number of queries: with fewer, most of the time goes to reading the image's patches."""


def log_density(picture: Tensor, image: Tensor, t: float, patch: int) -> Tensor:
    """log Σ_i exp(-|q - (1 - t)·p_i|² / 2t²) for the patch q around every pixel of `picture`: `(H, W)`.

    `picture` `(1, C, H, W)` and `image` `(1, C, h, w)` are mirrored at their borders, so that there are as many patches
    as pixels. f_t of the picture is the sum of the map.
    """
    found = [logits.logsumexp(1) for logits in _logits(unfolded(picture, patch), (1 - t) * unfolded(image, patch), t)]
    return torch.cat(found).view(picture.shape[2:])


def posterior_mean(picture: Tensor, image: Tensor, t: float, patch: int) -> Tensor:
    """E[p | q] for the patch q around every pixel, the softmax over all patches of the image: `(H·W, C·patch²)`.

    p is one of the image's patches, each as probable as the others, and q = (1 - t)·p + t·ε.
    """
    keys = unfolded(image, patch)
    return torch.cat([logits.softmax(1) @ keys for logits in _logits(unfolded(picture, patch), (1 - t) * keys, t)])


def gradient(picture: Tensor, image: Tensor, t: float, patch: int) -> Tensor:
    """∇f_t at `picture`, of its shape: patch by patch ((1 - t)·E[p | q] - q)/t², added up where they lie."""
    mean = posterior_mean(picture, image, t, patch)
    at = picture.detach().requires_grad_()
    rows = unfolded(at, patch)
    slope = ((1 - t) * mean - rows.detach()) / t**2
    (found,) = torch.autograd.grad((rows * slope).sum(), at)
    return found


def denoised(picture: Tensor, image: Tensor, t: float, patch: int, spread: float = torch.inf) -> Tensor:
    """The posterior means of all patches put together, `(1, C, H, W)`.

    Each pixel is the mean of the patches over it, by a Gaussian of `spread` halves of a patch's side; plain by default.
    """
    height, width = picture.shape[2:]
    at = torch.linspace(-1, 1, patch, dtype=picture.dtype, device=picture.device)
    line = torch.exp(-0.5 * (at / spread) ** 2)
    window = (line[:, None] * line).expand(picture.shape[1], patch, patch).reshape(-1, 1)
    rows = posterior_mean(picture, image, t, patch)
    size, margin = (height + patch - 1, width + patch - 1), patch // 2
    total = F.fold((rows.T * window)[None], size, patch)
    weight = F.fold(window.expand(-1, len(rows))[None].contiguous(), size, patch)
    return (total / weight)[..., margin : margin + height, margin : margin + width]


def _logits(queries: Tensor, keys: Tensor, t: float) -> Iterator[Tensor]:
    """-|q - k|² / 2t² of some queries and all keys at a time."""
    squares = keys.square().sum(1)
    for q in queries.split(max(LEAST, COMPARED // len(keys))):
        beat()
        apart = torch.addmm(squares + q.square().sum(1, keepdim=True), q, keys.T, alpha=-2)
        yield apart.clamp_min(0) / (-2 * t * t)
