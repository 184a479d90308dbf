"""One chain at one scale with trained weights: the chains of sampling, of recovery and of tasks."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.noise import normal_each, seeded
from pgcn.imaging.scales import resize
from pgcn.method import AS_SAMPLED, ChainOptions
from pgcn.patchgencn.energy import crop, energy_gradient, pad
from pgcn.patchgencn.langevin import langevin
from pgcn.patchgencn.weights import PAD, Weights
from pgcn.settings import Settings, Step

Gradient = Callable[[Tensor], Tensor]
"""Maps padded images to ∇Σf there."""


def refine(x: Tensor, net: Weights, settings: Settings, scale: int, options: ChainOptions = AS_SAMPLED) -> Tensor:
    """Run one chain of `net` from `x` `(N, B·C, H, W)` and return its end, of the same shape.

    The zero border around the states moves with the chain and is cropped after it; with `options.wrap` the states are
    tori and have none.
    """
    gradient = energy_gradient(net, settings.precision)
    steps = chain_steps(settings, scale, options)
    draw = options.draw or normal_each(seeded(0, len(x)))
    border = 0 if options.wrap else PAD
    state = x if options.wrap else pad(x)
    if options.wrap:
        gradient = wrapped_gradient(gradient)
    state = langevin(state, gradient, steps, draw, inside(options.after, border))
    return state if options.wrap else crop(state)


def chain_steps(settings: Settings, scale: int, options: ChainOptions) -> list[Step]:
    """The steps of a chain at `scale`."""
    noise_std = settings.frozen_sigma() if options.noise_std is None else options.noise_std
    usual = settings.steps_at(scale)
    if options.last is not None:
        return settings.chain(max(options.last, usual), noise_std)[-options.last :] if options.last else []
    return settings.chain(usual if options.steps is None else options.steps, noise_std)


def inside(after: Callable[[Tensor], Tensor] | None, border: int = PAD) -> Callable[[Tensor], Tensor] | None:
    """`after` for states with a border of so many pixels, which it leaves as it is."""
    if after is None:
        return None

    def changed(state: Tensor) -> Tensor:
        if border == 0:
            return after(state).clamp(-1, 1)
        inner = after(crop(state))
        state = state.clone()
        state[..., border:-border, border:-border] = inner.clamp(-1, 1)
        return state

    return changed


def wrapped_gradient(gradient: Gradient) -> Gradient:
    """∇Σf of tori `(N, C, H, W)`, from the gradient of padded images.

    A position sees 5 px in each direction, and a pixel is seen by positions up to 5 px away: so 10 px of the opposite
    side surround the image.
    """
    return lambda x: crop(crop(gradient(F.pad(x, [2 * PAD] * 4, mode="circular"))))


def recovery_options(settings: Settings) -> ChainOptions:
    """The recovery chain: without noise, so that its end is a function of its start and the net alone."""
    return ChainOptions(steps=settings.recovery_steps, noise_std=0.0)


def recover_start(observed: Tensor) -> Tensor:
    """The start of the recovery chain of scale 0: the image at three quarters of its size, and back."""
    h, w = observed.shape[-2:]
    return resize(resize(observed, (max(1, round(0.75 * h)), max(1, round(0.75 * w)))), (h, w))
