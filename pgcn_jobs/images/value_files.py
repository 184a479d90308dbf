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
from typing import NamedTuple

import numpy as np
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


def encode_values(
    image: Tensor, channels: Channels, like: str | None = None, place: Georeference | None = None
) -> ValueFile:
    """`image` `(C, H, W)` or `(1, C, H, W)` in [-1, 1] as a file of its channels' values, by this module's table.

    `like` is the format of the file that the image was read from, `place` the georeference of a TIFF. Raises
    `ValueError` for another shape.
    """
    image = (image if image.ndim == 4 else image[None]).detach().cpu()
    if image.ndim != 4 or image.shape[:2] != (1, channels.count):
        raise ValueError(f"expected {channels.count} channels, got {tuple(image.shape)}")
    if like == "SAFETENSORS":
        return ValueFile("safetensors", _safetensors(image, channels))
    if channels.is_rgb and like not in {"TIFF", "NPY"}:
        return ValueFile("png", encode_png(to_rgb(image)))
    kinds, numbers = tuple(g.kind for g in channels.groups), {g.number for g in channels.groups}
    if len(numbers) > 1 or not _is_plain(kinds):
        return ValueFile("safetensors", _safetensors(image, channels))
    values = values_of(image, channels)
    if like == "NPY":
        sink = io.BytesIO()
        np.save(sink, values[..., 0] if values.shape[-1] == 1 else values)
        return ValueFile("npy", sink.getvalue())
    if like != "TIFF" and (data := _png(values, kinds)) is not None:
        return ValueFile("png", data)
    return ValueFile("tif", _tiff(values, channels, kinds, place))


def encode_map(values: Tensor, unit: str, like: str | None = None, place: Georeference | None = None) -> ValueFile:
    """A map of numbers `(1, 1, H, W)` as one band of floats, NaN where unknown.

    NPY where `like` is that, else TIFF, with `place`.
    """
    array = values.detach().cpu().float().permute(0, 2, 3, 1)[0].numpy()
    if like == "NPY":
        sink = io.BytesIO()
        np.save(sink, array[..., 0])
        return ValueFile("npy", sink.getvalue())
    band = Group(unit, "band", "float32", nodata=float("nan") if np.isnan(array).any() else None)
    return ValueFile("tif", _tiff(array, Channels((band,)), ("band",), place))


def values_of(image: Tensor, channels: Channels) -> Values:
    """The values `(H, W, S)` of `image` `(1, C, H, W)` in the number format of its groups, which all have the same."""
    parts = [values[0] for values in channels.values(image).values()]
    return torch.cat(parts).permute(1, 2, 0).numpy().astype(channels.groups[0].number)


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
