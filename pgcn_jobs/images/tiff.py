"""Decoding of TIFF files that Pillow does not read: float colour, 16-bit gray with alpha, more channels."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images.depth import Values, as_image, scaled
from pgcn_jobs.images.unreadable import DecodeError

# tifffile also raises the errors that it logs for a damaged file, or recovers from them.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

MAX_BYTES = 2**30  # of all channels of the first page

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_ASSOCIATED, _UNASSOCIATED = 1, 2


def is_tiff(data: bytes) -> bool:
    """True if the file has the signature of TIFF or BigTIFF."""
    return data[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def read_tiff(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, list[str]]:
    """The first page as 8-bit gray or RGB, with alpha if present, and notes. Raises `DecodeError`."""
    import tifffile  # slow to import, and few files need it

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages[0]
        pages = len(file.pages)
        if page.imagewidth * page.imagelength > max_pixels or page.nbytes > MAX_BYTES:
            raise DecodeError(
                f"{name} has more than {max_pixels:,} pixels, or too many channels: make it smaller.",
                code=Code.IMAGE_PIXELS,
            )
        photometric = int(page.photometric)
        if photometric not in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB} or page.axes not in {"YX", "YXS", "SYX"}:
            raise DecodeError(f"{name} is a TIFF file of an unsupported kind: save it as PNG.", code=Code.IMAGE_FORMAT)
        try:
            values = page.asarray()
        except Exception as error:  # of various types if a compression needs a missing library
            if "imagecodecs" not in str(error):
                raise
            raise DecodeError(
                f"{name} is a TIFF file of a kind that is supported only without compression: save it so, or as PNG.",
                code=Code.IMAGE_FORMAT,
            ) from error
        tags = {tag.code: tag.value for tag in page.tags}
    image, notes = _to_image(_channels_last(values, page.axes), name, photometric, tuple(page.extrasamples), tags)
    return image, [f"first of {pages} frames"] * (pages > 1) + notes


def _channels_last(values: Values, axes: str) -> Values:
    return values[..., None] if axes == "YX" else np.moveaxis(values, axes.index("S"), -1)


def _to_image(
    values: Values, name: str, photometric: int, extra: tuple[Any, ...], tags: dict[int, Any]
) -> tuple[Image.Image, list[str]]:
    colours = 3 if photometric == _RGB else 1
    if values.dtype.kind not in "uif" or values.shape[-1] < colours:
        raise DecodeError(f"{name} is a TIFF file without image data: save it as PNG.", code=Code.IMAGE_FORMAT)
    kind = int(extra[0]) if extra else 0
    has_alpha = values.shape[-1] == colours + 1 and kind in {_ASSOCIATED, _UNASSOCIATED}
    colour, alpha = values[..., :colours], values[..., colours:]
    notes = []
    if values.dtype == np.uint8:
        levels = colour
    else:
        most = tags.get(281)
        most = max(most) if isinstance(most, tuple) else most
        levels, note = scaled(colour, name, most, what="gray" if colours == 1 else "colour")
        notes.append(note)
    if photometric == _WHITE_IS_ZERO:
        levels = 255 - levels
        notes.append("0 is white")
    if has_alpha:
        opacity = _opacity(alpha)
        if kind == _ASSOCIATED:
            levels = np.clip(levels / np.maximum(opacity, 1 / 255), 0, 255)
        levels = np.concatenate([levels, opacity * 255], -1).round().astype(np.uint8)
    elif values.shape[-1] > colours:
        notes.append(f"{values.shape[-1]} channels, of which the first {colours} were read")
    image = as_image(levels, {"icc_profile": tags[34675]} if isinstance(tags.get(34675), bytes) else {})
    image.format = "TIFF"
    if isinstance(tags.get(274), int):
        image.getexif()[ExifTags.Base.Orientation] = int(tags[274])
    return image, notes


def _opacity(alpha: Values) -> Values:
    """Alpha of any number type, scaled to [0, 1]."""
    most = float(np.iinfo(alpha.dtype).max) if alpha.dtype.kind in "ui" else 1.0
    return np.clip(np.nan_to_num(alpha.astype(np.float64)) / most, 0, 1)
