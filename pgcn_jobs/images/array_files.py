"""Decoding of arrays, NPY and safetensors, as images. The decoder's child process runs it: no import of torch."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images.colour import one_line
from pgcn_jobs.images.depth import Values
from pgcn_jobs.images.unreadable import DecodeError
from pgcn_jobs.images.values import Channelled, of_values

HEADER = "pgcn_channels"
"""Key of a safetensors file's metadata under which a description of channels is kept, as JSON."""

NPY_MARK = b"\x93NUMPY"


def is_array(data: bytes) -> bool:
    """True for the bytes of an NPY or a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return data.startswith(NPY_MARK) or (0 < length < 100 * 2**20 and data[8:9] == b"{" and len(data) >= 8 + length)


def read_array(data: bytes, name: str) -> tuple[Channelled, str]:
    """The image in an array file, and the file's format. Raises `DecodeError` for what is no image."""
    if data.startswith(NPY_MARK):
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            raise DecodeError(
                f"{name} is an NPY file that cannot be read ({one_line(str(error))}): save a plain array of numbers.",
                code=Code.IMAGE_TRUNCATED,
            ) from error
        values = channels_last(array, name)
        return of_values(values, name, colours=_colours(values), guessed=False, nodata=None), "NPY"
    return _safetensors(data, name), "SAFETENSORS"


def _colours(values: Values) -> int:
    return {1: 1, 3: 3}.get(values.shape[-1], 0)


def channels_last(array: Values, name: str) -> Values:
    """An array `(H, W)`, `(H, W, C)` or `(C, H, W)` as `(H, W, C)`: the channels are the shorter of first and last."""
    if array.dtype.kind not in "uifb" or array.ndim not in (2, 3):
        raise DecodeError(
            f"{name} holds an array of shape {array.shape} and of {array.dtype} values: an image is (H, W), (H, W, C) "
            "or (C, H, W), of integers or floats.",
            code=Code.IMAGE_FORMAT,
        )
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.ndim == 2:
        return array[..., None]
    return np.moveaxis(array, 0, -1) if array.shape[0] < array.shape[-1] else array


def _safetensors(data: bytes, name: str) -> Channelled:
    from safetensors import SafetensorError  # slow to import, and few files need it
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DecodeError(
            f"{name} is a safetensors file that cannot be read ({one_line(str(error))}): "
            "save arrays of integers or floats.",
            code=Code.IMAGE_TRUNCATED,
        ) from error
    if not arrays:
        raise DecodeError(f"{name} is a safetensors file without an array.", code=Code.IMAGE_FORMAT)
    parts = {key: channels_last(arrays[key], f"{name}, {one_line(key)},") for key in _order(data, list(arrays))}
    sizes = {part.shape[:2] for part in parts.values()}
    if len(sizes) > 1:
        words = ", ".join(f"{one_line(key)} {part.shape[1]}x{part.shape[0]}" for key, part in list(parts.items())[:4])
        raise DecodeError(f"{name} holds arrays of different sizes ({words}): save one size.", code=Code.CHANNELS_SIZE)
    if described := _described(data, list(parts)):
        stored = {"colour": 3, "normal": 3}
        if any(parts[str(one["name"])].shape[-1] != stored.get(str(one.get("kind")), 1) for one in described):
            raise DecodeError(
                f"{name} describes channels that its arrays do not have: leave out its {HEADER}.",
                code=Code.CHANNELS_INVALID,
            )
        return Channelled(np.concatenate(list(parts.values()), -1), described, None, ["as described in the file"])
    made = [of_values(part, name, colours=_colours(part), guessed=False, nodata=None) for part in parts.values()]
    if len(made) == 1:
        return made[0]
    found = Channelled(np.concatenate([one.values for one in made], -1), [])
    for key, one in zip(parts, made, strict=True):
        several = len(one.groups) > 1
        found.groups += [each | {"name": f"{key}.{each['name']}" if several else key} for each in one.groups]
        if one.unknown is not None:
            found.unknown = one.unknown if found.unknown is None else found.unknown | one.unknown
    found.notes = [f"{len(found.groups)} groups of channels: {', '.join(map(one_line, parts))}"]
    return found


def _metadata(data: bytes) -> dict[str, Any]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return dict(header.get("__metadata__", {}))


def _order(data: bytes, keys: list[str]) -> list[str]:
    """The arrays in the order of the file's own description, else by name."""
    described = _described(data, keys)
    return [str(each["name"]) for each in described] if described else sorted(keys)


def _described(data: bytes, keys: list[str]) -> list[dict[str, Any]] | None:
    """The groups that a file which this program wrote describes itself; None without a description of its arrays."""
    try:
        groups = json.loads(_metadata(data)[HEADER])
        names = [str(each["name"]) for each in groups]
    except (KeyError, TypeError, ValueError):
        return None
    return list(groups) if sorted(names) == sorted(keys) else None
