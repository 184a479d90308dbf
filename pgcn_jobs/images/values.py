"""Decoding of files to the values of all their channels. The decoder's child process runs it: no import of torch.

The table of what each format and mode becomes is in docs/channels.md. Plain RGB of 8 bits is left to
`pgcn_jobs.images.convert`, which both readings share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images import depth
from pgcn_jobs.images.depth import FULL, Values, white_of
from pgcn_jobs.images.unreadable import DecodeError

Transparency = Literal["white", "unknown", "learned"]
"""Treatment of transparent pixels: blended with white; without data; or opacity as a channel of its own."""

Mask = npt.NDArray[np.bool_]

MOST_CHANNELS = 64
"""As `pgcn.imaging.channels.MOST`, which this process cannot import."""

NODATA_TAG = 42113
"""GDAL's tag of a TIFF's no-data value, as text."""

_KEPT = ("uint8", "uint16", "int16", "int32", "uint32", "float32", "float64")
"""Number formats that are passed on as they are; other integers and floats become float64."""


@dataclass(eq=False)
class Channelled:
    """An image's values `(H, W, S)`, its groups as JSON objects, and its unknown pixels `(H, W)`, if it has any.

    The objects are those of `pgcn.imaging.channels.Channels.to_json`; S is the number of values of a pixel.
    """

    values: Values
    groups: list[dict[str, Any]]
    unknown: npt.NDArray[Any] | None = None
    notes: list[str] = field(default_factory=list)

    def turned(self, turn: int) -> Channelled:
        """The image as EXIF's orientation `turn` shows it."""
        unknown = None if self.unknown is None else upright(self.unknown, turn)
        return Channelled(upright(self.values, turn), self.groups, unknown, self.notes)


def upright(values: Values, turn: int) -> Values:
    """Stored pixels `(H, W, …)` as EXIF's orientation `turn` shows them."""
    if turn in {5, 6, 7, 8}:
        values = values.swapaxes(0, 1)
    if turn in {2, 3, 6, 7}:
        values = values[:, ::-1]
    if turn in {3, 4, 7, 8}:
        values = values[::-1]
    return np.ascontiguousarray(values)


def group(name: str, kind: str, number: str, low: float, high: float, nodata: float | None = None) -> dict[str, Any]:
    """The JSON object of one group."""
    return {"name": name, "kind": kind, "number": number, "low": low, "high": high, "nodata": nodata, "classes": []}


def of_values(
    values: Values, name: str, *, colours: int, declared: int | None = None, guessed: bool = True, nodata: float | None
) -> Channelled:
    """Values `(H, W, S)` as groups: one of `colours` channels (3: colour, 1: gray, 0: none), and bands.

    Values outside 0…65535, other floats than colour within 0…1, and those with a no-data value are bands. Raises
    `DecodeError` for too many channels, and for a band without any data.
    """
    count = values.shape[-1]
    if count > MOST_CHANNELS:
        raise DecodeError(
            f"{name} has {count} channels, and at most {MOST_CHANNELS} can be learned together: save fewer of them.",
            code=Code.CHANNELS_MANY,
        )
    values = values if values.dtype.name in _KEPT else values.astype(np.float64)
    absent = _absent(values, nodata)
    found = Channelled(values, [])
    if colours and (colour := _colour(values[..., :colours], declared, guessed, nodata)):
        found.groups.append(colour)
    else:
        colours = 0
    for index in range(colours, count):
        label = "value" if count == 1 else f"band{index + 1}"
        found.groups.append(_band(values[..., index], absent[..., index], label, nodata, name))
    pixels = np.any(absent, axis=-1)
    if pixels.any():
        found.unknown = pixels
        found.notes.append(f"{pixels.mean():.1%} of the pixels have no data")
    found.notes.append(_words(found.groups))
    return found


def _words(groups: list[dict[str, Any]]) -> str:
    kinds = [each["kind"] for each in groups]
    number = groups[0]["number"]
    if kinds == ["gray"] or kinds == ["colour"]:
        return f"{kinds[0]} of {number}, {groups[0]['low']:g}…{groups[0]['high']:g}"
    return f"{len(kinds)} groups of channels, {', '.join(dict.fromkeys(kinds))}, of {number}"


def _absent(values: Values, nodata: float | None) -> Mask:
    """Values that are no data: not finite, or the no-data value."""
    absent: Mask = np.zeros(values.shape, bool) if values.dtype.kind in "ui" else ~np.isfinite(values)
    if nodata is not None and not math.isnan(nodata):
        absent |= values == np.asarray(nodata).astype(values.dtype) if values.dtype.kind == "f" else values == nodata
    return absent


def _colour(values: Values, declared: int | None, guessed: bool, nodata: float | None) -> dict[str, Any] | None:
    """The group of gray or colour; None for values that are bands."""
    kind = "colour" if values.shape[-1] == 3 else "gray"
    if nodata is not None:
        return None
    if values.dtype.kind == "f":
        if kind == "gray" or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            return None
        return group(kind, kind, "float32", 0.0, 1.0)
    if values.min() < 0 or values.max() > FULL:
        return None
    if values.dtype == np.uint8:
        return group(kind, kind, "uint8", 0, 255)
    return group(kind, kind, "uint16", 0, white_of(int(values.max()), declared, guessed).value)


def _band(values: Values, absent: Mask, label: str, nodata: float | None, name: str) -> dict[str, Any]:
    """A band with the range of its data."""
    there = values[~absent]
    if not there.size:
        raise DecodeError(
            f"{name} has no data in any pixel of its channel {label}: leave that channel out, or save it anew.",
            code=Code.CHANNELS_EMPTY,
        )
    number = values.dtype.name if values.dtype.name != "float64" else "float32"
    low, high = float(there.min()), float(there.max())
    # A constant band has no range; any will do.
    high = high if high > low else low + max(1.0, abs(low) * 1e-3)
    return group(label, "band", number, low, high, None if nodata is None or math.isnan(nodata) else nodata)


