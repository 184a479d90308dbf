"""Any bytes become RGB as the module's table says, or an `DecodeError` that a person understands."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from pgcn_jobs.images.convert import DecodeError, decode
from tests.sentences import fails_with

EXAMPLES = Path(__file__).parents[2] / "examples" / "images"


def saved(image: Image.Image, kind: str, **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def blocks(width: int = 32, height: int = 24) -> np.ndarray:
    """Random colours in squares of 4 pixels, so that lossy formats keep their middle."""
    small = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return small.repeat(4, axis=0).repeat(4, axis=1)


def flat(colour, mode: str, size=(16, 12)) -> Image.Image:
    return Image.new(mode, size, colour)


def only_colour(data: bytes) -> tuple[int, ...]:
    """The one colour of a single-colour picture."""
    colours = np.unique(decode(data, "x").rgb.reshape(-1, 3), axis=0)
    assert len(colours) == 1, colours
    return tuple(int(level) for level in colours[0])


def words(value: object) -> str:
    """A test's name from its strings alone: files and colours are not to be read."""
    return value if isinstance(value, str) else type(value).__name__


# --- the table of modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "SGI", "PCX", "QOI", "ICO", "DDS"])
def test_plain_rgb_is_read_as_it_is(kind):
    rgb = blocks()
    options = {"sizes": [(32, 24)]} if kind == "ICO" else {}
    picture = decode(saved(Image.fromarray(rgb), kind, **options), "x")
    np.testing.assert_array_equal(picture.rgb, rgb)
    assert (picture.format, picture.rgb.dtype) == (kind, np.uint8)
    assert picture.note is None


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000", "GIF"])
def test_lossy_formats_come_near(kind):
    rgb = np.full((24, 32, 3), (200, 120, 40), np.uint8)
    picture = decode(saved(Image.fromarray(rgb), kind), "x")
    assert picture.format == kind
    assert np.abs(picture.rgb.astype(int) - rgb).max() <= 6


@pytest.mark.parametrize(
    ("data", "expected", "mode", "note"),
    [
        (saved(flat(1, "1"), "PNG"), (255, 255, 255), "1", "1 to RGB"),
        (saved(flat(77, "L"), "PNG"), (77, 77, 77), "L", "L to RGB"),
        (saved(flat((10, 20, 30), "RGB").quantize(2), "GIF"), (10, 20, 30), "P", "P to RGB"),
        (saved(flat((100, 51), "LA"), "PNG"), (224,) * 3, "LA", "LA to RGB; alpha composited on white"),
        (saved(flat((0, 100, 200, 51), "RGBA"), "PNG"), (204, 224, 244), "RGBA", "alpha composited on white"),
        (saved(flat((1, 2, 3, 255), "RGBA"), "PNG"), (1, 2, 3), "RGBA", "opaque alpha dropped"),
        (saved(flat((255, 0, 0, 0), "CMYK"), "TIFF"), (0, 255, 255), "CMYK", "CMYK to RGB"),
        (saved(flat((0, 0, 0, 51), "CMYK"), "TIFF"), (204, 204, 204), "CMYK", "CMYK to RGB"),
        (saved(flat((0, 0, 0, 51), "CMYK"), "JPEG"), (204, 204, 204), "CMYK", "CMYK to RGB"),  # Adobe's inverted
        (saved(flat((76, 85, 255), "YCbCr"), "TIFF"), (254, 0, 0), "YCbCr", "YCbCr to RGB"),
        (saved(flat((128, 128, 128), "LAB"), "TIFF"), (119, 119, 119), "LAB", "LAB to RGB"),
        (saved(flat(25700, "I;16"), "PNG"), (100,) * 3, "I;16", "16-bit gray scaled to 8"),
        (saved(flat(25700, "I;16"), "TIFF"), (100,) * 3, "I;16", "16-bit gray scaled to 8"),
        (saved(flat(65535, "I;16"), "PNG"), (255,) * 3, "I;16", "16-bit gray scaled to 8"),
        (saved(flat(25700, "I"), "TIFF"), (100,) * 3, "I", "16-bit gray scaled to 8"),
        (saved(flat(25700, "I"), "PPM"), (100,) * 3, "I", "16-bit gray scaled to 8"),
        (saved(flat(0.5, "F"), "TIFF"), (0, 0, 0), "F", "gray stretched from 0.5…0.5"),
    ],
    ids=words,
)
def test_each_mode_becomes_its_defined_colour(data, expected, mode, note):
    picture = decode(data, "x")
    assert (picture.mode, picture.note) == (mode, note)
    assert only_colour(data) == expected  # and a single-colour picture is not refused


