"""More than 8 bits a channel, brought to 8: 16-bit and 32-bit integers and floats, of gray and of colour.

White is the value that the file declares: PNG's sBIT, TIFF's MaxSampleValue or BitsPerSample. Where a PNG or TIFF
file declares 16 bits or more, and no value needs more than 14, white is the largest of 8, 10, 12 or 14 bits, and a
note says so: cameras and scanners store their 12 bits in 16.
"""

from __future__ import annotations

import io
import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from jobs.common.codes import Code
from jobs.images.unreadable import DecodeError

Values = npt.NDArray[Any]

FULL = 65535
_USUAL_WHITES = (255, 1023, 4095, 16383)
_GUESSED = frozenset({"PNG", "TIFF"})  # other formats say how large their values can be, and Pillow heeds it

_MAX_SAMPLE_VALUE, _PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 281, 262, 258, 339
_SAMPLES = 277

# How Pillow unpacks 16-bit colour, the high byte of each value; and how it would unpack the low one.
_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{'L' if order == 'B' else 'B'}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order in "LB"
}
_OTHER_BYTE |= {f"{mode};16N": _OTHER_BYTE[f"{mode};16{_NATIVE}"] for mode in ("RGB", "RGBA", "RGBX")}


class White(NamedTuple):
    """The value that is white, and what to say of it."""

    value: int
    note: str


def white_of(highest: int, declared: int | None, guessed: bool) -> White:
    """White for values up to `highest`, by what the file declares, else as the module says."""
    if declared and not highest <= declared < FULL:
        return White(FULL, "16-bit")  # as PNG wants it: samples of fewer bits are stored scaled to 16
    if declared:
        bits = declared.bit_length()
        return White(declared, f"{bits}-bit" if declared == 2**bits - 1 else f"0…{declared}")
    if guessed and 0 < highest <= _USUAL_WHITES[-1]:
        white = next(white for white in _USUAL_WHITES if highest <= white)
        return White(white, f"0…{white} (no value is above {highest})")
    return White(FULL, "16-bit")


def declared_white(image: Image.Image, data: bytes) -> int | None:
    """The largest value that the file says a channel can have; None where it says nothing."""
    if image.format == "PNG":
        bits = min(_significant_bits(data), default=0)
        return 2**bits - 1 if bits else None
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None:
        return None
    return _declared_in_tiff(tags.get(_MAX_SAMPLE_VALUE), tags.get(_BITS), tags.get(_SAMPLE_FORMAT))


def _declared_in_tiff(most: Any, bits: Any, kind: Any) -> int | None:
    most, bits, kind = (max(v) if isinstance(v, tuple) and v else v for v in (most, bits, kind))
    if isinstance(most, int) and most > 0:
        return most
    if isinstance(bits, int) and bits < 16:
        return int(2**bits - 1)
    return 2**15 - 1 if (bits, kind) == (16, 2) else None  # signed


def _significant_bits(data: bytes) -> bytes:
    """What PNG's sBIT says of each channel; empty where there is none."""
    at = 8
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if kind == b"IDAT":
            break
        if kind == b"sBIT":
            return data[at + 8 : at + 8 + size]
        at += 12 + size
    return b""


def left_out(image: Image.Image) -> str | None:
    """What to say of a TIFF's channels that Pillow does not read."""
    tags: Any = getattr(image, "tag_v2", {})
    stored, read = tags.get(_SAMPLES, 1), len(image.getbands())
    if image.format != "TIFF" or not isinstance(stored, int) or stored <= read:
        return None
    return f"{stored} channels, of which the first {read} were read"


def is_white_zero(image: Image.Image) -> bool:
    """Whether a TIFF stores 0 for white. Pillow heeds that for 8 bits, and for no other numbers."""
    tags: Any = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and tags.get(_PHOTOMETRIC) == 0


def _is_unsigned(image: Image.Image) -> bool:
    """Whether a TIFF's 32 bits are without sign, which Pillow's mode `I` has."""
    tags: Any = getattr(image, "tag_v2", {})
    kind = tags.get(_SAMPLE_FORMAT, 1)
    return image.format == "TIFF" and kind in {1, (1,)}


