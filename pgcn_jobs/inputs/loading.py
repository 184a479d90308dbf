"""Images and masks as tensors, from files or storage. Unreadable files are refused with an `InputError`."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.channels import RGB, Channels, ChannelsError
from pgcn.imaging.conversion import converted
from pgcn.imaging.holes import filled
from pgcn.imaging.masks import check_mask, fit
from pgcn.imaging.scales import Size
from pgcn.method_settings import MethodSettings
from pgcn.settings import PyramidSettings
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import InputError
from pgcn_jobs.images.convert import AS_RGB, DecodedImage, Reading
from pgcn_jobs.images.decoder import shared as decoder
from pgcn_jobs.images.depth import Values
from pgcn_jobs.images.georeference import Georeference
from pgcn_jobs.images.png import to_tensor
from pgcn_jobs.inputs.discover import read_source

MAX_PIXELS = 64_000_000

SWAPPED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap an image's width and height."""


class LoadedImage(NamedTuple):
    """A decoded image `(1, C, H, W)`, the hash of its file's bytes, its channels and its known pixels, None: all."""

    image: Tensor
    sha256: str
    picture: DecodedImage
    channels: Channels = RGB
    known: Tensor | None = None
    parts: str | None = None
    """JSON of the hashes of files of further channels, by name; None without some."""

    @property
    def unknown(self) -> Tensor | None:
        """The mask of pixels without data, `(1, 1, H, W)`; None without any."""
        return None if self.known is None else 1 - self.known

    def unknown_at(self, size: Size) -> npt.NDArray[np.bool_] | None:
        """The pixels without data of a result of this `size` in the image's frame, `(H, W)`; None without any."""
        if self.known is None:
            return None
        return F.interpolate(1 - self.known, size=size, mode="nearest-exact")[0, 0].numpy() > 0.5

    def georeference(self, size: Size) -> Georeference | None:
        """The georeference of a result of this `size` (height, width) in the image's frame; None without one."""
        if self.picture.georeference is None:
            return None
        height, width = self.image.shape[-2:]
        return Georeference.from_json(self.picture.georeference).scaled(size[1] / width, size[0] / height)

    @property
    def described(self) -> str | None:
        """What the file was read as, for an identity; None for RGB of 8 bits that is known everywhere."""
        if self.channels.is_rgb and self.known is None:
            return None
        return f"{self.channels.to_json()}{'' if self.known is None else ' with unknown pixels'}"

    @property
    def note(self) -> str | None:
        """The conversion, where there was one."""
        return self.picture.note


def reading_of(settings: MethodSettings) -> Reading:
    """How a run with these settings reads its images; as RGB by a method whose settings do not say it."""
    return Reading(settings.channels, settings.transparency) if isinstance(settings, PyramidSettings) else AS_RGB


def load_image(
    location: str,
    uri: str,
    max_pixels: int = MAX_PIXELS,
    expected: str | None = None,
    reading: Reading = AS_RGB,
) -> LoadedImage:
    """Load an image. Raises `InputError` where it is unreadable, or its bytes do not have the `expected` hash.

    Unknown pixels have smooth content, which no chain or patch is to begin from.
    """
    data, sha256 = _bytes(location, uri, expected)
    picture = decoder.decode(data, uri, max_pixels=max_pixels, reading=reading)
    channels = RGB if picture.channels is None else Channels.from_json(picture.channels)
    tensor = to_tensor(picture.rgb) if picture.channels is None else encoded(picture.values, channels)
    if picture.unknown is None:
        return LoadedImage(tensor, sha256, picture, channels)
    unknown = torch.from_numpy(picture.unknown.astype(np.float32))[None, None]
    if not bool((unknown < 1).any()):
        raise InputError(f"{uri} has no pixel with data in all its channels: save it anew.", code=Code.CHANNELS_EMPTY)
    return LoadedImage(filled(tensor, unknown), sha256, picture, channels, 1 - unknown)


def with_channels(loaded: LoadedImage, channels: Channels, uri: str) -> LoadedImage:
    """The image with the channels of another one. Raises `InputError` where they do not fit."""
    try:
        return loaded._replace(image=converted(loaded.image, loaded.channels, channels), channels=channels)
    except ChannelsError as error:
        raise InputError(
            f"{uri} does not fit its image: {error}. Give an image of the same kind.", code=Code.CHANNELS_INVALID
        ) from None


def encoded(values: Values, channels: Channels) -> Tensor:
    """Values `(H, W, S)` of an image's file as its tensor `(1, C, H, W)`."""
    at, parts = 0, []
    for group in channels.groups:
        own = np.moveaxis(values[..., at : at + group.stored], -1, 0)
        # A copy in a number format that torch has operations for.
        parts.append(group.encode(torch.from_numpy(own.astype(np.float64))[None]))
        at += group.stored
    return torch.cat(parts, dim=1)


