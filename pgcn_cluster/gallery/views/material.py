"""The maps of a sample that a page shows under a moving light: its colour and its normals."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from pgcn.imaging.channels import Channels, ChannelsError
from pgcn_cluster.gallery.views.album import Shown
from pgcn_cluster.gallery.views.thumbnails import picture
from pgcn_jobs.images.array_files import read_array
from pgcn_jobs.images.png import encode_png, to_rgb
from pgcn_jobs.images.unreadable import DecodeError
from pgcn_jobs.layout import is_ours
from pgcn_jobs.storage.store import Store

log = logging.getLogger(__name__)

MOST = 256
"""The longest side of the maps, px: a script computes every pixel, many times a second."""

MOST_PIXELS = 4_000_000
"""Pixels above which a sample is not read for this."""


class Material(NamedTuple):
    """Colour and normals of one sample, of the same size."""

    colour: Shown
    normal: Shown


def material_of(store: Store, rows: Iterable[Mapping[str, Any]], folder: str, problems: list[str]) -> Material | None:
    """The material of the first of `rows` with a file of values; None where it has no normals, or no colour.

    `folder` is that of the attempt, and other files are not read. A missing or damaged file is one sentence more in
    `problems`.
    """
    row = next((row for row in rows if row.get("values")), None)
    if row is None or not row["values"].endswith(".safetensors") or (row["width"] * row["height"]) > MOST_PIXELS:
        return None
    path = row["values"]
    if not path.startswith(folder) or not is_ours(path):
        return None
    try:
        return _material(store.get(path), path)
    except (OSError, DecodeError, ChannelsError, KeyError, TypeError, ValueError) as error:
        log.warning("The gallery could not read %s: %s", path, error)
        problems.append(f"The maps in {path} could not be read.")
        return None


def _material(data: bytes, path: str) -> Material | None:
    read, _ = read_array(data, path)
    channels = Channels.from_json(json.dumps(read.groups))
    normals = [group.name for group in channels.groups if group.kind == "normal"]
    if not normals or not {"colour", "gray"} & {group.kind for group in channels.groups}:
        return None
    values, at = {}, 0
    for group in channels.groups:
        part = torch.from_numpy(read.values[..., at : at + group.stored].astype("float64"))
        values[group.name], at = part.permute(2, 0, 1)[None], at + group.stored
    x = channels.tensor(values)
    maps = {"Colour": channels.display(x), "Normals": channels.of(x, normals[0])}
    shown = (picture(encode_png(to_rgb(one)), MOST, lossless=True) for one in maps.values())
    return Material(*(Shown(one, *one.fitted(MOST), label) for one, label in zip(shown, maps, strict=True)))
