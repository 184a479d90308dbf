"""Conversion of image bytes to RGB. The decoder's child process runs it, so it must not import torch.

A picture is read as a person sees it: turned by its EXIF orientation, in sRGB, on white, first frame only.

| stored as (Pillow's mode)         | becomes RGB by                                                               |
|-----------------------------------|------------------------------------------------------------------------------|
| `RGB`, `RGBX`                     | itself; 16-bit colour by its high bytes, or by `depth` where it is dark      |
| `1`, `L`                          | the gray value in all three channels                                         |
| `P`                               | its palette                                                                  |
| `LA`, `RGBA`, `PA`, `tRNS` colour | blended with white by alpha; refused where alpha is 0 everywhere             |
| `La`, `RGBa` (premultiplied)      | divided by alpha, then blended with white                                    |
| `CMYK`, also Adobe's inverted     | its colour profile; without one (1 - ink)(1 - black)                         |
| `YCbCr`, `HSV`                    | Pillow's formulas (JPEG's BT.601 for YCbCr)                                  |
| `LAB`                             | CIE Lab to sRGB, by LittleCMS                                                |
| `I;16`, `I;16B`, …                | gray, v / 257: 65535 is white, but for files of fewer bits (`depth`)         |
| `I` within 0…65535                | the same, for it is what 16-bit PGM and PNG files give                       |
| `I` beyond that, `F`              | gray, stretched from its finite minimum (black) to maximum (white);          |
|                                   | NaN and -inf are black, +inf is white                                        |
| TIFF that Pillow does not know    | gray or RGB, by tifffile (`jobs.images.tiff`): float colour, more channels |

An embedded colour profile is applied: relative colorimetric with black point compensation, as browsers do,
before alpha. It is left alone where it changes no colour by more than `SAME_COLOUR` levels (it is sRGB in all
but name), and ignored, with a note, where it is broken or made for another kind of colour. PNG's `gAMA` and
`cHRM` are not read.
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from jobs.common.codes import Code
from jobs.images import depth
from jobs.images.mask_rules import mask_of
from jobs.images.tiff import is_tiff, read_tiff
from jobs.images.unreadable import DecodeError, is_heic, read_heic, what_it_is, without_blanks

__all__ = ["NOT_PIXELS", "RGB", "DecodeError", "DecodedImage", "decode"]

RGB = npt.NDArray[np.uint8]

# Pillow knows these, but they are drawings or containers: what it would show depends on other programs.
NOT_PIXELS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

SAME_COLOUR = 2  # levels of 255 between two spellings of sRGB; Adobe RGB and Display P3 differ by tens

LOSSY = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "HEIF"})

# What Pillow logs as an error it also raises; its words reach a person in a `DecodeError`, once.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_PROFILE_SPACE = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}

# What brings a picture stored with this EXIF orientation upright; 1 is upright already.
_UPRIGHT = {
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
    """One decoded picture. `note` says what was done to get RGB, steps joined by "; ", None for plain RGB."""

    rgb: RGB  # (H, W, 3), as the picture is seen
    format: str  # PNG, JPEG, …
    mode: str  # Pillow's mode as stored
    note: str | None
    turn: int = 1  # the EXIF orientation, 1 to 8, by which it was turned


_ONE_AT_A_TIME = threading.Lock()


def decode(
    data: bytes, name: str, *, min_side: int = 12, max_pixels: int = 64_000_000, mask: bool = False
) -> DecodedImage:
    """Read a whole file of any format that Pillow decodes; see the module's table for what is done to it.

    With `mask`, the picture is white where it is chosen as a mask and black elsewhere, by `jobs.images.mask_rules`.

    Whatever the bytes, nothing but `DecodeError` is raised and Python prints nothing (libtiff itself, in C, writes
    a line about a damaged TIFF to standard error). They may still crash the process or hold it up, which
    is why only `jobs.images.decode_child` calls this. The pixel bound is checked on the header, before any pixel is
    decoded, and is never above Pillow's own (`Image.MAX_IMAGE_PIXELS`). A truncated picture is refused, never
    filled up. One thread decodes at a time, since warnings are switched off for the whole process meanwhile.

    Raises:
        DecodeError: the bytes are empty, no picture, damaged, cut short, too small or too large.
    """
    if not data:
        raise DecodeError(f"{name} is empty (0 bytes): copy it again, or remove it.", code=Code.IMAGE_EMPTY)
    limit = min(max_pixels, Image.MAX_IMAGE_PIXELS or max_pixels)
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Containers (ICO, ICNS) open further pictures while they load: their bound is only a warning otherwise.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decode(data, name, min_side, limit, mask)
        except DecodeError:
            raise
        except MemoryError as error:
            raise DecodeError(
                f"{name} needs more memory to decode than one image may take: make it smaller.", code=Code.IMAGE_PIXELS
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            _refuse_large(name, limit, error)
        except UnidentifiedImageError as error:
            raise DecodeError(what_it_is(data, name), code=Code.IMAGE_FORMAT) from error
        except Exception as error:  # decoders meet hostile bytes: any exception at all can come out of them
            reason = _one_line(str(error)) or type(error).__name__
            raise DecodeError(
                f"{name} is cut short or damaged and cannot be decoded ({reason}): copy it again, or save it anew.",
                code=Code.IMAGE_TRUNCATED,
            ) from error


def _decode(data: bytes, name: str, min_side: int, max_pixels: int, mask: bool) -> DecodedImage:
    """What `decode` promises, except that a decoder's own exceptions come out as they are."""
    data, skipped = without_blanks(data)
    notes: list[str | None] = [skipped]
    image, said = _open(data, name, max_pixels)
    notes += said
    kind = str(image.format)
    if kind in NOT_PIXELS:
        raise DecodeError(
            f"{name} is of the format {kind}, which is not a picture made of pixels: export it as PNG.",
            code=Code.IMAGE_FORMAT,
        )
    _check_size(image, name, min_side, max_pixels)
    turned = _orientation(image) if kind == "TIFF" else 1  # Pillow turns TIFF while it loads, and nothing else
    rawmode = depth.rawmode_of(image)
    image.load()
    _check_size(image, name, min_side, max_pixels)  # a container's picture need not have the size it announced
    turn = _orientation(image)

    colour, alpha, note = _channels(image, data, rawmode, name)
    notes.append(note)
    if mask:
        chosen, notes[-1] = mask_of(colour, alpha, name, lossy=kind in LOSSY, palette=image.mode in {"P", "PA"})
        colour, alpha = Image.fromarray(chosen).convert("RGB"), None
    else:
        colour, note = _to_srgb(colour, image.info.get("icc_profile") if image.mode != "LAB" else None)
        notes.append(note)
    if alpha is not None:
        colour, note = _on_white(colour, alpha, name)
        notes.append(note)
    if turn in _UPRIGHT:
        colour = colour.transpose(_UPRIGHT[turn])
    if turn in _UPRIGHT or turned in _UPRIGHT:
        notes.append("turned by EXIF")
    turn = next((each for each in (turn, turned) if each in _UPRIGHT), 1)
    text = "; ".join(note for note in notes if note)
    return DecodedImage(rgb=np.array(colour), format=kind, mode=image.mode, note=text or None, turn=turn)