class TakenMask(NamedTuple):
    """A mask `(1, 1, H, W)` of zeros and ones as its file has it, the hash of the file's bytes, and notes."""

    mask: Tensor
    sha256: str
    note: str | None


class Grid(NamedTuple):
    """An image's size `(height, width)` as it is seen, and its EXIF orientation."""

    size: Size
    turn: int = 1

    @staticmethod
    def of(taken: LoadedImage) -> Grid:
        """The grid of a loaded image."""
        return Grid((taken.image.shape[-2], taken.image.shape[-1]), taken.picture.turn)


def load_mask(
    location: str, uri: str, grid: Grid, max_pixels: int = MAX_PIXELS, expected: str | None = None
) -> TakenMask:
    """An image of any mode as a mask for an image of the orientation `grid`: `pgcn_jobs.images.mask_rules` says what
    it selects.

    A mask that was made on the pixels as they are stored, before EXIF turned them, is turned as they were.
    Raises `InputError` where it chooses nothing, or everything, where that is not clear, and where it has
    another shape than the picture.
    """
    data, sha256 = _bytes(location, uri, expected)
    picture = decoder.decode(data, uri, max_pixels=max_pixels, mask=True)
    try:
        mask = check_mask(torch.from_numpy(picture.rgb[..., 0].astype(np.float32) / 255))
    except ValueError as error:
        raise InputError(f"The mask {uri} cannot be used: {error}.", code=Code.MASK_INVALID) from None
    mask, note = laid(mask, grid, uri)
    return TakenMask(mask, sha256, "; ".join(filter(None, [picture.note, note])) or None)


def laid(mask: Tensor, grid: Grid, uri: str, what: str = "mask") -> tuple[Tensor, str | None]:
    """A mask, or other channels, in the orientation of its image, and a note. Raises `InputError` for another shape."""
    size, seen = (mask.shape[-2], mask.shape[-1]), grid.size
    stored = seen[::-1] if grid.turn in SWAPPED else seen
    if size == seen or (size != stored and _alike(size, seen)):
        told = grid.turn == 1 or stored != seen
        return mask, None if told else "taken as made on the image as displayed, after its EXIF rotation"
    if size == stored or _alike(size, stored):
        turned = orient(mask, grid.turn)
        return turned, "rotated by the EXIF orientation of its image: it was made on the pixels as stored"
    raise InputError(
        f"The {what} {uri} {'is' if what == 'mask' else 'are'} {_words(size)} px and its image {_words(seen)}, of "
        f"another shape: make the {what} on the image itself, at its size or in its proportions.",
        code=Code.MASK_INVALID if what == "mask" else Code.CHANNELS_SIZE,
    )


def _alike(size: Size, other: Size) -> bool:
    """True where one size has the other's proportions, but for rounding: each side within a pixel, or 1 %."""
    (height, width), (tall, wide) = size, other
    return abs(height - width * tall / wide) <= max(1, height / 100) or abs(width - height * wide / tall) <= max(
        1, width / 100
    )


def _words(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _bytes(location: str, uri: str, expected: str | None) -> tuple[bytes, str]:
    data = read_source(location, uri)
    sha256 = hashlib.sha256(data).hexdigest()
    if expected is not None and sha256 != expected:
        raise changed(uri)
    return data, sha256


def holes_of(mask: Tensor, size: Size, known: Tensor | None = None) -> tuple[Tensor, str]:
    """A mask at an image's own size, as it is left out of the loss, and the hash of its pixels there.

    Pixels of the image that are not `known` `(1, 1, H, W)` are left out too.
    """
    fitted = fit(mask, size)
    if known is not None:
        fitted = torch.maximum(fitted, 1 - known)
    return fitted, hashlib.sha256(fitted.to(torch.uint8).numpy().tobytes()).hexdigest()


def orient(x: Tensor, turn: int) -> Tensor:
    """Stored pixels `(…, H, W)` as EXIF's orientation `turn` shows them."""
    if turn in SWAPPED:
        x = x.transpose(-2, -1)
    flips = {2: (-1,), 3: (-2, -1), 4: (-2,), 6: (-1,), 7: (-2, -1), 8: (-2,)}
    return x.flip(flips[turn]) if turn in flips else x


def changed(uri: str) -> InputError:
    """The error for a file that has changed since the plan."""
    return InputError(
        f"{uri} changed after the run looked at it. Run the same command again to take it as it is now.",
        code=Code.IMAGE_CHANGED,
    )
