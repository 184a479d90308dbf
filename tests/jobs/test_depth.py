"""More than 8 bits a channel: white is what the file declares, or what its values say, and a note tells."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from pgcn_jobs.images.convert import decode
from pgcn_jobs.images.decoder import shared
from tests.sentences import fails_with

GRAY = np.linspace(40, 220, 24 * 16).round().astype(np.uint8).reshape(24, 16)
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], -1)
KINDS = {1: 0, 2: 4, 3: 2, 4: 6}


def png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A 16-bit PNG of `(H, W)` or `(H, W, C)`, with some chunks before its pixels."""
    values = values[..., None] if values.ndim == 2 else values
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, KINDS[channels], 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def tiff(values: np.ndarray, **options) -> bytes:
    sink = io.BytesIO()
    options = {"photometric": "rgb" if values.ndim == 3 and values.shape[-1] >= 3 else "minisblack"} | options
    tifffile.imwrite(sink, values, metadata=None, **options)
    return sink.getvalue()


def close(data: bytes, expected: np.ndarray, note: str) -> None:
    picture = decode(data, "x")
    expected = expected if expected.ndim == 3 else expected[..., None].repeat(3, -1)
    assert np.abs(picture.rgb.astype(int) - expected).max() <= 1
    assert picture.note is not None
    assert note in picture.note