def _open(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, list[str | None]]:
    """The file, not loaded yet where Pillow reads it, and notes of which of its frames that is."""
    if is_heic(data):
        read_heic(name)
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        if not is_tiff(data):
            raise
        other, notes = read_tiff(data, name, max_pixels)
        return other, [*notes]
    return image, [_first_frame(data), depth.left_out(image)]


def _check_size(image: Image.Image, name: str, min_side: int, max_pixels: int) -> None:
    """Refuse by the size alone, which orientation does not change but for the order of its sides."""
    width, height = image.size
    if min(width, height) < min_side:
        raise DecodeError(
            f"{name} is {width}x{height} pixels, and each side must have at least {min_side}: use a larger picture.",
            code=Code.IMAGE_SMALL,
        )
    if width * height > max_pixels:
        _refuse_large(name, max_pixels)


def _refuse_large(name: str, max_pixels: int, cause: BaseException | None = None) -> NoReturn:
    raise DecodeError(
        f"{name} has more than {max_pixels:,} pixels: make it smaller.", code=Code.IMAGE_PIXELS
    ) from cause


def _first_frame(data: bytes) -> str | None:
    """Say so where the file holds more frames than the one that is read.

    Counting seeks through the file, so it has a handle of its own; what is broken behind the first frame does
    not spoil that one.
    """
    try:
        image = Image.open(io.BytesIO(data))
        # A PSD's "frames" are its layers, already merged in the picture that is read.
        frames = 1 if image.format == "PSD" else int(getattr(image, "n_frames", 1))
    except Exception:
        return "frames could not be counted; the first was read"
    return f"first of {frames} frames" if frames > 1 else None


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where the EXIF block cannot be read: a camera's note spoils no picture."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def _channels(
    image: Image.Image, data: bytes, rawmode: str, name: str
) -> tuple[Image.Image, Image.Image | None, str | None]:
    """Split into colour (mode L, RGB or CMYK), alpha (mode L) where there is one, and a note."""
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


def _to_srgb(colour: Image.Image, icc: bytes | None) -> tuple[Image.Image, str | None]:
    """Colour of mode L, RGB or CMYK as sRGB, through the profile where it is a good one; and a note."""
    if not icc:
        return colour.convert("RGB"), None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if space == "RGB" and colour.mode == "L":
            colour = colour.convert("RGB")  # gray pictures often carry their camera's or editor's RGB profile
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
        described = _one_line(ImageCms.getProfileDescription(profile))
        return transform.apply(colour), f'profile "{described}" to sRGB'
    except Exception:  # the profile is the file's own bytes, and the picture is fine without it
        return colour.convert("RGB"), "broken colour profile ignored"


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform to sRGB leaves gray or RGB as it is, judged on an even grid of colours."""
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    channels = len(mode)  # L or RGB
    grid = np.stack(np.meshgrid(*[levels] * channels), axis=-1)
    probe = Image.frombytes(mode, (grid.size // channels, 1), grid.tobytes())
    before, after = np.asarray(probe.convert("RGB"), dtype=np.int16), np.asarray(transform.apply(probe))
    return int(np.abs(after - before).max()) <= SAME_COLOUR


def _on_white(rgb: Image.Image, alpha: Image.Image, name: str) -> tuple[Image.Image, str]:
    """Blend with white by alpha, 0 being white; and a note. Raises `DecodeError` where nothing is to be seen."""
    lowest, highest = alpha.getextrema()
    if highest == 0:
        raise DecodeError(
            f"{name} is transparent everywhere (its first frame, where it has several), and shows nothing: "
            "save it without transparency, or save the frame that is meant.",
            code=Code.IMAGE_BLANK,
        )
    if lowest == 255:
        return rgb, "opaque alpha dropped"
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha), "alpha composited on white"


def _one_line(text: str) -> str:
    """A file's or decoder's own words, made fit to stand in a sentence."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:120]
