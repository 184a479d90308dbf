"""Decoded images, how they are read, and the checks and facts that both readings share. No import of torch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images.depth import Values
from pgcn_jobs.images.unreadable import DecodeError
from pgcn_jobs.images.values import Transparency

RGB = npt.NDArray[np.uint8]

# Pillow opens these, but they are drawings or containers: their rendering depends on other programs.
NOT_PIXELS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

LOSSY = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "HEIF"})

# The transposition that turns an image with this EXIF orientation upright; 1 is upright already.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One decoded image. `note` has the steps of the conversion, joined by "; ", None for plain RGB.

    `channels` is None for RGB of 8 bits, else the JSON text of `pgcn.imaging.channels.Channels`, whose values `values`
    then holds. Pixels of `unknown` have no data.
    """

    values: Values  # (H, W, S), as displayed; uint8 of 3 for RGB
    format: str  # PNG, JPEG, …
    mode: str  # Pillow's mode as stored
    note: str | None
    turn: int = 1  # the EXIF orientation, 1 to 8, by which it was turned
    channels: str | None = None
    unknown: npt.NDArray[np.bool_] | None = None  # (H, W)
    georeference: str | None = None  # JSON, of a GeoTIFF that was not turned

    @property
    def rgb(self) -> RGB:
        """The values of RGB of 8 bits, `(H, W, 3)`."""
        assert self.channels is None
        return self.values


@dataclass(frozen=True)
class Reading:
    """The form of a read image: `rgb`, RGB of 8 bits; `auto`, all channels with all their bits; `label`, categories.

    `transparency` is for `auto`: see `pgcn_jobs.images.values.Transparency`.
    """

    channels: Literal["rgb", "auto", "label"] = "rgb"
    transparency: Transparency = "white"


AS_RGB = Reading()


def refuse_drawings(kind: str, name: str) -> None:
    """Raises `DecodeError` for a format of `NOT_PIXELS`."""
    if kind in NOT_PIXELS:
        raise DecodeError(
            f"{name} is of the format {kind}, which is not an image of pixels: export it as PNG.",
            code=Code.IMAGE_FORMAT,
        )


def check_shape(values: Values, name: str, min_side: int, max_pixels: int) -> None:
    """As `check_size`, of values `(H, W, S)`."""
    check_sides(values.shape[1], values.shape[0], name, min_side, max_pixels)


def check_size(image: Image.Image, name: str, min_side: int, max_pixels: int) -> None:
    """Refuse by size. The orientation only exchanges the sides, so it does not matter here."""
    check_sides(*image.size, name, min_side, max_pixels)


def check_sides(width: int, height: int, name: str, min_side: int, max_pixels: int) -> None:
    """Refuse by the sides, px."""
    if min(width, height) < min_side:
        raise DecodeError(
            f"{name} is {width}x{height} pixels, and each side must have at least {min_side}: use a larger image.",
            code=Code.IMAGE_SMALL,
        )
    if width * height > max_pixels:
        refuse_large(name, max_pixels)


def refuse_large(name: str, max_pixels: int, cause: BaseException | None = None) -> NoReturn:
    """Raises the `DecodeError` for too many pixels."""
    raise DecodeError(
        f"{name} has more than {max_pixels:,} pixels: make it smaller.", code=Code.IMAGE_PIXELS
    ) from cause


def first_frame(data: bytes) -> str | None:
    """A note if the file has more frames than the first, which is read.

    The count seeks through the file, so it uses a handle of its own: damage behind the first frame does not affect
    that frame.
    """
    try:
        image = Image.open(io.BytesIO(data))
        # A PSD's "frames" are its layers, which are merged in the image that is read.
        frames = 1 if image.format == "PSD" else int(getattr(image, "n_frames", 1))
    except Exception:
        return "frames could not be counted; the first was read"
    return f"first of {frames} frames" if frames > 1 else None


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 for an unreadable EXIF block, which must not cost the image."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1