def gray(image: Image.Image, data: bytes, name: str) -> tuple[Image.Image, Image.Image | None, str]:
    """Pillow's modes `I;16`, `I` and `F` as 8-bit gray, alpha where one value is transparent, and a note."""
    values = np.asarray(image)
    if image.mode == "I" and _is_unsigned(image):
        values = values.view(np.uint32)
    levels, note = scaled(values, name, declared_white(image, data), image.format in _GUESSED)
    if is_white_zero(image):
        levels, note = 255 - levels, f"{note}, 0 is white"
    clear = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    return Image.fromarray(levels), alpha, note


def scaled(
    values: Values, name: str, declared: int | None = None, guessed: bool = True, what: str = "gray"
) -> tuple[npt.NDArray[np.uint8], str]:
    """Integers and floats of one or more channels as levels of 255, and a note. Raises `DecodeError`.

    Integers within 0…65535 have a fixed scale; floats of colour within 0…1 are levels already; all other numbers
    are stretched from their finite minimum to their maximum.
    """
    if values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= FULL:
        white = white_of(int(values.max()), declared, guessed)
        wide = values.astype(np.uint32)
        levels = (wide + 128) // 257 if white.value == FULL else (wide * 255 + white.value // 2) // white.value
        words = f"{white.note} {what} scaled to 8" if white.note.endswith("bit") else f"{what} scaled from {white.note}"
        return levels.astype(np.uint8), words
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise DecodeError(f"{name} has no finite value in any pixel: save it anew.", code=Code.IMAGE_NOT_FINITE)
    low, high = float(finite.min()), float(finite.max())
    note = f"{what} stretched from {low:g}…{high:g}"
    if what == "colour" and low >= 0 and high <= 1:
        low, high, note = 0.0, 1.0, "colour scaled from 0…1"
    share = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    share = np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0)
    if finite.size < values.size:
        note += f", {values.size - finite.size} {'pixels' if what == 'gray' else 'values'} not finite"
    return np.rint(share * 255).astype(np.uint8), note


# 16-bit colour, of which Pillow keeps the high byte


def rawmode_of(image: Image.Image) -> str:
    """How Pillow will unpack the pixels of a picture that is not loaded yet; "" where it does not say."""
    tiles = list(getattr(image, "tile", []))
    args = tiles[0].args if tiles else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def deep_colour(image: Image.Image, data: bytes, rawmode: str, name: str) -> tuple[Image.Image, str] | None:
    """16-bit colour, loaded by Pillow, whose low bytes count: dark, or with one transparent colour. And a note.

    The file is decoded once more for those. None where the high bytes are all that is needed.
    """
    if rawmode not in _OTHER_BYTE and rawmode != "LA;16B":
        return None
    high = np.asarray(image)
    clear = image.info.get("transparency")
    declared = declared_white(image, data)
    most = declared if declared and declared < FULL else _USUAL_WHITES[-1]
    if high[..., :3].max() > most >> 8 and not isinstance(clear, tuple):
        return None
    values = _all_bits(high, data, rawmode)
    colours = 1 if rawmode == "LA;16B" else 3
    colour, alpha = values[..., :colours], values[..., colours:]
    levels, note = scaled(colour, name, declared, image.format in _GUESSED, "colour")
    if isinstance(clear, tuple):
        alpha = np.where((values[..., :3] == clear).all(-1, keepdims=True), 0, FULL)
    if alpha.shape[-1]:
        white = white_of(int(colour.max()), declared, image.format in _GUESSED).value
        white = white if alpha.max() <= white else FULL
        levels = np.concatenate([levels, ((alpha.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)], -1)
    return as_image(levels, image.info), note


def _all_bits(high: Values, data: bytes, rawmode: str) -> Values:
    again = Image.open(io.BytesIO(data))
    other = _OTHER_BYTE.get(rawmode, "RGBA")  # gray and alpha: all four bytes as they stand
    again.tile = [
        tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
        for tile in getattr(again, "tile", [])
    ]
    again.load()
    low = np.asarray(again).astype(np.uint16)
    if rawmode == "LA;16B":
        return low[..., 0::2] * 256 + low[..., 1::2]
    return high.astype(np.uint16) * 256 + low


def as_image(levels: npt.NDArray[np.uint8], info: dict[Any, Any]) -> Image.Image:
    """Levels `(H, W, 1 to 4)` as a picture of mode L, LA, RGB or RGBA with the colour profile of another's `info`."""
    channels = levels.shape[-1]
    image = Image.fromarray(np.ascontiguousarray(levels[..., 0] if channels == 1 else levels))
    if "icc_profile" in info:
        image.info["icc_profile"] = info["icc_profile"]
    return image
