"""Chains from a given image: injected at a scale, and run from there to the finest one.

As in SinGAN (Shaham et al., ICCV 2019), an image is injected at a coarse scale, and the finer ones add its details; a
lower scale gives more freedom, a higher one a result nearer to the injected image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from pgcn.imaging.noise import normal_each, seeded
from pgcn.imaging.scales import Size, resize, sizes_for
from pgcn.method import AS_SAMPLED, AfterStep, ChainOptions, Model


def working_size(image: Tensor, model: Model) -> Size:
    """The size of the finest scale for an image: its longest side is that of the finest trained scale.

    An image of the trained image's own shape (within 2 %) has the trained size itself.
    """
    height, width = image.shape[-2:]
    trained = model.sizes[-1]
    factor = max(trained) / max(height, width)
    size = max(1, round(height * factor)), max(1, round(width * factor))
    alike = all(abs(a - b) <= max(1.0, 0.02 * b) for a, b in zip(size, trained, strict=True))
    return trained if alike else size


def sizes_of(image: Tensor, model: Model) -> list[Size]:
    """The sizes of all scales for an image; the last is its `working_size`."""
    return sizes_for(working_size(image, model), model.sizes)


def coarse_count(model: Model) -> int:
    """Number of coarse scales: those up to the first exact scale above the size of the learned ones.

    Of a model without exact scales, all. Start scales are compared on them, and energies: a finer exact scale adds
    detail and changes nothing else, and costs much more.
    """
    finest = model.sizes[model.learned - 1]
    larger = [scale for scale, size in enumerate(model.sizes) if min(size) > 1.5 * min(finest)]
    return min(larger, default=len(model.sizes) - 1) + 1


def injection(image: Tensor, sizes: Sequence[Size], scale: int) -> Tensor:
    """An image as the start of a chain at `scale`: resized to the scale below it, and up again.

    So it lacks the details of this scale, like the starts in training.
    """
    small = resize(image, sizes[scale - 1]) if scale > 0 else image
    return resize(small, sizes[scale])


def run(
    model: Model,
    start: Tensor,
    sizes: Sequence[Size],
    first: int,
    options: ChainOptions = AS_SAMPLED,
    after: AfterStep | None = None,
) -> Tensor:
    """Run the chains of scales `first` to the finest from `start` `(N, C, H, W)`; each starts at the end below it.

    Without `options.draw`, state i draws its noise from a generator of seed i. `after` is applied to the start of each
    chain too. The end is `(N, C, *sizes[-1])`.
    """
    options = replace(options, draw=options.draw or normal_each(seeded(0, len(start))))
    *_, end = model.ascend(start, sizes, first, options, after)
    return end


def seeded_noise(seed: int, noise_std: float | None = None) -> ChainOptions:
    """Options of chains for one state, whose noise comes from a generator of this seed."""
    return ChainOptions(draw=normal_each(seeded(seed, 1)), noise_std=noise_std)


def injected(
    model: Model,
    image: Tensor,
    scale: int,
    options: ChainOptions = AS_SAMPLED,
    after: AfterStep | None = None,
    sizes: Sequence[Size] | None = None,
) -> Tensor:
    """`image` `(1, C, h, w)` injected at `scale` and run to the finest: `(1, C, H, W)` at its working size."""
    sizes = sizes_of(image, model) if sizes is None else sizes
    return run(model, injection(image, sizes, scale), sizes, scale, options, after)


def check_scale(model: Model, scale: int) -> int:
    """`scale`, where the model has it. Raises `ValueError` otherwise."""
    if not 0 <= scale < len(model.sizes):
        raise ValueError(f"start_scale is 0 to {len(model.sizes) - 1} for this pyramid, not {scale}")
    return scale