def one_opaque(image: Image.Image) -> Image.Image:
    """The picture with its last pixel opaque: one that shows nothing is refused."""
    image.putpixel((image.width - 1, image.height - 1), (9, 8, 7, 255))
    return image


def test_hsv_and_premultiplied_modes_which_no_plain_file_holds(monkeypatch):
    """Such modes come from rare files only (DDS, TIFF with associated alpha), so hand Pillow's picture over."""
    for image, expected in [
        (flat((0, 255, 255), "HSV"), (255, 0, 0)),
        (flat((51, 0, 0, 51), "RGBa"), (255, 204, 204)),
        (flat((51, 51), "La"), (255, 255, 255)),
        (flat((9, 8, 7), "RGB").convert("RGBX"), (9, 8, 7)),
        (one_opaque(flat((9, 8, 7, 0), "RGBA")).convert("PA"), (255, 255, 255)),
    ]:
        image.format = "TEST"
        monkeypatch.setattr(Image, "open", lambda _file, image=image: image)
        picture = decode(b"any", "x")
        assert tuple(picture.rgb[0, 0]) == expected, image.mode


def test_big_endian_16_bit_gray():
    values = np.full((12, 12), 51400, ">u2")
    header = struct.pack(">2sHI", b"MM", 42, 8)
    tags = [
        (256, 3, 12),
        (257, 3, 12),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
        (279, 4, 288),
    ]
    entries = b"".join(
        struct.pack(">HHIHH", tag, 3, 1, value, 0) if kind == 3 else struct.pack(">HHII", tag, 4, 1, value)
        for tag, kind, value in tags
    )
    file = (header + struct.pack(">H", len(tags)) + entries + b"\0" * 4).ljust(200, b"\0") + values.tobytes()
    assert decode(file, "x").mode == "I;16B"
    assert only_colour(file) == (200, 200, 200)


def test_palette_transparency_shows_white():
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 250, 0, 0])
    image.putpixel((0, 0), 0)
    picture = decode(saved(image, "PNG", transparency=1), "x")
    assert picture.note == "P to RGB; alpha composited on white"
    assert tuple(picture.rgb[0, 0]) == (0, 0, 0)
    assert tuple(picture.rgb[5, 5]) == (255, 255, 255)
    half = decode(saved(image, "PNG", transparency=bytes([255, 51])), "x")
    assert tuple(half.rgb[5, 5]) == (254, 204, 204)


def test_transparent_colour_of_rgb_and_gray_shows_white():
    rgb = flat((10, 20, 30), "RGB")
    rgb.putpixel((0, 0), (1, 1, 1))
    picture = decode(saved(rgb, "PNG", transparency=(10, 20, 30)), "x")
    assert picture.note == "alpha composited on white"
    assert tuple(picture.rgb[0, 0]) == (1, 1, 1)
    assert tuple(picture.rgb[5, 5]) == (255, 255, 255)
    gray = flat(40, "L")
    gray.putpixel((0, 0), 41)
    assert tuple(decode(saved(gray, "PNG", transparency=40), "x").rgb[5, 5]) == (255, 255, 255)


def test_16_bit_rgb_keeps_the_high_byte():
    row = b"\0" + struct.pack(">HHH", 0x12FF, 0x3400, 0xFFFF) * 12
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 12, 12, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 12)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    assert only_colour(b"\x89PNG\r\n\x1a\n" + body) == (0x12, 0x34, 0xFF)


def test_floats_are_stretched_and_what_is_not_finite_is_defined():
    values = np.full((12, 12), 3.0, np.float32)
    values[0, :6] = [-1, 7, np.nan, np.inf, -np.inf, 3]
    picture = decode(saved(Image.fromarray(values), "TIFF"), "x")
    assert picture.rgb[0, :6, 0].tolist() == [0, 255, 0, 255, 0, 128]
    assert picture.note == "gray stretched from -1…7, 3 pixels not finite"
    with fails_with("image.not_finite"):
        decode(saved(Image.fromarray(np.full((12, 12), np.nan, np.float32)), "TIFF"), "nan.tif")


