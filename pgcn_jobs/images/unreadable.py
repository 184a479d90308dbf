"""Identification of files that Pillow cannot read, by their first bytes, for a sentence to the user."""

from __future__ import annotations

import importlib
import re

from PIL import Image

from pgcn_jobs.common.codes import Code

HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
_BLANK = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,64}")

# The first pattern that matches the start of the file, without leading blanks and in lower case, identifies it.
_KINDS = (
    (rb"version https://git-lfs", "is a Git LFS pointer, not the image itself: fetch it with `git lfs pull`."),
    (rb"(\.\./)*(\.git/annex|/annex)/objects/", "is a git-annex pointer, not the image itself: use `git annex get`."),
    (
        rb"(<!--.{0,500}-->\s*)?<(!doctype html|html|head|body)",
        "is a web page, not an image: its download went wrong; download it again.",
    ),
    (rb"(<\?xml.{0,500}\?>\s*)?(<!.{0,500}>\s*)*<(svg|svg:svg)\b", "is an SVG drawing: export it as PNG."),
    (rb"<\?xml|<error", "is an XML file, not an image: its download went wrong; download it again."),
    (rb"[\[{]\s*[\"}\]{\[]", "is a JSON file, not an image: its download went wrong; download it again."),
    (rb"%pdf-", "is a PDF document: export the page as PNG."),
    (rb"pk\x03\x04", "is a ZIP archive: unpack it first."),
    (rb"\x1f\x8b", "is compressed with gzip: unpack it first."),
)


class DecodeError(Exception):
    """These bytes are no usable image: one sentence for a person, with the file's name, and its stable code."""

    def __init__(self, message: str, *, code: Code = Code.IMAGE_UNREADABLE) -> None:
        super().__init__(message)
        self.code = code


def without_blanks(data: bytes) -> tuple[bytes, str | None]:
    """The bytes of an image without leading blanks or a byte order mark, and a note if there were any."""
    found = _BLANK.match(data)
    blanks = found.end() if found else 0
    if not blanks or not data.startswith(_STARTS, blanks):
        return data, None
    return data[blanks:], f"{blanks} byte{'s' * (blanks > 1)} before the image skipped"


def is_heic(data: bytes) -> bool:
    """True if the file has the signature of HEIC or HEIF; False for AVIF, which Pillow reads."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[8:64]


def read_heic(name: str) -> None:
    """Register pi-heif with Pillow. Raises `DecodeError` if it is not installed."""
    if "HEIF" in Image.OPEN:
        return
    try:
        importlib.import_module("pi_heif").register_heif_opener()
    except ImportError:
        raise DecodeError(
            f"{name} is a HEIC image, and pi-heif, which decodes HEIC, is not installed: "
            "`pip install pi-heif` on every machine, or save it as JPEG.",
            code=Code.IMAGE_FORMAT,
        ) from None


def describe_unreadable(data: bytes, name: str) -> str:
    """The sentence for an unreadable file."""
    start = data[:2000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for pattern, words in _KINDS:
        if re.match(pattern, start, re.DOTALL):
            return f"{name} {words}"
    if is_heic(data):
        return f"{name} is a HEIC image that is damaged: copy it again, or save it as JPEG."
    if data[:2000].isascii() and b"\0" not in data[:2000]:
        return f"{name} is a text file, not an image: copy the image again, or remove it."
    return f"{name} is not an image in a supported format, or is damaged at its start: save it as PNG or JPEG."
