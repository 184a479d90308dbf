"""Pictures for the gallery: PNG from the tables in, small WebP out."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

THUMB_HEIGHT = 200
THUMB_WIDTH = 480
GAP = 0.04  # of the height: small thumbnails are shown as large as the others
# Below this longest side a lossless picture is small, and every pixel of it is looked at enlarged.
LOSSLESS_SIDE = 64
QUALITY = 90


class EmbeddedImage(NamedTuple):
    """One image ready for a page: `source` is a data URI, sizes are its own pixels."""

    source: str
    width: int
    height: int

    def shown(self, factor: float) -> tuple[int, int]:
        """Width and height on the page, in CSS pixels, at so many times its own size."""
        return max(1, round(self.width * factor)), max(1, round(self.height * factor))

    def fitted(self, side: int) -> tuple[int, int]:
        """Width and height on the page with the longest side at `side` CSS pixels."""
        return self.shown(side / max(self.width, self.height))


def picture(png: bytes, most: int | None = None, *, lossless: bool = False) -> EmbeddedImage:
    """A stored PNG as a data URI: lossless where it is small or where that is asked, else close to lossless.

    Made smaller where a side is above `most` px. Raises OSError (PIL.UnidentifiedImageError) for bytes that are no
    picture.
    """
    image = _opened(png)
    if most is not None:
        image.thumbnail((most, most), Image.Resampling.LANCZOS)
    data = _webp(image, lossless=lossless or max(image.size) <= LOSSLESS_SIDE)
    return EmbeddedImage("data:image/webp;base64," + base64.b64encode(data).decode(), *image.size)


def clip(webp: bytes) -> EmbeddedImage:
    """An animated WebP as it is. Raises OSError for bytes that are none."""
    with Image.open(io.BytesIO(webp)) as image:
        return EmbeddedImage("data:image/webp;base64," + base64.b64encode(webp).decode(), *image.size)


def thumbnail(original: bytes | None, sample: bytes | None) -> tuple[bytes, int, int]:
    """The original on the left and a sample on the right, equally high: WebP bytes, width and height.

    Both keep their aspect ratio and the space between them is transparent. The result is at most THUMB_WIDTH ×
    THUMB_HEIGHT pixels and never enlarged. Raises ValueError where there is neither picture.
    """
    images = [_opened(png) for png in (original, sample) if png is not None]
    if not images:
        raise ValueError("a thumbnail needs the original or a sample")
    widths = sum(image.width / image.height for image in images) + GAP * (len(images) - 1)  # in heights
    height = max(1, min(THUMB_HEIGHT, max(image.height for image in images), int(THUMB_WIDTH / widths)))
    gap = max(1, round(GAP * height))
    fitted = [
        image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)
        for image in images
    ]
    sheet = Image.new("RGBA", (sum(image.width for image in fitted) + gap * (len(images) - 1), height))
    left = 0
    for image in fitted:
        sheet.paste(image, (left, 0))
        left += image.width + gap
    return _webp(sheet, lossless=height <= LOSSLESS_SIDE), *sheet.size


STRIP_SIDE = 240
"""Longest side of a picture of a strip, px."""


def strip(pngs: Sequence[bytes]) -> tuple[bytes, int, int]:
    """Pictures below each other, each at most STRIP_SIDE px, with transparent space: WebP bytes, width and height."""
    images = [_opened(png) for png in pngs]
    for image in images:
        image.thumbnail((STRIP_SIDE, STRIP_SIDE), Image.Resampling.LANCZOS)
    gap = max(1, round(GAP * images[0].height)) if len(images) > 1 else 0
    height = sum(image.height + gap for image in images) - gap
    sheet = Image.new("RGBA", (max(image.width for image in images), height))
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height + gap
    return _webp(sheet, lossless=max(image.height for image in images) <= LOSSLESS_SIDE), *sheet.size


def _opened(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _webp(image: Image.Image, *, lossless: bool) -> bytes:
    sink = io.BytesIO()
    # Lossless, these are efforts alone: more of them makes bytes a fiftieth fewer, and takes three times as long.
    quality, method = (75, 3) if lossless else (QUALITY, 4)
    image.save(sink, "WEBP", lossless=lossless, quality=quality, method=method)
    return sink.getvalue()
