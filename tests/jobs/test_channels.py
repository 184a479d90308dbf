"""Files with any channels and depth: what they are read as, and that results are files of the same kind."""

import io
import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.numpy import save

import pgcn
from pgcn.imaging.channels import RGB
from pgcn_jobs.common.failures import JobError
from pgcn_jobs.images.convert import Reading
from pgcn_jobs.images.decoder import shared as decoder
from pgcn_jobs.images.georeference import Georeference
from pgcn_jobs.images.value_files import Frame, encode_values
from pgcn_jobs.inputs.loading import load_image
from tests.sentences import fails_with

H, W = 24, 32
LEVELS = (np.add.outer(np.arange(H), np.arange(W)) * 7).astype(np.uint8)
COLOUR = np.dstack([LEVELS, LEVELS[::-1], LEVELS[:, ::-1]])
DEEP = LEVELS.astype(np.uint16) * 257 + np.arange(W, dtype=np.uint16)
BANDS = np.stack([DEEP // k + k for k in (1, 3, 5, 7, 9)], -1)
AUTO = Reading("auto", "unknown")


def png(array, **more):
    sink = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(sink, "PNG", **more)
    return sink.getvalue()


def tif(array, **more):
    sink = io.BytesIO()
    tifffile.imwrite(sink, array, **{"photometric": "minisblack", **more})
    return sink.getvalue()


def npy(array):
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def with_alpha(colour, alpha):
    return np.dstack([colour, np.full((H, W), alpha, colour.dtype) if np.isscalar(alpha) else alpha])


HOLE = np.full((H, W), 255, np.uint8)
HOLE[4:8, 5:12] = 0
HOLE[8, 5:12] = 100  # half transparent
ABSENT = DEEP.astype(np.float32) / 7 - 100
ABSENT[2:5, 3:9] = -9999
NAN = np.where(ABSENT == -9999, np.nan, ABSENT)
NODATA = {"extratags": [(42113, "s", 6, "-9999", True)]}

# name: (bytes, kinds of the groups, their number format, share of unknown pixels)
CASES = {
    "gray.png": (png(LEVELS), ["gray"], "uint8", 0),
    "bits.png": (png(Image.fromarray(LEVELS > 100)), ["gray"], "uint8", 0),
    "deep.png": (png(DEEP), ["gray"], "uint16", 0),
    "rgb.png": (png(COLOUR), ["colour"], "uint8", 0),
    "palette.png": (png(Image.fromarray(COLOUR).quantize(16)), ["colour"], "uint8", 0),
    "opaque.png": (png(with_alpha(COLOUR, 255)), ["colour"], "uint8", 0),
    "holes.png": (png(with_alpha(COLOUR, HOLE)), ["colour"], "uint8", 35 / (H * W)),
    "gray_holes.png": (png(with_alpha(LEVELS, HOLE)), ["gray"], "uint8", 35 / (H * W)),
    "gray.tif": (tif(DEEP), ["gray"], "uint16", 0),
    "deep_rgb.tif": (tif(COLOUR * np.uint16(250), photometric="rgb"), ["colour"], "uint16", 0),
    "float_rgb.tif": (tif((COLOUR / 300).astype(np.float32), photometric="rgb"), ["colour"], "float32", 0),
    "bands.tif": (tif(BANDS, planarconfig="contig"), ["band"] * 5, "uint16", 0),
    "planes.tif": (tif(np.moveaxis(BANDS, -1, 0), planarconfig="separate"), ["band"] * 5, "uint16", 0),
    "bytes.tif": (tif((BANDS // 300).astype(np.uint8), planarconfig="contig"), ["band"] * 5, "uint8", 0),
    "infrared.tif": (tif(BANDS[..., :4], photometric="rgb", extrasamples=[0]), ["colour", "band"], "uint16", 0),
    "height.tif": (tif(ABSENT, **NODATA), ["band"], "float32", 18 / (H * W)),
    "nan.tif": (tif(NAN), ["band"], "float32", 18 / (H * W)),
    "signed.tif": (tif(DEEP.astype(np.int32) - 40_000), ["band"], "int32", 0),
    "gray.npy": (npy(LEVELS), ["gray"], "uint8", 0),
    "bands.npy": (npy(BANDS), ["band"] * 5, "uint16", 0),
    "first.npy": (npy(np.moveaxis(BANDS, -1, 0)), ["band"] * 5, "uint16", 0),
    "double.npy": (npy(NAN.astype(np.float64)), ["band"], "float32", 18 / (H * W)),
    "two.safetensors": (save({"b": ABSENT, "a": LEVELS}), ["gray", "band"], "uint8", 0),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_keeps_its_channels_and_bits_and_so_do_results(name, tmp_path):
    data, kinds, number, unknown = CASES[name]
    path = tmp_path / name
    path.write_bytes(data)
    image = pgcn.read_image(path)
    assert [group.kind for group in image.channels.groups] == kinds
    assert image.channels.groups[0].number == number
    assert image.tensor.shape == (1, image.channels.count, H, W)
    share = 0 if image.known is None else float(1 - image.known.mean())
    assert share == pytest.approx(unknown)
    # The same values come back from a result's file.
    made = encode_values(image.tensor, image.channels, decoder.look(data, name, reading=AUTO).format)
    again = tmp_path / f"again.{made.ending}"
    again.write_bytes(made.data)
    back = pgcn.read_image(again)
    assert [group.kind for group in back.channels.groups] == kinds
    known = slice(None) if image.known is None else image.known.expand_as(image.tensor) > 0
    want, got = (torch.cat([*x.channels.values(x.tensor).values()], 1)[known] for x in (image, back))
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-5)


def test_values_are_those_of_the_file(tmp_path):
    for name, want in {
        "deep.png": DEEP,
        "bands.tif": BANDS,
        "first.npy": BANDS,
        "deep_rgb.tif": COLOUR.astype(int) * 250,
    }.items():
        (tmp_path / name).write_bytes(CASES[name][0])
        image = pgcn.read_image(tmp_path / name)
        got = torch.cat([*image.channels.values(image.tensor).values()], 1)[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(got.astype(np.int64), want.reshape(H, W, -1).astype(np.int64), err_msg=name)


def test_plain_rgb_is_the_same_under_both_readings(tmp_path):
    for name in ("rgb.png", "palette.png", "opaque.png"):
        path = tmp_path / name
        path.write_bytes(CASES[name][0])
        auto, rgb = (load_image(str(path), name, reading=reading) for reading in (AUTO, Reading()))
        assert torch.equal(auto.image, rgb.image)
        assert auto.channels == rgb.channels == RGB
        assert auto.known is None and auto.described is None


def test_transparent_pixels_are_unknown_white_or_learned(tmp_path):
    path = tmp_path / "holes.png"
    path.write_bytes(CASES["holes.png"][0])
    unknown, white, learned = (pgcn.read_image(path, transparency=how) for how in ("unknown", "white", "learned"))
    inside = torch.from_numpy(HOLE == 0)
    assert bool((white.tensor[0][:, inside] == 1).all()) and white.known is None
    assert float(unknown.tensor[0][:, inside].max()) < 1 and bool((unknown.known[0, 0][inside] == 0).all())
    assert [group.kind for group in learned.channels.groups] == ["colour", "alpha"]
    alpha = learned.channels.values(learned.tensor)["alpha"][0, 0]
    np.testing.assert_array_equal(alpha.numpy().astype(np.uint8), HOLE)
    rgb = pgcn.read_image(path, channels="rgb")
    assert torch.equal(rgb.tensor, white.tensor), "as older versions read it"


@pytest.mark.parametrize("turn", range(2, 9))
def test_deep_images_are_turned_by_exif_as_others_are(turn):
    exif = Image.Exif()
    exif[274] = turn
    shallow, deep = (png(x, exif=exif) for x in (LEVELS, LEVELS.astype(np.uint16) * 257))
    want = decoder.decode(shallow, "x").rgb[..., 0]
    got = decoder.decode(deep, "x", reading=AUTO)
    np.testing.assert_array_equal(got.values[..., 0] // 257, want)
    assert got.turn == turn


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("many.tif", tif(np.zeros((300, H, W), np.uint8), planarconfig="separate"), "channels.too_many"),
        ("empty.tif", tif(np.dstack([DEEP, np.zeros_like(DEEP)]), planarconfig="contig",
                          extratags=[(42113, "s", 2, "0", True)]), "channels.empty"),
        ("nothing.npy", npy(np.full((H, W), np.nan)), "channels.empty"),
        ("sizes.safetensors", save({"a": LEVELS, "b": LEVELS[:-1]}), "channels.size"),
        ("clear.png", png(with_alpha(COLOUR, 0)), "image.blank"),
        ("line.npy", npy(np.zeros(30)), "image.format"),
        ("objects.npy", npy(np.array([{}, {}])), "image.truncated"),
        ("small.npy", npy(np.zeros((4, 4))), "image.too_small"),
        ("described.safetensors", save({"a": LEVELS}, {"pgcn_channels": '[{"name": "a"}]'}), "channels.invalid"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_a_sentence(name, data, code, tmp_path):
    (tmp_path / name).write_bytes(data)
    with fails_with(code) as found:
        pgcn.read_image(tmp_path / name)
    assert name in str(found.value)


def test_parts_become_channels_behind_the_image(tmp_path):
    files = {
        "a.png": png(COLOUR),
        "label.png": png(Image.fromarray((LEVELS // 60).astype(np.uint8)).convert("P")),
        "normal.png": png(np.dstack([HOLE, HOLE, np.full_like(HOLE, 255)])),
        "height.tif": tif(ABSENT[::2, ::2], **NODATA),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    parts = {name: tmp_path / file for name, file in
             (("label", "label.png"), ("normal", "normal.png"), ("height", "height.tif"))}  # fmt: skip
    image = pgcn.read_image(tmp_path / "a.png", parts=parts)
    groups = {group.name: group for group in image.channels.groups}
    assert [group.kind for group in groups.values()] == ["colour", "label", "normal", "band"]
    assert groups["label"].classes == tuple(np.unique(LEVELS // 60))
    values = image.channels.values(image.tensor)
    np.testing.assert_array_equal(values["label"][0, 0].numpy(), LEVELS // 60)
    assert float(values["height"].max()) == pytest.approx(ABSENT[::2, ::2].max(), rel=0.05)
    assert 0 < float(1 - image.known.mean()) < 0.2, "where the height has no data, the image is unknown"
    made = encode_values(image.tensor, image.channels, "PNG")
    assert made.ending == "safetensors"
    (tmp_path / "again.safetensors").write_bytes(made.data)
    assert pgcn.read_image(tmp_path / "again.safetensors").channels == image.channels


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("label", png(np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)), "channels.too_many"),
        ("label", png(LEVELS[:12] // 60), "channels.size"),
        ("label", tif(ABSENT), "channels.invalid"),
        ("normal", png(LEVELS), "channels.invalid"),
        ("colour", png(LEVELS), "channels.invalid"),
        ("no name", png(LEVELS), "channels.invalid"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_sentence(name, data, code, tmp_path):
    (tmp_path / "a.png").write_bytes(png(COLOUR))
    (tmp_path / "part").write_bytes(data)
    with fails_with(code):
        pgcn.read_image(tmp_path / "a.png", parts={name: tmp_path / "part"})


def test_an_image_is_written_as_the_format_that_is_named(tmp_path):
    (tmp_path / "bands.tif").write_bytes(CASES["bands.tif"][0])
    image = pgcn.read_image(tmp_path / "bands.tif")
    for name in ("b.tif", "b.tiff", "b.npy", "b.safetensors"):
        assert pgcn.read_image(pgcn.write_image(tmp_path / name, image)).tensor.equal(image.tensor), name
    with pytest.raises(JobError, match=r"\.tif"):
        pgcn.write_image(tmp_path / "b.png", image)
    assert not (tmp_path / "b.png").exists()


def test_a_description_from_a_file_is_checked():
    groups = [{"name": "a", "kind": "gray", "number": "uint8", "low": 0, "high": 255, "nodata": None, "classes": []}]
    data = save({"a": np.dstack([LEVELS, LEVELS])}, {"pgcn_channels": json.dumps(groups)})
    with fails_with("channels.invalid"):
        decoder.decode(data, "x.safetensors", reading=AUTO)


AREA = {33550: (10.0, 20.0, 0.0), 33922: (2.0, 3.0, 0.0, 500.0, 900.0, 0.0), 34735: (1, 1, 0, 1, 1025, 0, 1, 1)}
MATRIX = {34264: (10.0, 1, 0, 500, 2, -20, 0, 900, 0, 0, 0, 0, 0, 0, 0, 1), 34735: (1, 1, 0, 1, 1025, 0, 1, 2)}


def on_ground(place, x, y):
    """The coordinates of the point `x`, `y` px from the upper left corner of the upper left pixel."""
    keys = place.numbers[34735]
    middle = 0.5 if keys[7] == 2 else 0.0
    i, j = x - middle, y - middle
    if 34264 in place.numbers:
        m = place.numbers[34264]
        return m[0] * i + m[1] * j + m[3], m[4] * i + m[5] * j + m[7]
    (sx, sy, _), (ti, tj, _, tx, ty, _) = place.numbers[33550], place.numbers[33922]
    return tx + (i - ti) * sx, ty - (j - tj) * sy


@pytest.mark.parametrize("numbers", [AREA, MATRIX, {**AREA, 34735: (1, 1, 0, 1, 1025, 0, 1, 2)}])
def test_a_result_in_the_frame_of_a_geotiff_lies_where_its_image_lies(numbers, tmp_path):
    place = Georeference(numbers, "WGS 84|")
    (tmp_path / "a.tif").write_bytes(tif(COLOUR, photometric="rgb", extratags=place.tags()))
    image = load_image(str(tmp_path / "a.tif"), "a.tif", reading=AUTO)
    larger = torch.nn.functional.interpolate(image.image, size=(3 * H, 2 * W))
    made = encode_values(larger, image.channels, Frame("TIFF", image.georeference((3 * H, 2 * W))))
    (tmp_path / "b.tif").write_bytes(made.data)
    again = load_image(str(tmp_path / "b.tif"), "b.tif", reading=AUTO).georeference((3 * H, 2 * W))
    assert again.text == place.text
    for x, y in ((0, 0), (W, 0), (W, H), (3.25, 7.5)):
        assert on_ground(again, 2 * x, 3 * y) == pytest.approx(on_ground(place, x, y))
    assert load_image(str(tmp_path / "b.tif"), "b.tif").georeference((H, W)) is None, "RGB of 8 bits has none"


@pytest.mark.parametrize("name", ["holes.png", "gray_holes.png", "height.tif", "nan.tif", "double.npy"])
def test_a_result_has_no_data_where_its_frame_has_none(name, tmp_path):
    (tmp_path / name).write_bytes(CASES[name][0])
    image = load_image(str(tmp_path / name), name, reading=AUTO)
    larger = torch.nn.functional.interpolate(image.image, size=(2 * H, 2 * W))
    made = encode_values(larger, image.channels, Frame(image.picture.format, None, image.unknown_at((2 * H, 2 * W))))
    (tmp_path / f"b.{made.ending}").write_bytes(made.data)
    again = load_image(str(tmp_path / f"b.{made.ending}"), "b", reading=AUTO)
    assert torch.equal(again.known[..., ::2, ::2], image.known)
    assert [group.kind for group in again.channels.groups] == [group.kind for group in image.channels.groups]
