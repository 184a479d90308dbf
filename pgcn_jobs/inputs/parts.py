"""Further channels of an image from files of their own: its label, its normals, its height.

A part is named NAME or NAME:KIND. A part called `label` or `normal`, or of that kind, is read as categories or as unit
vectors; any other as an image with all its channels. Sizes are fitted to the image as masks are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.channels import Channels, ChannelsError, Group
from pgcn.imaging.masks import fit
from pgcn.imaging.normals import unit
from pgcn.imaging.scales import Size, resize
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import InputError
from pgcn_jobs.images.convert import AS_RGB, Reading
from pgcn_jobs.inputs.loading import MAX_PIXELS, Grid, LoadedImage, laid, load_image
from pgcn_jobs.inputs.part_names import group_name, kind_of
from pgcn_jobs.spec import PartRef


def load_whole(
    image: LoadedImage, uri: str, parts: Sequence[PartRef], max_pixels: int = MAX_PIXELS
) -> tuple[LoadedImage, dict[str, str]]:
    """The image with the channels of its parts behind its own, and the hashes of the parts' files by their names.

    Raises `InputError` for a part that cannot be read, that has another shape than the image, and where there are too
    many channels.
    """
    hashes: dict[str, str] = {}
    groups, tensors, known = list(image.channels.groups), [image.image], image.known
    notes = [image.picture.note]
    for ref in parts:
        loaded = load_image(ref.location, ref.uri, max_pixels, ref.sha256, _reading(ref))
        hashes[ref.name] = loaded.sha256
        own, x = _as_kind(loaded, ref)
        x, note = laid(x, Grid.of(image), ref.uri, "channels")
        size = image.image.shape[-2], image.image.shape[-1]
        tensors.append(_resized(x, own, size))
        groups += own.groups
        if loaded.known is not None:
            there = 1 - fit(1 - laid(loaded.known, Grid.of(image), ref.uri, "channels")[0], size)
            known = there if known is None else known * there
        notes += [f"{group_name(ref.name)}: {text}" for text in (loaded.note, note) if text]
    try:
        channels = Channels(tuple(groups))
    except ChannelsError as error:
        code = Code.CHANNELS_MANY if "at most" in str(error) else Code.CHANNELS_INVALID
        raise InputError(f"{uri} and its channels cannot be learned together: {error}.", code=code) from None
    if known is not None and not bool((known > 0).any()):
        raise InputError(f"{uri} has no pixel with data in all its channels.", code=Code.CHANNELS_EMPTY)
    picture = replace(image.picture, note="; ".join(filter(None, notes)) or None)
    return LoadedImage(torch.cat(tensors, dim=1), image.sha256, picture, channels, known), hashes


def _reading(ref: PartRef) -> Reading:
    return Reading("label" if kind_of(ref.name) == "label" else "auto", "unknown")


def _as_kind(loaded: LoadedImage, ref: PartRef) -> tuple[Channels, Tensor]:
    """A part's channels under its name, and its tensor. Raises `InputError` where the file is not of that kind."""
    groups = loaded.channels.groups
    if kind_of(ref.name) == "normal":
        group, x = _normals(loaded, ref)
        return Channels((group,)), x
    name, several = group_name(ref.name), len(groups) > 1
    named = [replace(group, name=f"{name}.{group.name}" if several else name) for group in groups]
    return Channels(tuple(named)), loaded.image


def _normals(loaded: LoadedImage, ref: PartRef) -> tuple[Group, Tensor]:
    kinds, x = [group.kind for group in loaded.channels.groups], loaded.image
    first = loaded.channels.groups[0]
    if kinds == ["band"] * 3:  # floats in [-1, 1]
        group = Group(group_name(ref.name), "normal", "float32", -1, 1)
        return group, group.encode(torch.cat([*loaded.channels.values(x).values()], dim=1))
    if kinds != ["colour"]:
        raise InputError(
            f"{ref.uri} has no normals: they are the three channels of an image, as red, green and blue.",
            code=Code.CHANNELS_INVALID,
        )
    # The middle of the number format is 0, whatever its largest value in this file is.
    high = {"uint8": 255.0, "uint16": 65535.0}.get(first.number, 1.0)
    group = Group(group_name(ref.name), "normal", first.number, 0.0, high)
    return group, x if high == first.high else group.encode(first.decode(x))


def _resized(x: Tensor, channels: Channels, size: Size) -> Tensor:
    """Channels at another size; a label by its nearest pixels, so that no category is mixed."""
    if tuple(x.shape[-2:]) == size:
        return x
    if channels.groups[0].kind == "label":
        return F.interpolate(x, size=size, mode="nearest-exact")
    resized = resize(x, size)
    return unit(resized) if channels.groups[0].kind == "normal" else resized


def read_whole(
    image: PartRef, parts: Sequence[PartRef], max_pixels: int = MAX_PIXELS, reading: Reading = AS_RGB
) -> tuple[LoadedImage, dict[str, str]]:
    """An image and its parts, loaded: see `load_whole`."""
    loaded = load_image(image.location, image.uri, max_pixels, image.sha256, reading)
    return load_whole(loaded, image.uri, parts, max_pixels) if parts else (loaded, {})
