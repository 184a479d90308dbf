"""Spectral norms of a net's layers: M is a kernel as a matrix (C_out, 9·C_in), u its first left singular vector.

Kernels are `(B, C_out, C_in, 3, 3)` for a batch of B images, u `(B, C_out)`. σ = uᵀMv with v along Mᵀu, which is
|Mᵀu| (Miyato et al., 2018). `pgcn.patchgencn.spectral_kernels` has the same functions for GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def power_iteration(matrix: Tensor, u: Tensor, steps: int = 1) -> Tensor:
    """Improve `u` `(…, rows)`, a guess of the first left singular vector of `matrix` `(…, rows, columns)`."""
    for _ in range(steps):
        u = F.normalize(_times(matrix, _times(matrix.mT, u)), dim=-1)
    return u


def iterate(kernels: Sequence[Tensor], us: Sequence[Tensor]) -> None:
    """One power iteration of every u, in place."""
    for kernel, u in zip(kernels, us, strict=True):
        u.copy_(power_iteration(kernel.flatten(2), u))


def normalized(kernels: Sequence[Tensor], us: Sequence[Tensor]) -> list[Tensor]:
    """The kernels divided by σ."""
    pairs = zip(kernels, us, strict=True)
    return [kernel / _along_v(kernel, u).norm(dim=-1).view(-1, 1, 1, 1, 1) for kernel, u in pairs]


def projected(kernels: Sequence[Tensor], us: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """The gradients by M from the gradients G by M/σ, with u and v held: (G - (G·M/σ)·uvᵀ)/σ."""
    found = []
    for kernel, u, gradient in zip(kernels, us, gradients, strict=True):
        along_v = _along_v(kernel, u)
        sigma = along_v.norm(dim=-1).view(-1, 1, 1)
        v = along_v.unsqueeze(1) / sigma
        matrix = gradient.flatten(2)
        part = (matrix * kernel.flatten(2)).sum((1, 2), keepdim=True) / sigma
        found.append(((matrix - part * u.unsqueeze(2) * v) / sigma).view_as(kernel))
    return found


def _along_v(kernel: Tensor, u: Tensor) -> Tensor:
    """Mᵀu `(B, columns)`: σ long, along M's first right singular vector."""
    return _times(kernel.flatten(2).mT, u)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
