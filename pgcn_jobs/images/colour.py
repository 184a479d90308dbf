"""Colour conversion of a decoded image: channels, colour profile, and transparency. It must not import torch."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from pgcn_jobs.common.codes import Code
from pgcn_jobs.images import depth
from pgcn_jobs.images.unreadable import DecodeError

SAME_COLOUR = 2  # largest difference, levels of 255, of a profile that is sRGB; Adobe RGB and Display P3 differ by tens

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_PROFILE_SPACE = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def split_channels(
    image: Image.Image, data: bytes, rawmode: str, name: str
) -> tuple[Image.Image, Image.Image | None, str | None]:
    """Colour (mode L, RGB or CMYK), alpha (mode L) or None, and a note. Raises `DecodeError`."""
    mode = image.mode
    if mode in {"I", "F"} or mode.startswith("I;16"):
        return depth.gray(image, data, name)
    note = None if mode in {"RGB", "RGBA", "RGBX"} else f"{mode} to RGB"
    if found := depth.deep_colour(image, data, rawmode, name):
        image, note = found
        mode = image.mode
    if image.has_transparency_data:
        gray_like = mode in {"1", "L", "LA", "La"}
        whole = image.convert("LA" if gray_like else "RGBA")
        return whole.convert("L" if gray_like else "RGB"), whole.getchannel("A"), note
    if mode in {"1", "L"}:
        return image.convert("L"), None, note
    return (image if mode == "CMYK" else image.convert("RGB")), None, note


def to_srgb(colour: Image.Image, icc: bytes | None) -> tuple[Image.Image, str | None]:
    """Colour of mode L, RGB or CMYK as sRGB, through the profile if it is valid; and a note."""
    if not icc:
        return colour.convert("RGB"), None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if space == "RGB" and colour.mode == "L":
            colour = colour.convert("RGB")  # gray images often have the RGB profile of their camera or editor
        if space != _PROFILE_SPACE[colour.mode]:
            return colour.convert("RGB"), f"colour profile ignored: it is for {space}"
        transform = ImageCms.buildTransform(
            profile,
            _SRGB,
            colour.mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if _changes_nothing(transform, colour.mode):
            return colour.convert("RGB"), None
        described = one_line(ImageCms.getProfileDescription(profile))
        return transform.apply(colour), f'profile "{described}" to sRGB'
    except Exception:  # the profile is untrusted, and the image is usable without it
        return colour.convert("RGB"), "broken colour profile ignored"


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """True if a transform to sRGB changes gray or RGB by at most `SAME_COLOUR` levels, on a regular grid of colours."""
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    channels = len(mode)  # L or RGB
    grid = np.stack(np.meshgrid(*[levels] * channels), axis=-1)
    probe = Image.frombytes(mode, (grid.size // channels, 1), grid.tobytes())
    before, after = np.asarray(probe.convert("RGB"), dtype=np.int16), np.asarray(transform.apply(probe))
    return int(np.abs(after - before).max()) <= SAME_COLOUR


def composite_on_white(rgb: Image.Image, alpha: Image.Image, name: str) -> tuple[Image.Image, str]:
    """The image blended with white by alpha, 0 being white, and a note. Raises `DecodeError` for alpha 0 everywhere."""
    lowest, highest = alpha.getextrema()
    if highest == 0:
        raise DecodeError(
            f"{name} is transparent everywhere (in its first frame, if it has several): "
            "save it without transparency, or save the intended frame.",
            code=Code.IMAGE_BLANK,
        )
    if lowest == 255:
        return rgb, "opaque alpha dropped"
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha), "alpha composited on white"


def one_line(text: str) -> str:
    """Text of a file or decoder, as at most 120 printable characters for a sentence."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:120]
