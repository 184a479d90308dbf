"""Unit length of normals: chains, resizing and means of patches leave vectors shorter or longer than 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Project = Callable[[Tensor], Tensor]
"""Maps states `(N, C, H, W)` to states of the same shape."""

SHORTEST = 0.01
"""Length below which a vector has no direction; mid gray of 8 bits is such a vector."""


def unit(n: Tensor) -> Tensor:
    """Vectors `(N, 3, H, W)` divided by their lengths; those shorter than `SHORTEST` become (0, 0, 1), a flat surface.

    Every component is in [-1, 1].
    """
    length = n.norm(dim=1, keepdim=True)
    flat = torch.zeros_like(n)  # not from a list, which a CUDA graph could not copy
    flat[:, 2] = 1
    return torch.where(length < SHORTEST, flat, n / length.clamp_min(SHORTEST))


@dataclass(frozen=True)
class UnitNormals:
    """The rule that the vectors in these channels of states `(N, C, H, W)` have unit length."""

    where: tuple[slice, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """A copy of the states, with those vectors under `unit`."""
        x = x.clone()
        for where in self.where:
            x[:, where] = unit(x[:, where])
        return x


def applied(rule: Project | None, x: Tensor) -> Tensor:
    """`x` under a rule; itself without one."""
    return x if rule is None else rule(x)


def then(after: Project | None, rule: Project | None) -> Project | None:
    """First `after`, then the rule; None where both are."""
    if after is None or rule is None:
        return after or rule
    first, second = after, rule
    return lambda x: second(first(x))
