"""Choice of a mask from an image: by its paint, its brightness, its classes, or its erased areas.

| image                                          | chosen                                                          |
|------------------------------------------------|-----------------------------------------------------------------|
| paint of some colours on a transparent layer   | the paint, whatever its colour: more opaque than half of it      |
| the same, black and white                      | the white                                                       |
| a photograph with transparent areas            | those areas: they were erased                                   |
| black and white, gray                          | lighter than half                                               |
| black and one darker gray (0/1, 0/102, …)      | all except black                                                |
| few dark levels from 0 up: classes             | all except class 0                                              |
| colours on black, palettes of classes too      | all except black                                                |
| a photograph; colours without black; classes   | refused                                                         |
| beside 255                                     |                                                                 |

A constant alpha channel is ignored. A note describes the choice for images other than plain black and white, and
for choices of more than half of the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images.unreadable import DecodeError

Levels = npt.NDArray[Any]

BLACK_UP_TO, WHITE_FROM = 32, 223  # levels of 255 up to which, and from which, a pixel is black or white
PHOTOGRAPH_MIDTONES = 0.5  # share of mid-tones above which a gray image is a photograph
NOTED_MIDTONES = 0.1  # share of mid-tones above which a note says so
MAX_CLASSES = 32  # levels or colours that classes may have
DRAWING_COLOURS = 6  # colours, in bins of 8 levels, that hold most of a drawing
DRAWING_SHARE = 0.8  # share of pixels of these colours in a drawing
CONSTANT_ALPHA = 16  # difference of alpha, levels of 255, up to which alpha counts as constant
MAX_GRAY_SPREAD = 24  # largest difference of two channels of a gray pixel (JPEG artefacts), levels of 255
NEGLIGIBLE_SHARE = 0.005  # share of pixels that counts as none


def mask_of(
    colour: Image.Image, alpha: Image.Image | None, name: str, *, lossy: bool, palette: bool
) -> tuple[npt.NDArray[np.uint8], str | None]:
    """The mask `(H, W)`, 255 where chosen and 0 elsewhere, and a note. Raises `DecodeError` for ambiguous images."""
    rgb = np.asarray(colour.convert("RGB"))
    note: str | None
    opacity = None if alpha is None else np.asarray(alpha)
    if opacity is not None and opacity.max() == 0:
        raise DecodeError(
            f"{name} is transparent everywhere, and chooses nothing: paint the area for the task.",
            code=Code.MASK_INVALID,
        )
    if opacity is not None and int(opacity.max()) - int(opacity.min()) > CONSTANT_ALPHA:
        chosen, note = _by_alpha(rgb, opacity)
    elif not palette and _is_gray(rgb):
        chosen, note = _by_light(rgb[..., 1], name, lossy)
    else:
        chosen, note = _by_colour(rgb, name, lossy)
    share = float(chosen.mean())
    if share > 0.5:
        more = f"{share:.0%} of the image is chosen: invert black and white if that is not intended"
        note = f"{note}; {more}" if note else more
    return chosen.astype(np.uint8) * 255, note


def _by_alpha(rgb: Levels, opacity: Levels) -> tuple[Levels, str]:
    painted = opacity > (float(opacity.min()) + float(opacity.max())) / 2
    colours = rgb[painted]
    if not _is_drawn(colours):
        return ~painted, "a photograph with erased areas: those are chosen"
    light, dark = colours.min(-1) >= WHITE_FROM, colours.max(-1) <= BLACK_UP_TO
    if light.mean() > NEGLIGIBLE_SHARE and dark.mean() > NEGLIGIBLE_SHARE and (light | dark).mean() > DRAWING_SHARE:
        return painted & (rgb.mean(-1) > 127), "white on a transparent layer is chosen, black is not"
    return painted, "the paint on its transparent layer is chosen"


def _by_light(gray: Levels, name: str, lossy: bool) -> tuple[Levels, str | None]:
    levels, counts = np.unique(gray, return_counts=True)
    shares = counts / gray.size
    lowest, highest = int(levels[0]), int(levels[-1])
    if not lossy and lowest == 0 and highest <= 127 and len(levels) <= MAX_CLASSES:
        what = f"all except 0 is chosen; the levels are {_some(levels)}"
        return gray > 0, what if len(levels) > 1 else None
    if not lossy and 2 < len(levels) <= MAX_CLASSES and shares[(levels > 0) & (levels <= 15)].sum() > NEGLIGIBLE_SHARE:
        raise _unclear(name, f"has the levels {_some(levels)}, which look like classes")
    middle = float(shares[(levels > BLACK_UP_TO) & (levels < WHITE_FROM)].sum())
    if len(levels) > 2 and middle > PHOTOGRAPH_MIDTONES:
        raise _unclear(name, f"looks like a photograph: {middle:.0%} of it is neither black nor white")
    note = f"{middle:.0%} is neither black nor white: lighter than half is chosen" if middle > NOTED_MIDTONES else None
    return gray > 127, note


def _by_colour(rgb: Levels, name: str, lossy: bool) -> tuple[Levels, str | None]:
    strongest = rgb.max(-1)
    colours = np.unique(rgb.reshape(-1, 3), axis=0)
    if not lossy and len(colours) <= MAX_CLASSES and _is_gray(colours):
        return _by_light(rgb[..., 1], name, lossy)
    if not _is_drawn(rgb.reshape(-1, 3)):
        raise _unclear(name, "looks like a photograph")
    if (strongest <= BLACK_UP_TO).mean() <= NEGLIGIBLE_SHARE:
        raise _unclear(name, "has colours, and no black beside them")
    if (rgb.min(-1) >= WHITE_FROM).mean() > NEGLIGIBLE_SHARE:
        raise _unclear(name, "has black, white and colours")
    exact = not lossy and len(colours) <= MAX_CLASSES and not colours[0].any()
    return strongest > (0 if exact else 127), "the colours are chosen, and the black is not"


def _is_gray(rgb: Levels) -> bool:
    spread = rgb.max(-1).astype(np.int16) - rgb.min(-1)
    return bool((spread > MAX_GRAY_SPREAD).mean() <= NEGLIGIBLE_SHARE)


def _is_drawn(colours: Levels) -> bool:
    """True if a few colours cover most of the pixels `(n, 3)`, as in drawings and unlike in photographs."""
    bins = (colours.astype(np.uint32) >> 3) @ np.array([1, 32, 1024], np.uint32)
    counts = np.sort(np.bincount(bins))[::-1]
    return bool(counts[:DRAWING_COLOURS].sum() >= DRAWING_SHARE * len(colours))


def _some(levels: Levels) -> str:
    shown = ", ".join(str(level) for level in levels[:6])
    return shown if len(levels) <= 6 else f"{shown}, …"


def _unclear(name: str, what: str) -> DecodeError:
    return DecodeError(
        f"{name} cannot be used as a mask: it {what}. Make it white in the area for the task, and black elsewhere.",
        code=Code.MASK_INVALID,
    )
