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

import contextlib
import io
import json
import logging
import threading
import warnings
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images import depth
from pgcn_jobs.images.array_files import is_array, read_array
from pgcn_jobs.images.colour import composite_on_white, one_line, split_channels, to_srgb
from pgcn_jobs.images.depth import Values
from pgcn_jobs.images.mask_rules import mask_of
from pgcn_jobs.images.tiff import georeference_of, is_tiff, read_tiff, read_tiff_values
from pgcn_jobs.images.unreadable import DecodeError, describe_unreadable, is_heic, read_heic, without_blanks
from pgcn_jobs.images.values import (
    Channelled,
    Transparency,
    as_label,
    group,
    nodata_of,
    of_deep_colour,
    of_gray_image,
    with_opacity,
)

__all__ = ["AS_RGB", "NOT_PIXELS", "RGB", "DecodeError", "DecodedImage", "Reading", "decode"]

RGB = npt.NDArray[np.uint8]

# Pillow opens these, but they are drawings or containers: their rendering depends on other programs.
NOT_PIXELS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

LOSSY = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "HEIF"})

# Pillow also raises every error that it logs, and the `DecodeError` reports it.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# The transposition that turns an image with this EXIF orientation upright; 1 is upright already.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One decoded image. `note` has the steps of the conversion, joined by "; ", None for plain RGB.

    `channels` is None for RGB of 8 bits, else the JSON text of `pgcn.imaging.channels.Channels`, whose values `values`
    then holds. Pixels of `unknown` have no data.
    """

    values: Values  # (H, W, S), as displayed; uint8 of 3 for RGB
    format: str  # PNG, JPEG, …
    mode: str  # Pillow's mode as stored
    note: str | None
    turn: int = 1  # the EXIF orientation, 1 to 8, by which it was turned
    channels: str | None = None
    unknown: npt.NDArray[np.bool_] | None = None  # (H, W)
    georeference: str | None = None  # JSON, of a GeoTIFF that was not turned

    @property
    def rgb(self) -> RGB:
        """The values of RGB of 8 bits, `(H, W, 3)`."""
        assert self.channels is None
        return self.values


@dataclass(frozen=True)
class Reading:
    """What an image becomes: `rgb`, RGB of 8 bits; `auto`, all its channels with all their bits; `label`, categories.

    `transparency` is for `auto`: see `pgcn_jobs.images.values.Transparency`.
    """

    channels: Literal["rgb", "auto", "label"] = "rgb"
    transparency: Transparency = "white"


AS_RGB = Reading()


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
                return _decode_label(data, name, min_side, limit)
            if reading.channels == "auto" and not mask:
                return _decode_all(data, name, min_side, limit, reading.transparency)
            return _decode(data, name, min_side, limit, mask)
        except DecodeError:
            raise
        except MemoryError as error:
            raise DecodeError(
                f"{name} needs more memory to decode than one image may take: make it smaller.", code=Code.IMAGE_PIXELS
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            _refuse_large(name, limit, error)
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
    if kind in NOT_PIXELS:
        raise DecodeError(
            f"{name} is of the format {kind}, which is not an image of pixels: export it as PNG.",
            code=Code.IMAGE_FORMAT,
        )
    _check_size(image, name, min_side, max_pixels)
    turned = _orientation(image) if kind == "TIFF" else 1  # Pillow turns only TIFF while it loads
    rawmode = depth.rawmode_of(image)
    image.load()
    _check_size(image, name, min_side, max_pixels)  # an image in a container may differ from its announced size
    turn = _orientation(image)

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
    if turn in _UPRIGHT:
        colour = colour.transpose(_UPRIGHT[turn])
    if turn in _UPRIGHT or turned in _UPRIGHT:
        notes.append("turned by EXIF")
    turn = next((each for each in (turn, turned) if each in _UPRIGHT), 1)
    text = "; ".join(note for note in notes if note)
    return DecodedImage(np.array(colour), format=kind, mode=image.mode, note=text or None, turn=turn)


def _decode_all(data: bytes, name: str, min_side: int, max_pixels: int, how: Transparency) -> DecodedImage:
    """As `_decode`, with all channels and all their bits; RGB of 8 bits is the same to the bit."""
    data, skipped = without_blanks(data)
    if is_array(data):
        found, kind = read_array(data, name)
        _check_shape(found.values, name, min_side, max_pixels)
        return _described(found, kind, "", 1)
    if is_heic(data):
        read_heic(name)
    image = None
    with contextlib.suppress(UnidentifiedImageError):
        image = Image.open(io.BytesIO(data))
    if image is None and not is_tiff(data):
        raise UnidentifiedImageError
    if image is None or depth.left_out(image):
        found, alpha, turn = read_tiff_values(data, name, max_pixels)
        _check_shape(found.values, name, min_side, max_pixels)
        return _described(with_opacity(found, alpha, how, name).turned(turn), "TIFF", "", turn, data)
    kind = str(image.format)
    if kind in NOT_PIXELS:
        return _decode(data, name, min_side, max_pixels, mask=False)  # which refuses it
    _check_size(image, name, min_side, max_pixels)
    turned = _orientation(image) if kind == "TIFF" else 1
    rawmode = depth.rawmode_of(image)
    image.load()
    _check_size(image, name, min_side, max_pixels)
    turn = _orientation(image)
    found = _values_of(image, data, rawmode, how, name)
    found.notes[:0] = [note for note in (skipped, _first_frame(data)) if note]
    if turn in _UPRIGHT or turned in _UPRIGHT:
        found.notes.append("turned by EXIF")
    seen = next((each for each in (turn, turned) if each in _UPRIGHT), 1)
    return _described(found.turned(turn), kind, image.mode, seen, data)


def _decode_label(data: bytes, name: str, min_side: int, max_pixels: int) -> DecodedImage:
    """As `_decode`, with one number a pixel: its category.

    A palette's entries and the values of gray are categories as they are; each colour of a colour image is one.
    """
    data, _ = without_blanks(data)
    if not is_array(data) and not is_heic(data):
        image = None
        with contextlib.suppress(UnidentifiedImageError):
            image = Image.open(io.BytesIO(data))
        if image is not None and image.mode in {"P", "1"}:
            _check_size(image, name, min_side, max_pixels)
            image.load()
            turn = _orientation(image)
            return _described(as_label(np.asarray(image), name).turned(turn), str(image.format), image.mode, turn)
    found = _decode_all(data, name, min_side, max_pixels, "unknown")
    return _described(as_label(found.values, name), found.format, found.mode, found.turn)


def _values_of(image: Image.Image, data: bytes, rawmode: str, how: Transparency, name: str) -> Channelled:
    """The values of a loaded image, not turned."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        found = of_gray_image(image, data, name)
        alpha = None if found.unknown is None or "transparency" not in image.info else 1.0 - found.unknown
        if alpha is not None:
            found.unknown = None
        return with_opacity(found, alpha, how, name)
    if depth.is_deep(rawmode):
        found, alpha = of_deep_colour(image, data, rawmode, name)
        return with_opacity(found, alpha, how, name)
    colour, opacity, note = split_channels(image, data, rawmode, name)
    gray = colour.mode == "L"
    colour, profile = to_srgb(colour, image.info.get("icc_profile") if image.mode != "LAB" else None)
    notes = [note, profile]
    if opacity is not None and (how == "white" or opacity.getextrema() == (255, 255)):
        colour, note = composite_on_white(colour, opacity, name)
        notes.append(note)
        opacity = None
    levels = np.array(colour)[..., : 1 if gray else 3]
    kind = "gray" if gray else "colour"
    found = Channelled(levels, [group(kind, kind, "uint8", 0, 255)])
    nodata = nodata_of(image)
    if nodata is not None and (absent := (levels == nodata).all(-1)).any():
        found.unknown = absent
        notes.append(f"{absent.mean():.1%} of the pixels have no data")
    found.notes = [each for each in notes if each and not each.endswith("L to RGB")]
    return with_opacity(found, None if opacity is None else np.asarray(opacity) / 255, how, name)


