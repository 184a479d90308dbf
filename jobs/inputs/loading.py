"""Pictures and masks as tensors, from where they lie. What cannot be read is an `InputError` with the file's name."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jobs.common.codes import Code
from jobs.common.failures import InputError
from jobs.images.convert import Picture
from jobs.images.decoder import shared as decoder
from jobs.images.png import to_tensor
from jobs.inputs.discover import read_source
from pgcn.imaging.masks import check_mask, fit
from pgcn.imaging.scales import Size

MAX_PIXELS = 64_000_000


class LoadedImage(NamedTuple):
    """A picture `(1, 3, H, W)` as it was read, and the hash of its file's bytes."""

    image: Tensor
    sha256: str
    picture: Picture

    @property
    def note(self) -> str | None:
        """How it was turned into RGB, where it was not RGB already."""
        return self.picture.note


def take(location: str, uri: str, max_pixels: int = MAX_PIXELS, expected: str | None = None) -> LoadedImage:
    """Read a picture; where a hash is `expected`, its file's bytes have to have that."""
    data, sha256 = _bytes(location, uri, expected)
    picture = decoder.decode(data, uri, max_pixels=max_pixels)
    return LoadedImage(to_tensor(picture.rgb), sha256, picture)


def load_mask(location: str, uri: str, max_pixels: int = MAX_PIXELS, expected: str | None = None) -> tuple[Tensor, str]:
    """A picture of any mode as a mask `(1, 1, H, W)`: light, on white, is chosen. Also the hash of its file's bytes.

    Raises `InputError` where it chooses nothing, or everything.
    """
    data, sha256 = _bytes(location, uri, expected)
    levels = decoder.decode(data, uri, max_pixels=max_pixels).rgb.astype(np.float32).mean(2) / 255
    try:
        return check_mask(torch.from_numpy(levels)), sha256
    except ValueError as error:
        raise InputError(f"The mask {uri} cannot be used: {error}.", code=Code.MASK_INVALID) from None


def _bytes(location: str, uri: str, expected: str | None) -> tuple[bytes, str]:
    data = read_source(location, uri)
    sha256 = hashlib.sha256(data).hexdigest()
    if expected is not None and sha256 != expected:
        raise changed(uri)
    return data, sha256


def holes_of(mask: Tensor, size: Size) -> tuple[Tensor, str]:
    """A mask at an image's own size, as it is left out of the loss, and the hash of its pixels there."""
    fitted = fit(mask, size)
    return fitted, hashlib.sha256(fitted.to(torch.uint8).numpy().tobytes()).hexdigest()


def changed(uri: str) -> InputError:
    """What to raise for a file that is another than the one that was looked at."""
    return InputError(
        f"{uri} changed after the run looked at it. Run the same command again to take it as it is now.",
        code=Code.IMAGE_CHANGED,
    )
