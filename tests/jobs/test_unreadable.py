"""Files that are something else than their name says, and formats that need more than Pillow."""

from __future__ import annotations

import base64
import io
import sys

import numpy as np
import pytest
from PIL import Image

from pgcn_jobs.images.convert import DecodeError, decode
from pgcn_jobs.images.decoder import Decoder
from pgcn_jobs.inputs.discover import find_sources
from tests.sentences import fails_with

# 64x48, its left half (200, 60, 40), its right half (40, 90, 200).
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAERA"
    "AAEAAQAAAAABoQABAAAAAAAAAFkAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAA"
    "AHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAA"
    "MAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAGFtZGF0AAAAVSgBrxOA9SeBP//HhR//"
    "Dvnh9jrUxP/1sWo/lg1f/kJnduAxvOfJifHbg/vLI1CCm1got1pX7C3z7EfVsF2tIlkp0YZdkh/S5HAXNG1w5qBuZloNi8A="
)


def saved(kind: str, colour=(200, 60, 40), **options) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(sink, kind, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345\n", "Git LFS pointer.*git lfs pull"),
        (b"/annex/objects/SHA256E-s1--aa.png\n", "git-annex pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"\xef\xbb\xbf\n<html>", "a web page"),
        (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "an XML file"),
        (b'{"message": "Not Found"}', "a JSON file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?><!-- made --><svg:svg/>", "an SVG drawing|an XML file"),
        (b"%PDF-1.7 \x80", "a PDF document"),
        (b"PK\x03\x04\x14\0", "a ZIP archive"),
        (b"Too many requests\n", "is a text file, not an image"),
        (HEIC[:40] + bytes(300), "HEIC image that is damaged|cut short or damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_file_is_instead(data, says):
    with pytest.raises(DecodeError, match=says) as refused:
        decode(data, "x.jpg")
    assert str(refused.value).startswith("x.jpg ")
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("before", [b"\n\n", b"\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_blanks_before_a_picture_are_passed_over(before, kind):
    data = saved(kind)
    picture = decode(before + data, "x")
    np.testing.assert_array_equal(picture.rgb, decode(data, "x").rgb)
    assert (picture.note or "").startswith(f"{len(before)} bytes before the image skipped")


def test_bytes_behind_a_picture_do_no_harm_and_missing_ones_do():
    data = saved("JPEG")
    assert decode(data + b"more" * 500, "x").note is None
    for cut in (1, 2, 40):
        with fails_with("image.truncated"):
            decode(data[:-cut], "x")


def test_a_picture_that_shows_nothing_is_refused():
    for options in ({}, {"save_all": True, "append_images": [Image.new("RGBA", (32, 24), "red")]}):
        sink = io.BytesIO()
        Image.new("RGBA", (32, 24), (9, 9, 9, 0)).save(sink, "WEBP", lossless=True, **options)
        with fails_with("image.blank"):
            decode(sink.getvalue(), "x")


def test_the_first_picture_of_an_mpo_is_read():
    data = saved("MPO", save_all=True, append_images=[Image.new("RGB", (32, 24), "blue")])
    picture = decode(data, "x")
    assert picture.format == "MPO"
    assert picture.note == "first of 2 frames"
    assert np.abs(picture.rgb.astype(int) - (200, 60, 40)).max() <= 4


def test_heic_is_read():
    decoder = Decoder()
    try:
        picture = decoder.decode(HEIC, "x.heic")
    finally:
        decoder.close()
    assert picture.rgb.shape == (48, 64, 3)
    assert np.abs(picture.rgb[10, 10].astype(int) - (200, 60, 40)).max() <= 8
    assert np.abs(picture.rgb[10, 50].astype(int) - (40, 90, 200)).max() <= 8


def test_avif_is_read_without_any_package():
    decoder = Decoder()
    try:
        picture = decoder.decode(saved("AVIF"), "x.avif")
    finally:
        decoder.close()
    assert picture.format == "AVIF"
    assert picture.rgb.shape == decode(saved("PNG"), "x.png").rgb.shape


def test_heic_without_its_reader_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setattr(Image, "OPEN", {kind: reader for kind, reader in Image.OPEN.items() if kind != "HEIF"})
    with fails_with("image.format"):
        decode(HEIC, "x.heic")


def test_a_folder_gives_mpo_and_heic_too(tmp_path):
    for name in ("a.mpo", "b.HEIC", "c.heif", "d.hif", "e.avif", "f.jpg", "g.eps", "h.txt"):
        (tmp_path / name).write_bytes(b"x")
    found = [source.image_id for source in find_sources([str(tmp_path)], setting_names=())]
    assert found == ["a.mpo", "b.HEIC", "c.heif", "d.hif", "e.avif", "f.jpg"]
    (tmp_path / "photo").write_bytes(saved("JPEG"))
    (source,) = find_sources([str(tmp_path / "photo")], setting_names=())
    assert source.problem is None
