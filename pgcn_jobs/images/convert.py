"""Conversion of image bytes to RGB. The decoder's child process runs it, so it must not import torch.

The result is the image as displayed: turned by its EXIF orientation, in sRGB, on white, first frame only.

| stored as (Pillow's mode)         | becomes RGB by                                                               |
|-----------------------------------|------------------------------------------------------------------------------|
| `RGB`, `RGBX`                     | no change; 16-bit colour by its high bytes, or by `depth` if it is dark      |
| `1`, `L`                          | the gray value in all three channels                                         |
| `P`                               | its palette                                                                  |
| `LA`, `RGBA`, `PA`, `tRNS` colour | blended with white by alpha; refused where alpha is 0 everywhere             |
| `La`, `RGBa` (premultiplied)      | divided by alpha, then blended with white                                    |
| `CMYK`, also Adobe's inverted     | its colour profile; without one (1 - ink)(1 - black)                         |
| `YCbCr`, `HSV`                    | Pillow's formulas (JPEG's BT.601 for YCbCr)                                  |
| `LAB`                             | CIE Lab to sRGB, by LittleCMS                                                |
| `I;16`, `I;16B`, …                | gray, v / 257: 65535 is white, except in files of fewer bits (`depth`)       |
| `I` within 0…65535                | the same: Pillow reads 16-bit PGM and PNG files in this mode                 |
| `I` beyond that, `F`              | gray, stretched from its finite minimum (black) to maximum (white);          |
|                                   | NaN and -inf are black, +inf is white                                        |
| TIFF unknown to Pillow            | gray or RGB, by tifffile (see `tiff.py`): float colour, more channels      |

An embedded colour profile is applied: relative colorimetric with black point compensation, as browsers do,
before alpha (`pgcn_jobs.images.colour`). It is not applied if it changes no colour by more than `SAME_COLOUR` levels
(a form of sRGB), and ignored, with a note, if it is broken or for another colour space. PNG's `gAMA` and `cHRM` are
not read.
"""

from __future__ import annotations

import io
import logging
import threading
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images import depth
from pgcn_jobs.images.all_channels import decode_channels, decode_label
from pgcn_jobs.images.colour import composite_on_white, one_line, split_channels, to_srgb
from pgcn_jobs.images.decoded import (
    AS_RGB,
    LOSSY,
    NOT_PIXELS,
    RGB,
    UPRIGHT,
    DecodedImage,
    Reading,
    check_size,
    first_frame,
    orientation,
    refuse_drawings,
    refuse_large,
)
from pgcn_jobs.images.mask_rules import mask_of
from pgcn_jobs.images.tiff import is_tiff, read_tiff
from pgcn_jobs.images.unreadable import DecodeError, describe_unreadable, is_heic, read_heic, without_blanks

__all__ = ["AS_RGB", "NOT_PIXELS", "RGB", "DecodeError", "DecodedImage", "Reading", "decode"]

# Pillow also raises every error that it logs, and the `DecodeError` reports it.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

_DECODE_LOCK = threading.Lock()


def decode(
    data: bytes,
    name: str,
    *,
    min_side: int = 12,
    max_pixels: int = 64_000_000,
    mask: bool = False,
    reading: Reading = AS_RGB,
) -> DecodedImage:
    """Decode a whole file of any format that Pillow reads, by the table in this module's docstring, or by `reading`.

    With `mask`, the result is white where the mask selects and black elsewhere, by `pgcn_jobs.images.mask_rules`.

    For any bytes, only `DecodeError` is raised and Python prints nothing (libtiff, in C, writes a line about a damaged
    TIFF to standard error). Malformed bytes may still crash or block the process: only `pgcn_jobs.images.decode_child`
    calls this function. The limit on pixels is checked on the header, before any pixel is decoded, and is never above
    Pillow's own (`Image.MAX_IMAGE_PIXELS`). A truncated image is refused, never filled up. One thread decodes at a
    time, since warnings are disabled for the whole process meanwhile.

    Raises:
        DecodeError: the bytes are empty, no image, damaged, truncated, too small or too large.
    """
    if not data:
        raise DecodeError(f"{name} is empty (0 bytes): copy it again, or remove it.", code=Code.IMAGE_EMPTY)
    limit = min(max_pixels, Image.MAX_IMAGE_PIXELS or max_pixels)
    with _DECODE_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Containers (ICO, ICNS) open further images while they load, and exceeding the limit is then only a warning.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            if reading.channels == "label":
                return decode_label(data, name, min_side, limit)
            if reading.channels == "auto" and not mask:
                return decode_channels(data, name, min_side, limit, reading.transparency)
            return _decode(data, name, min_side, limit, mask)
        except DecodeError:
            raise
        except MemoryError as error:
            raise DecodeError(
                f"{name} needs more memory to decode than one image may take: make it smaller.", code=Code.IMAGE_PIXELS
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            refuse_large(name, limit, error)
        except UnidentifiedImageError as error:
            raise DecodeError(describe_unreadable(data, name), code=Code.IMAGE_FORMAT) from error
        except Exception as error:  # a decoder may raise any exception on malformed bytes
            reason = one_line(str(error)) or type(error).__name__
            raise DecodeError(
                f"{name} is cut short or damaged and cannot be decoded ({reason}): copy it again, or save it anew.",
                code=Code.IMAGE_TRUNCATED,
            ) from error


def _decode(data: bytes, name: str, min_side: int, max_pixels: int, mask: bool) -> DecodedImage:
    """`decode` without the translation of a decoder's exceptions to `DecodeError`."""
    data, skipped = without_blanks(data)
    notes: list[str | None] = [skipped]
    image, said = _open(data, name, max_pixels)
    notes += said
    kind = str(image.format)
    refuse_drawings(kind, name)
    check_size(image, name, min_side, max_pixels)
    turned = orientation(image) if kind == "TIFF" else 1  # Pillow turns only TIFF while it loads
    rawmode = depth.rawmode_of(image)
    image.load()
    check_size(image, name, min_side, max_pixels)  # an image in a container may differ from its announced size
    turn = orientation(image)

    colour, alpha, note = split_channels(image, data, rawmode, name)
    notes.append(note)
    if mask:
        chosen, notes[-1] = mask_of(colour, alpha, name, lossy=kind in LOSSY, palette=image.mode in {"P", "PA"})
        colour, alpha = Image.fromarray(chosen).convert("RGB"), None
    else:
        colour, note = to_srgb(colour, image.info.get("icc_profile") if image.mode != "LAB" else None)
        notes.append(note)
    if alpha is not None:
        colour, note = composite_on_white(colour, alpha, name)
        notes.append(note)
    if turn in UPRIGHT:
        colour = colour.transpose(UPRIGHT[turn])
    if turn in UPRIGHT or turned in UPRIGHT:
        notes.append("turned by EXIF")
    turn = next((each for each in (turn, turned) if each in UPRIGHT), 1)
    text = "; ".join(note for note in notes if note)
    return DecodedImage(np.array(colour), format=kind, mode=image.mode, note=text or None, turn=turn)


def _open(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, list[str | None]]:
    """The opened file, not loaded yet if Pillow reads it, and notes on its frames and channels."""
    if is_heic(data):
        read_heic(name)
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        if not is_tiff(data):
            raise
        other, notes = read_tiff(data, name, max_pixels)
        return other, [*notes]
    return image, [first_frame(data), depth.left_out(image)]