def test_32_bit_integers_beyond_16_bits_are_stretched():
    values = np.full((12, 12), -100_000, np.int32)
    values[0, 0] = 100_000
    picture = decode(saved(Image.fromarray(values), "TIFF"), "x")
    assert (picture.rgb[0, 0, 0], picture.rgb[5, 5, 0]) == (255, 0)
    assert picture.note == "gray stretched from -100000…100000"
    negative = decode(saved(Image.fromarray(values // 100), "TIFF"), "x")
    assert negative.note == "gray stretched from -1000…1000"


# --- frames and orientation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_first_frame_is_read(kind):
    frames = [flat(colour, "RGB") for colour in [(250, 0, 0), (0, 250, 0), (0, 0, 250)]]
    picture = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100), "x")
    assert picture.note is not None
    assert picture.note.split("; ")[0] == "first of 3 frames"
    assert np.abs(picture.rgb.astype(int) - (250, 0, 0)).max() <= 8


def test_what_is_broken_behind_the_first_frame_does_not_spoil_it():
    red, blue = flat((250, 0, 0), "RGB"), flat((0, 0, 250), "RGB")
    moving = saved(red, "GIF", save_all=True, append_images=[blue])
    cut = moving[: moving.rindex(b",") + 9]  # inside the head of the second frame
    assert only_colour(cut) == (250, 0, 0)
    assert decode(cut, "x").note == "frames could not be counted; the first was read; P to RGB"


LEAST_LOSS = {
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 95, "subsampling": 0},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    seen = blocks()
    # How EXIF defines it: which of the seen picture's edges the stored first row and first column are.
    stored = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.transpose(1, 0, 2),
        6: np.rot90(seen, 1),
        7: np.rot90(seen, 2).transpose(1, 0, 2),
        8: np.rot90(seen, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(
        saved(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **LEAST_LOSS.get(kind, {})), "x"
    )
    assert picture.rgb.shape == seen.shape
    assert np.abs(picture.rgb.astype(int) - seen).mean() <= (4 if kind in {"JPEG", "AVIF"} else 0)
    assert picture.note == (None if orientation == 1 else "turned by EXIF")


def test_unreadable_exif_spoils_no_picture():
    rgb = blocks()
    data = saved(Image.fromarray(rgb), "PNG", exif=b"Exif\0\0no such thing")
    np.testing.assert_array_equal(decode(data, "x").rgb, rgb)


# --- colour profiles ----------------------------------------------------------------------------------------


def icc(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A small ICC profile, version 2."""
    body, table, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02100000, kind, space, pcs)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def named(text: bytes) -> bytes:
    return b"desc" + struct.pack(">II", 0, len(text) + 1) + text + b"\0" * 80


WHITE = b"XYZ " + struct.pack(">4I", 0, 0xF6D6, 0x10000, 0xD32D)
LINEAR_GRAY = icc(
    b"GRAY",
    b"XYZ ",
    {b"desc": named(b"linear\ngray"), b"wtpt": WHITE, b"kTRC": b"curv" + struct.pack(">II", 0, 0)},
)


@cache
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_is_blue() -> bytes:
    """sRGB with the primaries of red and blue exchanged."""
    return srgb().replace(b"rXYZ", b"swap", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"swap", b"bXYZ", 1)


def all_ink_is_one_colour() -> bytes:
    """A CMYK profile that sees one strong red, Lab (50, 70, 60), in whatever ink, and white in none."""
    lab = bytes([128, 70 + 128, 60 + 128])
    ramp = bytes(range(256))
    corners = bytes([255, 128, 128]) + lab * 15
    identity = struct.pack(">9i", *[0x10000 if i % 4 == 0 else 0 for i in range(9)])
    table = b"mft1" + struct.pack(">I4B", 0, 4, 3, 2, 0) + identity + ramp * 4 + corners + ramp * 3
    return icc(b"CMYK", b"Lab ", {b"desc": named(b"red ink"), b"wtpt": WHITE, b"A2B0": table, b"A2B1": table})


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_srgb_profile_changes_nothing(kind):
    image = Image.fromarray(blocks())
    plain, tagged = (decode(saved(image, kind, **options), "x") for options in ({}, {"icc_profile": srgb()}))
    np.testing.assert_array_equal(tagged.rgb, plain.rgb)
    assert tagged.note is None


def test_an_rgb_profile_is_applied():
    picture = decode(saved(flat((255, 0, 0), "RGB"), "PNG", icc_profile=red_is_blue()), "x")
    assert tuple(picture.rgb[0, 0]) == (0, 0, 255)
    assert picture.note is not None
    assert picture.note.startswith('profile "')
    assert picture.note.endswith('" to sRGB')


def test_a_profile_is_applied_before_alpha():
    data = saved(flat((255, 0, 0, 51), "RGBA"), "PNG", icc_profile=red_is_blue())
    assert only_colour(data) == (204, 204, 255)


def test_a_gray_profile_is_applied():
    data = saved(flat(128, "L"), "PNG", icc_profile=LINEAR_GRAY)
    assert decode(data, "x").note == 'L to RGB; profile "linear gray" to sRGB'
    red, green, blue = only_colour(data)
    assert red == green == blue == pytest.approx(188, abs=1)  # linear 0.5 in sRGB


def test_a_gray_picture_may_carry_an_rgb_profile():
    data = saved(flat(90, "L"), "PNG", icc_profile=srgb())
    assert only_colour(data) == (90, 90, 90)
    assert decode(data, "x").note == "L to RGB"


def test_a_cmyk_profile_is_applied():
    data = saved(flat((255, 0, 0, 0), "CMYK"), "TIFF", icc_profile=all_ink_is_one_colour())
    assert decode(data, "x").note == 'CMYK to RGB; profile "red ink" to sRGB'
    red, green, blue = only_colour(data)
    assert red > 180
    assert max(green, blue) < 90


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        (b"no profile at all", "broken colour profile ignored"),
        (srgb()[:300], "broken colour profile ignored"),
        (LINEAR_GRAY, "colour profile ignored: it is for GRAY"),
    ],
    ids=words,
)
def test_a_useless_profile_is_ignored_and_said_so(profile, note):
    rgb = blocks()
    picture = decode(saved(Image.fromarray(rgb), "PNG", icc_profile=profile), "x")
    np.testing.assert_array_equal(picture.rgb, rgb)
    assert picture.note == note


# --- refusals -----------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG that announces this size and holds no pixels: only its header can be looked at."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (head, idat)
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<html>not found</html>", "is a web page, not an image"),
        (bytes(1000), "is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n", "is of the format EPS"),
        (saved(flat(0, "L", (11, 40)), "PNG"), "is 11x40 pixels, and each side must have at least 12"),
        (saved(flat(0, "L", (40, 11)), "PNG"), "is 40x11 pixels, and each side must have at least 12"),
        (bomb(8001, 8000), "has more than 64,000,000 pixels"),
        (bomb(10_000, 10_000), "has more than 64,000,000 pixels"),  # Pillow warns
        (bomb(60_000, 60_000), "has more than 64,000,000 pixels"),  # Pillow raises
        (bomb(100, 100), "is cut short or damaged and cannot be decoded"),
    ],
    ids=words,
)
def test_refusals_are_one_sentence_with_the_name_and_what_to_do(data, says):
    with pytest.raises(DecodeError) as caught:
        decode(data, "birds/tit 7.png")
    text = str(caught.value)
    assert text.startswith(f"birds/tit 7.png {says}")
    assert text.endswith(".")
    assert ": " in text  # what to do follows the colon
    assert "\n" not in text


def test_the_bounds_can_be_set_and_are_inclusive():
    data = saved(flat(0, "L", (20, 10)), "PNG")
    assert decode(data, "x", min_side=10, max_pixels=200).rgb.shape == (10, 20, 3)
    with fails_with("image.too_small"):
        decode(data, "x", min_side=11)
    with fails_with("image.too_many_pixels"):
        decode(data, "x", min_side=1, max_pixels=199)


def test_a_picture_inside_a_container_is_bounded_too():
    """An ICNS announces 128x128 by the name of its part, which is a PNG of any size."""

    def announced_as_128x128(png: bytes) -> bytes:
        return struct.pack(">4sI4sI", b"icns", len(png) + 16, b"ic07", len(png) + 8) + png

    with fails_with("image.too_many_pixels"):
        decode(announced_as_128x128(bomb(20_000, 5_000)), "x.icns")
    with fails_with("image.too_small"):
        decode(announced_as_128x128(saved(flat(0, "L", (8, 8)), "PNG")), "x.icns")


# --- any bytes at all ---------------------------------------------------------------------------------------

PLAIN = ["BMP", "DDS", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"]


@cache
def real_files() -> dict[str, bytes]:
    """A small file of every kind that Pillow both writes and decodes whole."""
    image, exif = Image.fromarray(blocks()), Image.Exif()
    exif[0x0112] = 6
    extra = {"exif": exif.tobytes(), "icc_profile": red_is_blue()}
    more = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    files = {kind: saved(image, kind) for kind in [*PLAIN, "AVIF", "SPIDER"]}
    files["ICO"] = saved(image, "ICO", sizes=[image.size])
    files |= {f"{kind} tagged": saved(image, kind, **extra) for kind in ["AVIF", "JPEG", "PNG", "TIFF", "WEBP"]}
    files |= {f"{kind} moving": saved(image, kind, **more) for kind in ["AVIF", "GIF", "PNG", "TIFF", "WEBP", "MPO"]}
    files |= {f"TIFF {mode}": saved(image.convert(mode), "TIFF") for mode in ["CMYK", "F", "I;16", "LA", "LAB", "P"]}
    files |= {
        f"TIFF {packing}": saved(image, "TIFF", compression=packing)
        for packing in ["tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"]
    }
    files |= {
        "BLP": saved(image.convert("P"), "BLP"),
        "JPEG CMYK": saved(image.convert("CMYK"), "JPEG"),
        "JPEG progressive": saved(image, "JPEG", progressive=True),
        "MSP": saved(image.convert("1"), "MSP"),
        "PFM": saved(image.convert("F"), "PPM"),
        "PNG 16": saved(image.convert("I;16"), "PNG"),
        "PNG palette": saved(image.convert("P"), "PNG", transparency=3),
        "TIFF fax": saved(image.convert("1"), "TIFF", compression="group4"),
        "XBM": saved(image.convert("1"), "XBM"),
    }
    return files


def test_every_real_file_is_read():
    for kind, data in real_files().items():
        turned = kind.endswith("tagged")
        assert decode(data, kind).rgb.shape == ((32, 24, 3) if turned else (24, 32, 3)), kind


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_pictures_are_refused(kept):
    for kind, data in real_files().items():
        if kind.endswith("moving") or kind.startswith("TIFF"):
            continue  # the first frame may be whole; a TIFF may end in its tags
        try:
            decode(data[: int(len(data) * kept)], kind)
        except DecodeError as error:
            assert str(error).startswith(f"{kind} is ")
        else:
            pytest.fail(f"{kind}, cut to {kept:.0%}, was decoded")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, with bytes changed near the start or anywhere, or with a piece replaced."""
    changed = bytearray(data)
    match rng.integers(4):
        case 0:
            del changed[rng.integers(len(changed)) :]
        case 1:
            for _ in range(rng.integers(1, 6)):
                changed[rng.integers(min(len(changed), 200))] = rng.integers(256)
        case 2:
            for _ in range(rng.integers(1, 20)):
                changed[rng.integers(len(changed))] = rng.integers(256)
        case _:
            start = rng.integers(len(changed))
            changed[start : start + rng.integers(1, 8)] = rng.bytes(rng.integers(8))
    return bytes(changed)


def test_mutated_files_are_read_or_refused_and_python_prints_nothing(capsys, caplog):
    rng = np.random.default_rng(0)
    read = refused = 0
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        for data in real_files().values():
            for _ in range(20):
                try:
                    picture = decode(mutated(data, rng), "x")
                except DecodeError as error:
                    refused += 1
                    assert "\n" not in str(error)
                else:
                    read += 1
                    assert (picture.rgb.dtype, picture.rgb.ndim, picture.rgb.shape[2]) == (np.uint8, 3, 3)
    assert read > 100  # the mutations reach the decoders, and
    assert refused > 100  # hurt
    assert not warned
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


def test_pillow_may_raise_anything(monkeypatch):
    def broken(_file):
        raise RecursionError

    monkeypatch.setattr(Image, "open", broken)
    with fails_with("image.truncated"):
        decode(b"any", "x.png")


# --- the photographs that come with the project -------------------------------------------------------------


def test_bundled_photographs_are_small_readable_and_listed():
    photographs = sorted(EXAMPLES.glob("*.jpg"))
    listed = (EXAMPLES / "README.md").read_text()
    assert len(photographs) >= 6
    assert sum(path.stat().st_size for path in photographs) < 1_500_000
    for path in photographs:
        height, width, _ = decode(path.read_bytes(), path.name).rgb.shape
        assert max(height, width) <= 640
        assert f"| `{path.name}` | {width}×{height}" in listed
