"""Chains from a given picture: put in at scale n, run up to the finest, with what is known put back after each step.

How the field uses a pyramid: SinGAN (Shaham et al., ICCV 2019) injects a picture at a coarse scale and lets the finer
ones make its details; a smaller n is freer, a larger one nearer to what was put in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from pgcn.imaging.scales import Size, resize, sizes_for
from pgcn.patchgencn.energy import PAD, Weights, crop, energy_gradient, pad
from pgcn.patchgencn.langevin import Draw, langevin, normal_each
from pgcn.patchgencn.sampling import seeded
from pgcn.settings import Settings

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid

After = Callable[[Tensor, int], Tensor]
"""What is done to the states `(N, 3, H, W)` after each step at a scale: known pixels are put back, and the like."""


def untouched(x: Tensor, scale: int) -> Tensor:
    """Nothing is known: the chain goes where it goes."""
    return x


def bounded(x: Tensor, change: After, scale: int) -> Tensor:
    """A padded state with its inner part changed: the border moves with the chain, as in training."""
    inner = change(crop(x), scale)
    x = x.clone()
    x[..., PAD:-PAD, PAD:-PAD] = inner.clamp(-1, 1)
    return x


def chain(
    start: Tensor,
    net: Weights,
    settings: Settings,
    scale: int,
    *,
    after: After = untouched,
    steps: int | None = None,
    last: int | None = None,
    noise_std: float | None = None,
    draw: Draw | None = None,
) -> Tensor:
    """One chain of `net`, `(N, 3, H, W)` to the same: as in sampling, with `after` between its steps.

    `steps` and `noise_std` are those of sampling where they are not given; `last` is for the end of such a chain alone,
    its last so many steps, which are its shortest. `draw` makes the noise.
    """
    gradient = energy_gradient(net, settings.precision)
    noise = settings.frozen_sigma() if noise_std is None else noise_std
    draw = draw or normal_each(seeded(0, len(start)))
    path = settings.chain(settings.steps_at(scale) if steps is None else steps, noise)
    if last is not None:
        path = settings.chain(max(last, settings.steps_at(scale)), noise)[-last:] if last else []
    x = pad(start)
    if after is untouched:
        return crop(langevin(x, gradient, path, draw))  # at once: on a GPU each call lays the picture out anew
    for step in path:
        x = bounded(langevin(x, gradient, [step], draw), after, scale)
    return crop(x)


def working_size(picture: Tensor, pyramid: Pyramid) -> Size:
    """The size at which the pyramid works on a picture: its longest side is that of the finest trained scale.

    A picture of the trained image's own shape (within 2 %) has the trained size itself.
    """
    height, width = picture.shape[-2:]
    trained = pyramid.sizes[-1]
    factor = max(trained) / max(height, width)
    size = max(1, round(height * factor)), max(1, round(width * factor))
    alike = all(abs(a - b) <= max(1.0, 0.02 * b) for a, b in zip(size, trained, strict=True))
    return trained if alike else size


def sizes_of(picture: Tensor, pyramid: Pyramid) -> list[Size]:
    """The sizes of all scales for a picture: those that lead to `working_size`."""
    return sizes_for(working_size(picture, pyramid), pyramid.sizes)


def put_in(picture: Tensor, sizes: Sequence[Size], scale: int) -> Tensor:
    """A picture as the start of a chain at `scale`: at the size of the scale below it, brought up again.

    So the chain gets what it had in training: a picture without this scale's own details.
    """
    small = resize(picture, sizes[scale - 1]) if scale > 0 else picture
    return resize(small, sizes[scale])


def injected(
    pyramid: Pyramid,
    picture: Tensor,
    scale: int,
    *,
    seed: int = 0,
    after: After = untouched,
    sizes: Sequence[Size] | None = None,
    noise_std: float | None = None,
) -> Tensor:
    """`picture` `(1, 3, h, w)` put in at `scale` and run to the finest: `(1, 3, H, W)` at its working size."""
    sizes = sizes_of(picture, pyramid) if sizes is None else sizes
    return run(pyramid, put_in(picture, sizes, scale), sizes, scale, seed=seed, after=after, noise_std=noise_std)


def run(
    pyramid: Pyramid,
    start: Tensor,
    sizes: Sequence[Size],
    first: int,
    *,
    seed: int = 0,
    after: After = untouched,
    noise_std: float | None = None,
) -> Tensor:
    """The chains from scale `first` to the finest: each begins at the end of the one before it, brought up."""
    draw = normal_each(seeded(seed, len(start)))
    x = start
    for scale in range(first, len(pyramid.nets)):
        x = after(resize(x, sizes[scale]), scale)
        x = chain(x, pyramid.nets[scale], pyramid.settings, scale, after=after, noise_std=noise_std, draw=draw)
    return x


def check_scale(pyramid: Pyramid, scale: int) -> int:
    """`scale`, where the pyramid has it. Raises `ValueError` else."""
    if not 0 <= scale < len(pyramid.nets):
        raise ValueError(f"start_scale is 0 to {len(pyramid.nets) - 1} for this pyramid, not {scale}")
    return scale
