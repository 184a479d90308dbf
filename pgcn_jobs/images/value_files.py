"""Files of results with all channels and all bits: PNG, TIFF, NPY or safetensors, the inverse of `Reading("auto")`.

| channels                                             | file                                                       |
|------------------------------------------------------|------------------------------------------------------------|
| RGB of 8 bits                                        | PNG                                                        |
| gray of 8 or 16 bits; 8 bits with opacity            | PNG; TIFF or NPY where the image was one                   |
| RGB of 16 bits or float, bands of one number format  | TIFF, with the no-data value; NPY where the image was one  |
| groups of several number formats, and of other kinds | safetensors, an array a group, with their description;     |
|                                                      | so are all where the image was one                         |
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pgcn.imaging.channels import Channels, Group
from pgcn_jobs.images.array_files import HEADER
from pgcn_jobs.images.depth import Values
from pgcn_jobs.images.georeference import Georeference
from pgcn_jobs.images.png import encode_png, to_rgb
from pgcn_jobs.images.values import NODATA_TAG

_PNG_MODES = {
    ("gray",): ("L", "I;16"),
    ("colour",): ("RGB", None),
    ("gray", "alpha"): ("LA", None),
    ("colour", "alpha"): ("RGBA", None),
}
"""Pillow's modes of groups of these kinds, in 8 and in 16 bits; None: it writes none."""


class ValueFile(NamedTuple):
    """A file of values: the ending of its name, and its bytes."""

    ending: str
    data: bytes


@dataclass(frozen=True)
class Frame:
    """What a result takes over from the file whose frame it has: the format, the georeference, pixels without data.

    `unknown` is `(H, W)`, True on those pixels of the result.
    """

    format: str | None = None
    place: Georeference | None = None
    unknown: npt.NDArray[np.bool_] | None = None


def encode_values(image: Tensor, channels: Channels, like: str | Frame | None = None) -> ValueFile:
    """`image` `(C, H, W)` or `(1, C, H, W)` in [-1, 1] as a file of its channels' values, by this module's table.

    `like` is the format of the file that the image was read from, or more of it. Unknown pixels have the no-data value,
    NaN, or in images of gray and colour no opacity. Raises `ValueError` for another shape.
    """
    image = (image if image.ndim == 4 else image[None]).detach().cpu()
    if image.ndim != 4 or image.shape[:2] != (1, channels.count):
        raise ValueError(f"expected {channels.count} channels, got {tuple(image.shape)}")
    frame = like if isinstance(like, Frame) else Frame(like)
    like, unknown = frame.format, frame.unknown
    if like == "SAFETENSORS":
        return ValueFile("safetensors", _safetensors(image, channels))
    if channels.is_rgb and like not in {"TIFF", "NPY"} and unknown is None:
        return ValueFile("png", encode_png(to_rgb(image)))
    kinds: tuple[str, ...] = tuple(g.kind for g in channels.groups)
    numbers = {g.number for g in channels.groups}
    if len(numbers) > 1 or not _is_plain(kinds):
        return ValueFile("safetensors", _safetensors(image, channels))
    values = values_of(image, channels)
    if unknown is not None:
        values, kinds = _without(values, channels, kinds, unknown)
    if like == "NPY":
        sink = io.BytesIO()
        np.save(sink, values[..., 0] if values.shape[-1] == 1 else values)
        return ValueFile("npy", sink.getvalue())
    if like != "TIFF" and (data := _png(values, kinds)) is not None:
        return ValueFile("png", data)
    return ValueFile("tif", _tiff(values, channels, kinds, frame.place))


def encode_map(values: Tensor, unit: str, frame: Frame) -> ValueFile:
    """A map of numbers `(1, 1, H, W)` as one band of floats, NaN where unknown.

    NPY where the frame's file is one, else TIFF, with the frame's place.
    """
    array = values.detach().cpu().float().permute(0, 2, 3, 1)[0].numpy()
    if frame.format == "NPY":
        sink = io.BytesIO()
        np.save(sink, array[..., 0])
        return ValueFile("npy", sink.getvalue())
    band = Group(unit, "band", "float32", nodata=float("nan") if np.isnan(array).any() else None)
    return ValueFile("tif", _tiff(array, Channels((band,)), ("band",), frame.place))


def values_of(image: Tensor, channels: Channels) -> Values:
    """The values `(H, W, S)` of `image` `(1, C, H, W)` in the number format of its groups, which all have the same."""
    parts = [values[0] for values in channels.values(image).values()]
    return torch.cat(parts).permute(1, 2, 0).numpy().astype(channels.groups[0].number)


def _without(
    values: Values, channels: Channels, kinds: tuple[str, ...], unknown: npt.NDArray[np.bool_]
) -> tuple[Values, tuple[str, ...]]:
    """Values and kinds with the pixels `unknown` marked: by the no-data value, by NaN, or by opacity."""
    if kinds[0] == "band":
        for index, group in enumerate(channels.groups):
            absent = np.nan if group.nodata is None and values.dtype.kind == "f" else group.nodata
            if absent is not None:
                values[..., index][unknown] = absent
        return values, kinds
    if "alpha" in kinds:
        return values, kinds
    colours = channels.groups[0].stored
    opacity = np.where(unknown, 0, channels.groups[0].high)[..., None].astype(values.dtype)
    whole = np.concatenate([values[..., :colours], opacity, values[..., colours:]], -1)
    return whole, (kinds[0], "alpha", *kinds[1:])


def _is_plain(kinds: tuple[str, ...]) -> bool:
    """True for gray or colour with bands or opacity behind it, and for bands alone."""
    first = kinds[1:] if kinds[0] in {"gray", "colour"} else kinds
    return all(kind == "band" for kind in first) or first == ("alpha",)


def _png(values: Values, kinds: tuple[str, ...]) -> bytes | None:
    mode8, mode16 = _PNG_MODES.get(kinds, (None, None))
    mode = {np.dtype(np.uint8): mode8, np.dtype(np.uint16): mode16}.get(values.dtype)
    if mode is None:
        return None
    sink = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(sink, "PNG")
    return sink.getvalue()


def _tiff(values: Values, channels: Channels, kinds: tuple[str, ...], place: Georeference | None) -> bytes:
    import tifffile  # slow to import, and few files need it

    colours = 3 if kinds[0] == "colour" else 1
    extra = [2 if kind == "alpha" else 0 for kind in kinds[1:]]
    nodata = {group.nodata for group in channels.groups if group.nodata is not None}
    tags = [] if place is None else place.tags()
    if len(nodata) == 1:
        text = f"{nodata.pop():g}"
        tags.append((NODATA_TAG, "s", len(text) + 1, text, True))
    if kinds[0] in {"gray", "colour"}:
        # MaxSampleValue: white, where it is not that of the number format.
        white = channels.groups[0].high
        if values.dtype == np.uint16 and white < 65535:
            tags.append((281, "H", values.shape[-1], [int(white)] * values.shape[-1], True))
    sink = io.BytesIO()
    tifffile.imwrite(
        sink,
        values[..., 0] if values.shape[-1] == 1 else values,
        photometric="rgb" if colours == 3 else "minisblack",
        planarconfig="contig" if values.shape[-1] > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        metadata=None,
        extratags=tags,
        software=False,
    )
    return sink.getvalue()


def _safetensors(image: Tensor, channels: Channels) -> bytes:
    from safetensors.numpy import save

    values = channels.values(image)
    arrays = {g.name: values[g.name][0].numpy().astype(g.number) for g in channels.groups}
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {HEADER: channels.to_json()})
