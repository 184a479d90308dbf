"""The scales of a pyramid: one image at a geometric sequence of sizes, scale 0 the coarsest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.channels import MOST
from pgcn.settings import LARGEST, PyramidSettings

Size = tuple[int, int]
"""Height and width, px."""


def resize(x: Tensor, size: Size) -> Tensor:
    """Bicubic, antialiased, in float: `(N, C, h, w)` in [-1, 1] to `(N, C, *size)`, clamped to [-1, 1].

    The published code rounds through 8 bits here; this does not.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def resize_on_torus(x: Tensor, size: Size) -> Tensor:
    """`resize` of an image whose opposite sides meet: the middle of three by three copies."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    nine = x.repeat(1, 1, 3, 3)
    height, width = size
    return resize(nine, (3 * height, 3 * width))[..., height : 2 * height, width : 2 * width]


SHORTEST = 12
"""Least short side of the finest scale of a thin image, px: the energy sees 11 by 11 pixels."""


def finest_size(height: int, width: int, settings: PyramidSettings) -> Size:
    """The image's size with its longest side at most `max_size`; never larger than it is.

    A thin image, whose short side would fall below `SHORTEST`, is larger: its short side has as much. At a
    `max_size` below twice `SHORTEST`, half of that takes its place.
    """
    least = min(SHORTEST, settings.max_size // 2)
    factor = min(1.0, settings.max_size / max(height, width))
    if round(min(height, width) * factor) < least:
        factor = min(1.0, least / min(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def thin_problem(height: int, width: int, settings: PyramidSettings) -> str | None:
    """The problem of an image that is too thin for `max_size`, as the end of a sentence; None for other images.

    The finest scale has at most the pixels of a square of `max_size`.
    """
    if settings.detail == "exact" and min(_finest_learned(height, width, settings)) < settings.min_size // 2:
        most = 2 * WIDEST * settings.learned_size // settings.min_size
        return f"is {width}x{height} px: one side is more than {most} times the other. Cut it into shorter pieces."
    finest = finest_size(height, width, settings)
    if finest[0] * finest[1] <= settings.max_size**2:
        return None
    set_it = f"set max_size={max(finest)}, or " if max(finest) <= LARGEST else ""
    return (
        f"is {width}x{height} px, too thin to be learned at a max_size of {settings.max_size}, where its short side "
        f"would be {max(1, round(min(height, width) * settings.max_size / max(height, width)))} px: "
        f"{set_it}cut it into shorter pieces."
    )


WIDEST = 8
"""Longest side of the finest learned scale of exact detail, in units of `learned_size`."""


def _finest_learned(height: int, width: int, settings: PyramidSettings) -> Size:
    """The size of the finest learned scale: `finest_size`, or with exact detail at most `learned_size`."""
    finest = finest_size(height, width, settings)
    if settings.detail == "learned" or min(finest) <= 1.1 * settings.learned_size:
        return finest
    factor = min(settings.learned_size / min(finest), WIDEST * settings.learned_size / max(finest))
    return max(1, round(finest[0] * factor)), max(1, round(finest[1] * factor))


def learned_sizes(height: int, width: int, settings: PyramidSettings) -> list[Size]:
    """Sizes of the learned scales, from the coarsest, whose short side is `min_size`, in geometric progression.

    Images no larger than `min_size` on their short side have one scale; neighbours that round to the same size are one.
    """
    finest = _finest_learned(height, width, settings)
    short = min(finest)
    steps = settings.scales - 1
    if short <= settings.min_size or steps == 0:
        return [finest]
    ratio = (settings.min_size / short) ** (1 / steps)
    sizes: list[Size] = []
    for scale in range(settings.scales):
        factor = ratio ** (steps - scale)
        size = max(1, round(finest[0] * factor)), max(1, round(finest[1] * factor))
        if not sizes or size != sizes[-1]:
            sizes.append(size)
    return sizes


def exact_sizes(height: int, width: int, settings: PyramidSettings) -> list[Size]:
    """Sizes of the exact scales, coarsest first: each twice the one below, the finest `finest_size`.

    The coarsest is no smaller than nine tenths of the finest learned scale. Empty without exact detail, and for images
    that are small enough to be learned whole.
    """
    finest, learned = finest_size(height, width, settings), _finest_learned(height, width, settings)
    sizes: list[Size] = []
    size = finest
    while finest != learned and (not sizes or min(size) >= 0.9 * min(learned)):
        sizes.append(size)
        factor = 0.5 ** len(sizes)
        size = max(1, round(finest[0] * factor)), max(1, round(finest[1] * factor))
    return sizes[::-1]


def scale_sizes(height: int, width: int, settings: PyramidSettings) -> list[Size]:
    """Sizes of all scales of an image's pyramid, coarsest first: the learned ones, then the exact ones."""
    return learned_sizes(height, width, settings) + exact_sizes(height, width, settings)


def sizes_for(output: Size, trained: Sequence[Size]) -> list[Size]:
    """Sizes of all scales for an `output` of another size, in the same proportions as the trained ones."""
    finest = trained[-1]
    return [(max(1, round(output[0] * h / finest[0])), max(1, round(output[1] * w / finest[1]))) for h, w in trained]


def ascend(
    start: Tensor,
    sizes: Sequence[Size],
    refine: Callable[[Tensor, int], Tensor],
    first: int = 0,
    to_size: Callable[[Tensor, Size], Tensor] = resize,
) -> Iterator[Tensor]:
    """Run `refine(x, scale)` at scales `first` to the finest of `sizes`, each from the resized result below it.

    Yields the result of every scale, `(N, C, *sizes[s])`. `start` is resized for the first of them.
    """
    x = start
    for scale in range(first, len(sizes)):
        x = refine(to_size(x, sizes[scale]), scale)
        yield x


def image_pyramid(image: Tensor, sizes: list[Size]) -> list[Tensor]:
    """`image` `(N, C, H, W)` at each of `sizes`, each resized from the image itself."""
    return [resize(image, size) for size in sizes]


def check_image(image: Tensor, channels: int | None = None) -> Tensor:
    """`image` as `(1, C, H, W)` in [-1, 1] and torch's default number format; a single `(C, H, W)` is taken too.

    Raises `ValueError` for another shape, for values that are not finite or out of range, for more than `MOST` channels
    and for another number than `channels`, where that is given.
    """
    if image.ndim == 3:
        image = image.unsqueeze(0)
    if image.ndim != 4 or image.shape[0] != 1 or not 1 <= image.shape[1] <= MOST:
        raise ValueError(f"an image is a tensor of shape (1, C, H, W), C at most {MOST}, and not {tuple(image.shape)}")
    if channels is not None and image.shape[1] != channels:
        raise ValueError(f"an image of {channels} channels is needed here, and this one has {image.shape[1]}")
    image = image.to(torch.get_default_dtype())
    if not bool(torch.isfinite(image).all()) or float(image.abs().max()) > 1.0001:
        raise ValueError("an image has finite values in [-1, 1]")
    return image.clamp(-1, 1)
