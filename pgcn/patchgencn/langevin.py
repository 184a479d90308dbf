"""Short-run Langevin dynamics: a few steps of noisy gradient ascent on f."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from pgcn.patchgencn.energy import FusedLangevin
from pgcn.settings import Step

Draw = Callable[[Tensor], Tensor]
"""Standard normal noise ε of the shape of its argument."""


_sign_of_life: ContextVar[Callable[[], None]] = ContextVar("sign_of_life", default=lambda: None)


@contextmanager
def watched(sign_of_life: Callable[[], None]) -> Iterator[None]:
    """Inside this context, `sign_of_life` is called at the start of every chain; what it raises ends the work."""
    token = _sign_of_life.set(sign_of_life)
    try:
        yield
    finally:
        _sign_of_life.reset(token)


def normal_stack(generators: Sequence[torch.Generator]) -> Draw:
    """ε with one generator for each image of a stack: `(N, B·3, H, W)` for B generators, each on its own device."""

    def draw(x: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1] // len(generators), *x.shape[2:])
        return torch.cat([torch.randn(shape, generator=g, device=g.device) for g in generators], dim=1).to(x)

    return draw


def normal_each(generators: Sequence[torch.Generator]) -> Draw:
    """ε with one generator for each of N states: a sample's noise does not depend on its neighbours."""

    def draw(x: Tensor) -> Tensor:
        each = [torch.randn(x.shape[1:], generator=g, device=g.device) for g in generators]
        return torch.stack(each).to(x)

    return draw


def langevin(x: Tensor, gradient: Callable[[Tensor], Tensor], steps: Sequence[Step], draw: Draw) -> Tensor:
    """Run x ← clamp(x + ½·size·∇ₓΣf(x) + noise_std·ε, -1, 1) for each of `steps`, and return the end, detached.

    `x` is any batch of states in [-1, 1]; `gradient` maps it to ∇ₓΣf(x). With `noise_std` =
    √size this is Langevin dynamics, whose law approaches p ∝ exp f as the step goes to zero; the
    published code uses less noise, and none at last. No noise is drawn where `noise_std` is 0.
    """
    _sign_of_life.get()()
    if isinstance(gradient, FusedLangevin):
        return gradient.climb(x, steps, draw)
    with torch.no_grad():
        for size, noise_std in steps:
            x = x + 0.5 * size * gradient(x)
            if noise_std > 0:
                x = x + noise_std * draw(x)
            x = x.clamp(-1, 1)
    return x
