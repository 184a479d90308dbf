"""Decoding of TIFF files that Pillow does not read: float colour, 16-bit gray with alpha, more channels."""

from __future__ import annotations

import io
import logging
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images.depth import Values, as_image, scaled
from pgcn_jobs.images.georeference import read_georeference
from pgcn_jobs.images.unreadable import DecodeError
from pgcn_jobs.images.values import NODATA_TAG, Channelled, of_values, parsed_nodata

# tifffile also raises the errors that it logs for a damaged file, or recovers from them.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

MAX_BYTES = 2**30  # of all channels of the first page

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_ASSOCIATED, _UNASSOCIATED = 1, 2


def is_tiff(data: bytes) -> bool:
    """True if the file has the signature of TIFF or BigTIFF."""
    return data[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def georeference_of(data: bytes) -> str | None:
    """The georeference of a TIFF file, as JSON; None without one, or where its tags are damaged."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            tags = {tag.code: tag.value for tag in page.tags}
    except Exception:  # of various types; the pixels were read without these tags
        return None
    found = read_georeference(tags.get)
    return None if found is None else found.to_json()


class Page(NamedTuple):
    """The first page of a TIFF file: values `(H, W, S)`, the first `colours` of them gray or RGB, and its tags."""

    values: Values
    colours: int
    extra: tuple[int, ...]  # the meanings of the samples behind them: 1 and 2 are opacity
    tags: dict[int, Any]
    white_is_zero: bool
    notes: list[str]


def read_tiff(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, list[str]]:
    """The first page as 8-bit gray or RGB, with alpha if present, and notes. Raises `DecodeError`."""
    page = _read_page(data, name, max_pixels)
    image, notes = _to_image(page, name)
    return image, page.notes + notes


def read_tiff_values(data: bytes, name: str, max_pixels: int) -> tuple[Channelled, Values | None, int]:
    """The first page with all its values; its opacity `(H, W)` in [0, 1] or None; its orientation.

    Raises `DecodeError`.
    """
    page = _read_page(data, name, max_pixels)
    values, colours = page.values, page.colours
    kind = page.extra[0] if page.extra else 0
    has_alpha = values.shape[-1] > colours and kind in {_ASSOCIATED, _UNASSOCIATED}
    alpha = _opacity(values[..., colours]) if has_alpha else None
    if has_alpha:
        values = np.delete(values, colours, -1)
    if alpha is not None and kind == _ASSOCIATED:
        undone = values[..., :colours] / np.maximum(alpha, 1 / 255)[..., None]
        most = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else np.inf
        values[..., :colours] = np.minimum(undone, most).astype(values.dtype)
    if page.white_is_zero and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
        page.notes.append("0 is white")
    nodata = parsed_nodata(page.tags.get(NODATA_TAG))
    # Several samples that are not RGB are bands: none of them is gray.
    one = colours == 3 or values.shape[-1] == 1
    most_value = page.tags.get(281)
    declared = max(most_value) if isinstance(most_value, tuple) else most_value
    found = of_values(
        values, name, colours=colours if one else 0, declared=declared if isinstance(declared, int) else None,
        nodata=nodata,
    )  # fmt: skip
    found.notes = page.notes + found.notes
    orientation = page.tags.get(274)
    return found, alpha, orientation if isinstance(orientation, int) else 1


def _read_page(data: bytes, name: str, max_pixels: int) -> Page:
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
                f"{name} is a TIFF file whose compression needs the package imagecodecs: install it "
                "(pip install 'pgcn[tiff]', on every machine), or save the file without compression.",
                code=Code.IMAGE_FORMAT,
            ) from error
        tags = {tag.code: tag.value for tag in page.tags}
    values, colours = _channels_last(values, page.axes), 3 if photometric == _RGB else 1
    if values.dtype.kind not in "uif" or values.shape[-1] < colours:
        raise DecodeError(f"{name} is a TIFF file without image data: save it as PNG.", code=Code.IMAGE_FORMAT)
    notes = [f"first of {pages} frames"] * (pages > 1)
    return Page(values, colours, tuple(map(int, page.extrasamples)), tags, photometric == _WHITE_IS_ZERO, notes)


def _channels_last(values: Values, axes: str) -> Values:
    return values[..., None] if axes == "YX" else np.moveaxis(values, axes.index("S"), -1)


def _to_image(page: Page, name: str) -> tuple[Image.Image, list[str]]:
    values, colours, tags = page.values, page.colours, page.tags
    kind = page.extra[0] if page.extra else 0
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
    if page.white_is_zero:
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
