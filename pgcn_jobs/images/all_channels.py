"""Decoding with all channels and all their bits, and of labels. The decoder's child process runs it: no torch.

The table of what each format and mode becomes is in docs/channels.md.
"""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
from PIL import Image, UnidentifiedImageError

from pgcn_jobs.images import depth
from pgcn_jobs.images.array_files import is_array, read_array
from pgcn_jobs.images.colour import composite_on_white, split_channels, to_srgb
from pgcn_jobs.images.decoded import (
    UPRIGHT,
    DecodedImage,
    check_shape,
    check_size,
    first_frame,
    orientation,
    refuse_drawings,
)
from pgcn_jobs.images.tiff import georeference_of, is_tiff, read_tiff_values
from pgcn_jobs.images.unreadable import is_heic, read_heic, without_blanks
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


def decode_channels(data: bytes, name: str, min_side: int, max_pixels: int, how: Transparency) -> DecodedImage:
    """`pgcn_jobs.images.convert.decode` with all channels and all their bits; RGB of 8 bits is the same to the bit."""
    data, skipped = without_blanks(data)
    if is_array(data):
        found, kind = read_array(data, name)
        check_shape(found.values, name, min_side, max_pixels)
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
        check_shape(found.values, name, min_side, max_pixels)
        return _described(with_opacity(found, alpha, how, name).turned(turn), "TIFF", "", turn, data)
    kind = str(image.format)
    refuse_drawings(kind, name)
    check_size(image, name, min_side, max_pixels)
    turned = orientation(image) if kind == "TIFF" else 1
    rawmode = depth.rawmode_of(image)
    image.load()
    check_size(image, name, min_side, max_pixels)
    turn = orientation(image)
    found = _values_of(image, data, rawmode, how, name)
    found.notes[:0] = [note for note in (skipped, first_frame(data)) if note]
    if turn in UPRIGHT or turned in UPRIGHT:
        found.notes.append("turned by EXIF")
    seen = next((each for each in (turn, turned) if each in UPRIGHT), 1)
    return _described(found.turned(turn), kind, image.mode, seen, data)


def decode_label(data: bytes, name: str, min_side: int, max_pixels: int) -> DecodedImage:
    """As `decode_channels`, with one number a pixel: its category.

    A palette's entries and the values of gray are categories as they are; each colour of a colour image is one.
    """
    data, _ = without_blanks(data)
    if not is_array(data) and not is_heic(data):
        image = None
        with contextlib.suppress(UnidentifiedImageError):
            image = Image.open(io.BytesIO(data))
        if image is not None and image.mode in {"P", "1"}:
            check_size(image, name, min_side, max_pixels)
            image.load()
            turn = orientation(image)
            return _described(as_label(np.asarray(image), name).turned(turn), str(image.format), image.mode, turn)
    found = decode_channels(data, name, min_side, max_pixels, "unknown")
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
