"""Reduction of more than 8 bits a channel to 8: 16-bit and 32-bit integers and floats, gray and colour.

White is the value that the file declares: PNG's sBIT, TIFF's MaxSampleValue or BitsPerSample. If a PNG or TIFF file
declares 16 bits or more, and no value needs more than 14, white is the largest value of 8, 10, 12 or 14 bits, and a
note says so: cameras and scanners store 12 bits in 16.
"""

from __future__ import annotations

import io
import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images.unreadable import DecodeError

Values = npt.NDArray[Any]

FULL = 65535
_USUAL_WHITES = (255, 1023, 4095, 16383)
GUESSED = frozenset({"PNG", "TIFF"})  # other formats declare their largest value, and Pillow applies it

_MAX_SAMPLE_VALUE, _PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 281, 262, 258, 339
_SAMPLES = 277

# Pillow's raw modes of 16-bit colour, which unpack the high byte of each value, and the modes for the low byte.
_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{'L' if order == 'B' else 'B'}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order in "LB"
}
_OTHER_BYTE |= {f"{mode};16N": _OTHER_BYTE[f"{mode};16{_NATIVE}"] for mode in ("RGB", "RGBA", "RGBX")}


class White(NamedTuple):
    """The value that is white, and its note."""

    value: int
    note: str


def white_of(highest: int, declared: int | None, guessed: bool) -> White:
    """White for values up to `highest`, from the file's declaration or by the rule of this module."""
    if declared and not highest <= declared < FULL:
        return White(FULL, "16-bit")  # as PNG requires: samples of fewer bits are stored scaled to 16
    if declared:
        bits = declared.bit_length()
        return White(declared, f"{bits}-bit" if declared == 2**bits - 1 else f"0…{declared}")
    if guessed and 0 < highest <= _USUAL_WHITES[-1]:
        white = next(white for white in _USUAL_WHITES if highest <= white)
        return White(white, f"0…{white} (no value is above {highest})")
    return White(FULL, "16-bit")


def declared_white(image: Image.Image, data: bytes) -> int | None:
    """The largest value of a channel that the file declares; None without a declaration."""
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
    """The significant bits of each channel in PNG's sBIT chunk; empty without one."""
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
    """A note on a TIFF's channels that Pillow does not read; None without such channels."""
    tags: Any = getattr(image, "tag_v2", {})
    stored, read = tags.get(_SAMPLES, 1), len(image.getbands())
    if image.format != "TIFF" or not isinstance(stored, int) or stored <= read:
        return None
    return f"{stored} channels, of which the first {read} were read"


def is_white_zero(image: Image.Image) -> bool:
    """True if a TIFF stores white as 0. Pillow applies that only to 8-bit values."""
    tags: Any = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and tags.get(_PHOTOMETRIC) == 0


def is_unsigned(image: Image.Image) -> bool:
    """True for unsigned 32-bit values of a TIFF; Pillow's mode `I` is signed."""
    tags: Any = getattr(image, "tag_v2", {})
    kind = tags.get(_SAMPLE_FORMAT, 1)
    return image.format == "TIFF" and kind in {1, (1,)}


def gray(image: Image.Image, data: bytes, name: str) -> tuple[Image.Image, Image.Image | None, str]:
    """Pillow's modes `I;16`, `I` and `F` as 8-bit gray; alpha if one value is transparent, else None; and a note."""
    values = np.asarray(image)
    if image.mode == "I" and is_unsigned(image):
        values = values.view(np.uint32)
    levels, note = scaled(values, name, declared_white(image, data), image.format in GUESSED)
    if is_white_zero(image):
        levels, note = 255 - levels, f"{note}, 0 is white"
    clear = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    return Image.fromarray(levels), alpha, note


def scaled(
    values: Values, name: str, declared: int | None = None, guessed: bool = True, what: str = "gray"
) -> tuple[npt.NDArray[np.uint8], str]:
    """Integers and floats of one or more channels scaled to 0…255, and a note. Raises `DecodeError`.

    Integers within 0…65535 have a fixed scale, and so have floats of colour within 0…1. All other values are stretched
    from their finite minimum to their maximum.
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


# 16-bit colour. Pillow keeps only the high byte.


def rawmode_of(image: Image.Image) -> str:
    """Pillow's raw mode for the pixels of an image that is not loaded yet; "" if unknown."""
    tiles = list(getattr(image, "tile", []))
    args = tiles[0].args if tiles else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def is_deep(rawmode: str) -> bool:
    """True for the raw modes of 16-bit colour, and of 16-bit gray with alpha."""
    return rawmode in _OTHER_BYTE or rawmode == "LA;16B"


def deep_colour(image: Image.Image, data: bytes, rawmode: str, name: str) -> tuple[Image.Image, str] | None:
    """16-bit colour with significant low bytes (dark, or with one transparent colour) at 8 bits, and a note.

    The file is decoded again for the low bytes. None if the high bytes are sufficient.
    """
    if not is_deep(rawmode):
        return None
    high = np.asarray(image)
    clear = image.info.get("transparency")
    declared = declared_white(image, data)
    most = declared if declared and declared < FULL else _USUAL_WHITES[-1]
    if high[..., :3].max() > most >> 8 and not isinstance(clear, tuple):
        return None
    values = all_bits(high, data, rawmode)
    colours = 1 if rawmode == "LA;16B" else 3
    colour, alpha = values[..., :colours], values[..., colours:]
    levels, note = scaled(colour, name, declared, image.format in GUESSED, "colour")
    if isinstance(clear, tuple):
        alpha = np.where((values[..., :3] == clear).all(-1, keepdims=True), 0, FULL)
    if alpha.shape[-1]:
        white = white_of(int(colour.max()), declared, image.format in GUESSED).value
        white = white if alpha.max() <= white else FULL
        levels = np.concatenate([levels, ((alpha.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)], -1)
    return as_image(levels, image.info), note


def all_bits(high: Values, data: bytes, rawmode: str) -> Values:
    """All 16 bits of each value, from the high bytes and the file, which is decoded again for the low ones."""
    again = Image.open(io.BytesIO(data))
    other = _OTHER_BYTE.get(rawmode, "RGBA")  # gray and alpha: all four bytes, unchanged
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
    """Levels `(H, W, 1 to 4)` as an image of mode L, LA, RGB or RGBA, with the colour profile in `info`, if any."""
    channels = levels.shape[-1]
    image = Image.fromarray(np.ascontiguousarray(levels[..., 0] if channels == 1 else levels))
    if "icc_profile" in info:
        image.info["icc_profile"] = info["icc_profile"]
    return image