def deep(levels: np.ndarray, white: int) -> np.ndarray:
    return (levels.astype(np.uint32) * white // 255).astype(np.uint16)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_bits_stored_in_16_are_scaled_and_said(bits):
    values = deep(GRAY, 2**bits - 1)
    note = f"gray scaled from 0…{2**bits - 1} (no value is above {values.max()})"
    close(png(values), GRAY, note)
    close(tiff(values), GRAY, note)
    close(tiff(values.astype(np.uint32)), GRAY, note)
    wide = tiff(GRAY.astype(np.uint32) << 24)
    close(wide, (GRAY - 40.0) / 180 * 255, "gray stretched from")


def test_declared_bits_are_what_counts():
    dark = deep(GRAY // 8, 4095)  # would be taken for 10 bits
    close(png(dark, (b"sBIT", b"\x0c")), GRAY // 8, "12-bit gray scaled to 8")
    close(tiff(dark, extratags=[(281, "H", 1, 4095, True)]), GRAY // 8, "12-bit gray scaled to 8")
    close(tiff(deep(GRAY, 3000), extratags=[(281, "H", 1, 3000, True)]), GRAY, "gray scaled from 0…3000")
    # As PNG wants it: samples of 12 bits are scaled to 16, and sBIT says how many were there.
    close(png(deep(GRAY, 65535), (b"sBIT", b"\x0c")), GRAY, "16-bit gray scaled to 8")
    close(png(deep(GRAY // 8, 65535), (b"sBIT", b"\x0c")), GRAY // 8, "16-bit gray scaled to 8")
    close(png(deep(GRAY // 8, 65535), (b"sBIT", b"\x10")), GRAY // 8, "16-bit gray scaled to 8")
    close(tiff(deep(GRAY // 8, 65535), extratags=[(281, "H", 1, 65535, True)]), GRAY // 8, "16-bit gray")
    close(tiff(deep(GRAY, 32767).astype(np.int16)), GRAY, "15-bit gray scaled to 8")


def test_12_bits_packed_in_a_tiff():
    values = deep(GRAY // 8, 4095).astype(np.uint32)
    packed = bytearray()
    for a, b in values.reshape(-1, 2).tolist():
        packed += bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
    tags = [(256, 16), (257, 24), (258, 12), (259, 1), (262, 1), (273, 200), (277, 1), (278, 24), (279, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    close(head.ljust(200, b"\0") + bytes(packed), GRAY // 8, "12-bit gray scaled to 8")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_is_zero_is_heeded(compression):
    values = 65535 - deep(GRAY, 65535)
    close(tiff(values, photometric="miniswhite", compression=compression), GRAY, "0 is white")
    close(tiff(4095 - deep(GRAY, 4095), photometric="miniswhite"), GRAY, "0 is white")
    floats = (1 - GRAY / 255).astype(np.float32)
    picture = decode(tiff(floats, photometric="miniswhite"), "x")
    assert picture.rgb[0, 0, 0] == 0, "the darkest"
    assert picture.rgb[-1, -1, 0] == 255


def test_16_bit_transparency_is_kept():
    values = deep(GRAY, 65535)
    clear = int(values[3, 4])
    picture = decode(png(values, (b"tRNS", struct.pack(">H", clear))), "x")
    assert tuple(picture.rgb[3, 4]) == (255,) * 3
    assert tuple(picture.rgb[3, 5]) == (GRAY[3, 5],) * 3
    assert picture.note == "16-bit gray scaled to 8; alpha composited on white"

    colour = deep(COLOUR, 65535)
    colour[5, 5] = colour[3, 4] + [0, 0, 1]  # of the same high bytes, and not transparent
    picture = decode(png(colour, (b"tRNS", struct.pack(">HHH", *colour[3, 4].tolist()))), "x")
    assert tuple(picture.rgb[3, 4]) == (255,) * 3
    assert tuple(picture.rgb[5, 5]) != (255,) * 3
    assert np.abs(picture.rgb[6].astype(int) - COLOUR[6]).max() <= 1


@pytest.mark.parametrize("white", [1023, 4095, 65535])
@pytest.mark.parametrize("make", [png, tiff, lambda v: tiff(v, compression="zlib"), lambda v: tiff(v, byteorder=">")])
def test_colour_of_few_bits_in_16(make, white):
    picture = decode(make(deep(COLOUR, white)), "x")
    assert np.abs(picture.rgb.astype(int) - COLOUR).max() <= 1
    assert (picture.note is None) == (white == 65535)


def test_declared_bits_of_colour():
    close(png(deep(COLOUR, 32767), (b"sBIT", b"\x0f" * 3)), COLOUR, "15-bit colour scaled to 8")
    close(tiff(deep(COLOUR // 8, 4095), extratags=[(281, "H", 3, (4095,) * 3, True)]), COLOUR // 8, "12-bit colour")


@pytest.mark.parametrize("white", [4095, 65535])
def test_alpha_of_few_bits_in_16(white):
    alpha = np.full((24, 16, 1), white, np.uint16)
    alpha[:8] = 0
    for levels, data in [
        (COLOUR, png(np.concatenate([deep(COLOUR, white), alpha], -1))),
        (GRAY[..., None].repeat(3, -1), png(np.concatenate([deep(GRAY, white)[..., None], alpha], -1))),
        (COLOUR, tiff(np.concatenate([deep(COLOUR, white), alpha], -1), extrasamples=["unassalpha"])),
    ]:
        picture = decode(data, "x")
        assert (picture.rgb[:8] == 255).all()
        assert np.abs(picture.rgb[8:].astype(int) - levels[8:]).max() <= 1


def test_tiff_kinds_that_pillow_does_not_read():
    half = np.full((24, 16, 1), 32768, np.uint16)
    gray_alpha = np.concatenate([deep(GRAY, 65535)[..., None], half], -1)
    data = tiff(gray_alpha, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    close(data, 255 - (255 - GRAY.astype(int)) / 2, "16-bit gray scaled to 8")
    close(tiff((COLOUR / 255).astype(np.float32)), COLOUR, "colour scaled from 0…1")
    close(tiff((COLOUR * 4.0).astype(np.float32)), (COLOUR - 40.0) / 180 * 255, "colour stretched from 160…880")
    five = np.concatenate([COLOUR, COLOUR[..., :2]], -1)
    close(tiff(five), COLOUR, "5 channels, of which the first 3 were read")
    planes = tiff((five / 255).astype(np.float32).transpose(2, 0, 1), planarconfig="separate")
    close(planes, COLOUR, "5 channels")
    turned = tiff((np.rot90(COLOUR, 1) / 255).astype(np.float32), extratags=[(274, "H", 1, 6, True)])
    assert decode(turned, "x").turn == 6
    close(turned, COLOUR, "turned by EXIF")


def test_tiff_kinds_that_are_not_read_are_one_sentence():
    ink = np.stack([GRAY] * 4, -1).astype(np.float32)
    for data in (tiff(GRAY.astype(np.complex64)), tiff(ink, photometric="separated", planarconfig="contig")):
        with fails_with("image.format"):
            decode(data, "x.tif")
    with fails_with("image.too_many_pixels"):
        decode(tiff((COLOUR / 255).astype(np.float32)), "x.tif", max_pixels=100)


def test_the_guarded_process_reads_them_too():
    data = tiff((COLOUR / 255).astype(np.float32))
    assert np.abs(shared.decode(data, "x").rgb.astype(int) - COLOUR).max() <= 1


def test_full_16_bits_and_pgm_are_left_as_they_were():
    sink = io.BytesIO()
    Image.fromarray(deep(GRAY // 8, 65535).astype(np.int32)).save(sink, "PPM")
    picture = decode(sink.getvalue(), "x")  # says itself that 65535 is white
    assert np.abs(picture.rgb[..., 0].astype(int) - GRAY // 8).max() <= 1