PLAIN = [group("colour", "colour", "uint8", 0, 255)]
"""The groups of RGB of 8 bits."""


def _described(found: Channelled, kind: str, mode: str, turn: int, data: bytes = b"") -> DecodedImage:
    channels = None if found.groups == PLAIN else json.dumps(found.groups)
    unknown = found.unknown
    if unknown is not None and not unknown.any():
        unknown = None
    place = georeference_of(data) if kind == "TIFF" and turn == 1 else None
    return DecodedImage(found.values, kind, mode, "; ".join(found.notes) or None, turn, channels, unknown, place)


def _check_shape(values: Values, name: str, min_side: int, max_pixels: int) -> None:
    _check_sides(values.shape[1], values.shape[0], name, min_side, max_pixels)


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
    return image, [_first_frame(data), depth.left_out(image)]


def _check_size(image: Image.Image, name: str, min_side: int, max_pixels: int) -> None:
    """Refuse by size. The orientation only exchanges the sides, so it does not matter here."""
    _check_sides(*image.size, name, min_side, max_pixels)


def _check_sides(width: int, height: int, name: str, min_side: int, max_pixels: int) -> None:
    if min(width, height) < min_side:
        raise DecodeError(
            f"{name} is {width}x{height} pixels, and each side must have at least {min_side}: use a larger image.",
            code=Code.IMAGE_SMALL,
        )
    if width * height > max_pixels:
        _refuse_large(name, max_pixels)


def _refuse_large(name: str, max_pixels: int, cause: BaseException | None = None) -> NoReturn:
    raise DecodeError(
        f"{name} has more than {max_pixels:,} pixels: make it smaller.", code=Code.IMAGE_PIXELS
    ) from cause


def _first_frame(data: bytes) -> str | None:
    """A note if the file has more frames than the first, which is read.

    The count seeks through the file, so it uses a handle of its own: damage behind the first frame does not affect
    that frame.
    """
    try:
        image = Image.open(io.BytesIO(data))
        # A PSD's "frames" are its layers, which are merged in the image that is read.
        frames = 1 if image.format == "PSD" else int(getattr(image, "n_frames", 1))
    except Exception:
        return "frames could not be counted; the first was read"
    return f"first of {frames} frames" if frames > 1 else None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 for an unreadable EXIF block, which must not cost the image."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1