def as_label(values: Values, name: str) -> Channelled:
    """Categories `(H, W)`, or values of one or three integers `(H, W, S)`, as a label. Raises `DecodeError`."""
    values = values.astype(np.uint8) if values.dtype.kind == "b" else values
    colours = values.ndim == 3 and values.shape[-1] == 3 and values.dtype == np.uint8
    if colours:
        values = values.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    elif values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "ui":
        raise DecodeError(
            f"{name} is no label: it needs one whole number a pixel, a palette, or one colour for each category.",
            code=Code.CHANNELS_INVALID,
        )
    classes = np.unique(values)
    if len(classes) > MOST_CHANNELS:
        raise DecodeError(
            f"{name} has {len(classes)} categories, and a label has at most {MOST_CHANNELS}: a photograph is none, and "
            "neither is a JPEG, whose edges are blurred.",
            code=Code.CHANNELS_MANY,
        )
    low, high = int(classes[0]), int(classes[-1])
    # Colours have the number format of their own, so that results are colours too.
    formats = ("int32",) if colours else ("uint8", "uint16", "int32")
    number = next(each for each in formats if _fits(low, high, each) or each == "int32")
    made = group("label", "label", number, low, high if high > low else low + 1)
    return Channelled(values[..., None], [made | {"classes": classes.tolist()}], None, [f"{len(classes)} categories"])


def _fits(low: int, high: int, number: str) -> bool:
    limits = np.iinfo(number)
    return bool(limits.min <= low and high <= limits.max)


def of_gray_image(image: Image.Image, data: bytes, name: str) -> Channelled:
    """Pillow's modes `I;16`, `I` and `F`."""
    values = np.asarray(image)
    if image.mode == "I" and depth.is_unsigned(image):
        values = values.view(np.uint32)
    if values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= FULL:
        values = values.astype(np.uint16)
    nodata, declared = nodata_of(image), depth.declared_white(image, data)
    clear = image.info.get("transparency")
    if depth.is_white_zero(image) and values.dtype == np.uint16:
        white = white_of(int(values.max()), declared, image.format in depth.GUESSED).value
        values, clear = (white - values).astype(np.uint16), white - clear if isinstance(clear, int) else None
    guessed = image.format in depth.GUESSED
    found = of_values(values[..., None], name, colours=1, declared=declared, guessed=guessed, nodata=nodata)
    if isinstance(clear, int):
        found.unknown = values == clear
    return found


def of_deep_colour(image: Image.Image, data: bytes, rawmode: str, name: str) -> tuple[Channelled, Values | None]:
    """16-bit colour, or gray with alpha: its values, and its opacity `(H, W)` in [0, 1] or None."""
    values = depth.all_bits(np.asarray(image), data, rawmode)
    colours = 1 if rawmode == "LA;16B" else 3
    declared = depth.declared_white(image, data)
    found = of_values(
        values[..., :colours],
        name,
        colours=colours,
        declared=declared,
        guessed=image.format in depth.GUESSED,
        nodata=nodata_of(image),
    )
    clear = image.info.get("transparency")
    alpha = None
    if isinstance(clear, tuple):
        alpha = np.where((values[..., :3] == clear).all(-1), 0.0, 1.0)
    elif values.shape[-1] > colours and not rawmode.startswith("RGBX"):
        white = found.groups[0]["high"]
        alpha = values[..., colours].astype(np.float64)
        alpha = np.clip(alpha / (white if alpha.max() <= white else FULL), 0, 1)
    if image.info.get("icc_profile"):
        found.notes.append("its colour profile is not applied to 16 bits")
    return found, alpha


def nodata_of(image: Image.Image) -> float | None:
    """The no-data value that a TIFF declares."""
    tags: Any = getattr(image, "tag_v2", {})
    return parsed_nodata(tags.get(NODATA_TAG))


def parsed_nodata(text: Any) -> float | None:
    """GDAL's text of a no-data value as a number; None without one."""
    try:
        return float(str(text).strip("\0 ")) if text is not None else None
    except ValueError:
        return None


def with_opacity(found: Channelled, alpha: Values | None, how: Transparency, name: str) -> Channelled:
    """The image with its opacity `(H, W)` in [0, 1] treated as asked: see `Transparency`.

    Unknown are pixels with less than half of the largest opacity. Raises `DecodeError` where all is transparent.
    """
    if alpha is None or alpha.min() == 1:
        return found
    if alpha.max() == 0:
        raise DecodeError(
            f"{name} is transparent everywhere (in its first frame, if it has several): "
            "save it without transparency, or save the intended frame.",
            code=Code.IMAGE_BLANK,
        )
    first = found.groups[0]
    if how == "white":
        white = first["high"]
        blended = found.values + (1 - alpha[..., None]) * (white - found.values.astype(np.float64))
        found.values = blended if first["number"] == "float32" else np.rint(blended).astype(found.values.dtype)
        found.notes.append("alpha composited on white")
    elif how == "learned":
        most = 1.0 if first["number"] == "float32" else float(first["high"])
        own = (alpha * most).round() if first["number"] != "float32" else alpha
        found.values = np.concatenate([found.values, own[..., None].astype(found.values.dtype)], -1)
        found.groups.append(group("alpha", "alpha", first["number"], 0, most))
        found.notes.append("opacity is a channel")
    elif bool((absent := 2 * alpha < alpha.max()).any()):
        found.unknown = absent if found.unknown is None else np.logical_or(found.unknown, absent)
        found.notes.append(f"transparent pixels are unknown ({absent.mean():.1%})")
    return found
