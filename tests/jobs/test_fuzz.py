"""Hostile bytes by the thousand: each gives a picture or rows, or a sentence; nothing else ever comes out.

The decoder is called in this process here: `tests/jobs/test_decoder.py` is about its own. Inputs are counted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from pgcn.settings import Settings, SettingsError, make_settings
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.images.convert import DecodeError, Reading, decode
from pgcn_jobs.inputs.lists.image_list import read_image_list
from pgcn_jobs.inputs.lists.rows import row_source
from pgcn_jobs.inputs.lists.rules import STORAGE
from pgcn_jobs.run_folder.schemas import parquet_bytes
from pgcn_jobs.storage.urls import is_local, protocol_of

SMALL = np.random.default_rng(0).integers(0, 256, (13, 14, 3), dtype=np.uint8)


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same inputs at every run, as many as said, without a database of earlier ones."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


# --- pictures -----------------------------------------------------------------------------------------------


def files() -> list[bytes]:
    """Small files of each format, still and moving, plain and packed."""
    image = Image.fromarray(SMALL)
    others = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    made = []
    for kind, how in [
        ("PNG", {}),
        ("PNG", others),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("GIF", others),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate", **others}),
        ("BMP", {}),
    ]:
        sink = io.BytesIO()
        image.save(sink, kind, **how)
        made.append(sink.getvalue())
    return made


FILES = files()
PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff", b"\x01\0\0\0"]),
)
# Where (a share of the file; most of what a decoder believes is near the start), how much goes (None: as much as
# comes), and what comes.
CHANGES = st.lists(
    st.tuples(st.floats(0, 1).map(lambda x: x**3) | st.floats(0, 1), st.none() | st.integers(0, 8), PIECES),
    min_size=1,
    max_size=3,
)


def changed(data: bytes, changes: list[tuple[float, int | None, bytes]], kept: float) -> bytes:
    mutable = bytearray(data)
    for where, gone, come in changes:
        start = int(where * len(mutable))
        mutable[start : start + (len(come) if gone is None else gone)] = come
    return bytes(mutable[: int(kept * len(mutable)) + 1])


def try_picture(data: bytes) -> bool:
    """True if these bytes are an image, False if they are refused with a sentence; anything else fails."""
    try:
        picture = decode(data, "x.png", max_pixels=1_000_000)
    except DecodeError as error:
        assert str(error).startswith("x.png ") and "\n" not in str(error)
        return False
    assert (picture.rgb.dtype, picture.rgb.ndim, picture.rgb.shape[2]) == (np.uint8, 3, 3)
    assert terminal_safe(picture.note) == (picture.note or "")
    return True


def test_changed_pictures_are_read_or_refused():
    """700 changes, each made to twelve files."""
    read = refused = 0

    @fuzz(700)
    @given(CHANGES, st.just(1.0) | st.floats(0, 1))
    def each(changes: list[tuple[float, int | None, bytes]], kept: float) -> None:
        nonlocal read, refused
        for data in FILES:
            good = try_picture(changed(data, changes, kept))
            read, refused = read + good, refused + (not good)

    each()
    assert read + refused >= 8400
    assert min(read, refused) > 1000, "changes reach the decoders, and hurt"


def deep_files() -> list[bytes]:
    """Small files of more than RGB of 8 bits."""
    deep = SMALL.astype(np.uint16) * 250
    made = []
    for array, how in [
        (deep[..., 0], {"photometric": "minisblack"}),
        (np.dstack([deep, deep])[..., :5], {"photometric": "minisblack", "planarconfig": "contig"}),
        (deep, {"photometric": "rgb", "compression": "zlib"}),
        (SMALL[..., 0] / np.float32(3), {"extratags": [(42113, "s", 2, "0", True)]}),
    ]:
        sink = io.BytesIO()
        tifffile.imwrite(sink, array, **how)
        made.append(sink.getvalue())
    for save in (lambda sink: np.save(sink, deep), lambda sink: Image.fromarray(deep[..., 0]).save(sink, "PNG")):
        sink = io.BytesIO()
        save(sink)
        made.append(sink.getvalue())
    alpha = io.BytesIO()
    Image.fromarray(np.dstack([SMALL, SMALL[..., 0]])).save(alpha, "PNG")
    described = '[{"name": "a", "kind": "gray", "number": "uint8", "low": 0, "high": 9, "nodata": null, "classes": []}]'
    arrays = safetensors.numpy.save({"a": SMALL[..., 0]}, {"pgcn_channels": described})
    return [*made, alpha.getvalue(), arrays, safetensors.numpy.save({"b": SMALL, "a": SMALL[..., 0] / 2})]


@pytest.mark.parametrize("how", ["auto", "label"])
def test_changed_files_of_any_channels_are_read_or_refused(how):
    """60 changes, each made to nine files."""
    files, read, refused = deep_files(), 0, 0

    @fuzz(60)
    @given(CHANGES, st.just(1.0) | st.floats(0, 1))
    def each(changes: list[tuple[float, int | None, bytes]], kept: float) -> None:
        nonlocal read, refused
        for data in files:
            try:
                found = decode(changed(data, changes, kept), "x", max_pixels=1_000_000, reading=Reading(how, "unknown"))
            except DecodeError as error:
                assert str(error).startswith("x") and "\n" not in str(error)
                refused += 1
                continue
            assert found.values.ndim == 3 and terminal_safe(found.note) == (found.note or "")
            assert found.unknown is None or found.unknown.shape == found.values.shape[:2]
            read += 1

    each()
    assert refused > 100 and (read > 20 or how == "label")


@fuzz(600)
@given(st.sampled_from([b"", *(data[:12] for data in FILES)]), st.binary(max_size=200))
def test_any_bytes_behind_any_start_are_read_or_refused(start: bytes, rest: bytes) -> None:
    try_picture(start + rest)


# --- lists --------------------------------------------------------------------------------------------------

NAMES = sorted(Settings.model_fields)
COLUMNS = st.sampled_from(["uri", "image_id", "seed", *NAMES[:8], "label", "iteratons", "", "uri "]) | st.text(
    max_size=5
)
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["a.png", "../a.png", "-1", "1e999", "nan", "9" * 5000, "true", '"', "\0", "s3://b/a.png", "١٢", "0x10", " "]
)
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.binary(max_size=4),
    st.datetimes(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-1000, max_value=1000),
    st.lists(st.integers(0, 9), max_size=2),
)


def try_list(data: bytes, name: str) -> bool:
    """True if these bytes are a list, whose rows become settings and images, or sentences."""
    try:
        rows = read_image_list(data, name, NAMES)
    except ConfigError as error:
        assert str(error).startswith(name)
        return False
    for row in rows:
        assert row.uri
        try:
            make_settings("draft", row.overrides)
        except SettingsError as error:
            assert str(error)
        try_row(row.uri)
    return True


def try_row(uri: str) -> None:
    """A row's source is inside its list's folder, or in a storage that lists may name, or refused."""
    for folder in ("s3://bucket/set", "http://host/set"):
        source = row_source(uri, folder, allow_local=False)
        if source.problem is None:
            assert not is_local(source.location)
            assert "::" not in uri
            inside = source.location.startswith(f"{folder}/") and ".." not in source.location.split("/")
            assert inside or protocol_of(source.location) in STORAGE


@fuzz(700)
@given(st.lists(COLUMNS, max_size=4), st.lists(st.lists(TEXTS, max_size=5), max_size=3), st.binary(max_size=3))
def test_any_csv_is_a_list_or_a_sentence(columns: list[str], rows: list[list[str]], tail: bytes) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerows([columns, *rows])
    try_list(sink.getvalue().encode(errors="replace") + tail, "list.csv")


@fuzz(300)
@given(st.text(max_size=60) | st.text(alphabet='uri,seed\n\r"a1', max_size=60))
def test_any_text_is_a_list_or_a_sentence(text: str) -> None:
    try_list(text.encode(errors="replace"), "list.csv")


@fuzz(300)
@given(st.lists(st.tuples(COLUMNS, st.lists(VALUES, min_size=2, max_size=2)), max_size=4), CHANGES, st.booleans())
def test_any_parquet_is_a_list_or_a_sentence(columns: list[tuple[str, list[Any]]], changes: Any, whole: bool) -> None:
    arrays, names = [], []
    for name, values in [("uri", ["a.png", "b.png"]), *columns]:
        try:
            arrays.append(pa.array(values))
            names.append(name.encode(errors="replace").decode())
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):
            continue  # not one type
    data = parquet_bytes(pa.table(arrays, names=names))
    try_list(data if whole else changed(data, changes, 1.0), "list.parquet")


WORDS = """s3 S3 file FILE local http https memory simplecache reference zip ftp :// :: : / // .. . ~ @ ? # %2e \\ [ ]
localhost 127.0.0.1 169.254.169.254 bucket a.png etc/passwd"""
URIS = st.lists(st.sampled_from([*WORDS.split(), " ", "\0", "\n"]) | st.text(max_size=3), min_size=1, max_size=8).map(
    "".join
)


@fuzz(1000)
@given(URIS)
def test_no_uri_of_a_list_from_elsewhere_is_a_local_file(uri: str) -> None:
    if uri.strip():
        try_row(uri.strip())


@fuzz(300)
@given(st.text())
def test_visible_text_is_one_line_and_stays_what_it_is(text: str) -> None:
    shown = terminal_safe(text)
    assert len(shown) == len(text) and terminal_safe(shown) == shown
    assert not set(shown) & set("\n\r\x1b\x9b\u202e\u2066\u200f\u2028")
