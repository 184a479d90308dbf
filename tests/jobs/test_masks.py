"""Masks from images, and their place on images with an EXIF rotation."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pgcn_jobs.images.convert import DecodeError, decode
from pgcn_jobs.inputs.discover import one_source
from pgcn_jobs.inputs.loading import Grid, load_mask, orient
from pgcn_jobs.inputs.source import EditSource
from pgcn_jobs.run_folder.edit_manifest import plan_edit
from pgcn_jobs.run_folder.manifest import RunDefaults
from pgcn_jobs.run_folder.plan_source import plan_source
from pgcn_jobs.spec import SamplePlan
from pgcn_jobs.task_inputs import read_inputs
from tests.sentences import fails_with

H, W = 36, 48
HOLE = np.zeros((H, W), bool)
HOLE[10:20, 20:32] = True


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def of(chosen, elsewhere, where=HOLE) -> Image.Image:
    """A picture of one colour where `where` is, and of another elsewhere."""
    both = np.where(where[..., None], np.array(chosen), np.array(elsewhere)).astype(np.uint8)
    return Image.fromarray(both.squeeze(-1) if both.shape[-1] == 1 else both)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def with_alpha(rgb: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([rgb, alpha]).astype(np.uint8))


def palette(colours: list[int], indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(colours)
    return image


def note_of(data: bytes) -> str | None:
    return decode(data, "m", mask=True).note


FEATHERED = with_alpha(np.full((H, W, 3), 255, np.uint8), HOLE * 255)
TWO_PAINTS = with_alpha(
    np.where((np.arange(W) < 26)[None, :, None], (200, 0, 0), (0, 0, 200)) * HOLE[..., None], HOLE * 255
)
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 64, 0, 0]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        *((f"{c} on a transparent layer", of((*c, 255), (0, 0, 0, 0))) for c in [(0, 0, 0), (255, 0, 0), (9, 200, 90)]),
        ("white on transparent black", of((255, 255, 255, 255), (0, 0, 0, 0))),
        ("white on transparent white", FEATHERED),
        ("black on transparent white", of((0, 0, 0, 255), (255, 255, 255, 0))),
        ("black brush of 40 %", of((0, 0, 0, 102), (0, 0, 0, 0))),
        ("two paints", TWO_PAINTS),
        ("gray and alpha", of((0, 255), (0, 0))),
        ("photograph with an erased area", with_alpha(noise(), ~HOLE * 255)),
        ("white on black, opaque alpha", of((255, 255, 255, 255), (0, 0, 0, 255))),
        ("white on black", of([255], [0])),
        ("one bit", of([255], [0]).convert("1")),
        ("0 and 1", of([1], [0])),
        ("0 and 1 of 16 bits", Image.fromarray(HOLE.astype(np.uint16))),
        ("0 and 1 of 32 bits", Image.fromarray(HOLE.astype(np.int32))),
        ("floats", Image.fromarray(HOLE.astype(np.float32))),
        ("40 % gray", of([102], [0])),
        ("red on black", of((255, 0, 0), (0, 0, 0))),
        ("green on black", of((0, 255, 0), (0, 0, 0))),
        ("dark red on black", of((64, 0, 0), (0, 0, 0))),
        ("classes of a palette", palette(VOC, HOLE * (1 + 2 * (np.arange(W) % 2)))),
        ("dark palette class", palette(VOC, HOLE * 3)),
        ("classes as gray", Image.fromarray((HOLE * (1 + np.arange(W) % 3)).astype(np.uint8))),
        ("black and white palette", palette([255, 255, 255, 0, 0, 0], ~HOLE)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_chosen(name, image):
    kind = "TIFF" if image.mode in {"F", "I"} else "PNG"
    picture = decode(saved(image, kind), "m", mask=True)
    np.testing.assert_array_equal(picture.rgb[..., 0] == 255, HOLE)
    assert set(np.unique(picture.rgb)) == {0, 255}


def test_transparent_colours_of_palettes_and_gray_are_alpha():
    paint = palette([0, 0, 0, 9, 9, 9], HOLE * 1)
    np.testing.assert_array_equal(decode(saved(paint, transparency=0), "m", mask=True).rgb[..., 0] > 0, HOLE)
    deep = Image.fromarray(np.where(HOLE, 0, 65535).astype(np.uint16))
    np.testing.assert_array_equal(decode(saved(deep, transparency=65535), "m", mask=True).rgb[..., 0] > 0, HOLE)


@pytest.mark.parametrize("quality", [10, 75])
@pytest.mark.parametrize("image", [of([255], [0]), of((255, 255, 255), (0, 0, 0))], ids=["gray", "rgb"])
def test_jpeg_masks(image, quality):
    picture = decode(saved(image, "JPEG", quality=quality), "m", mask=True)
    assert ((picture.rgb[..., 0] > 0) != HOLE).mean() < 0.01


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (Image.fromarray(noise()), "looks like a photograph"),
        (Image.fromarray(noise()).convert("L"), "looks like a photograph: 9"),
        (of((255, 0, 0), (255, 255, 255)), "has colours, and no black"),
        (of((255, 0, 0), (0, 200, 0)), "has colours, and no black"),
        (Image.fromarray((HOLE * 255 + (~HOLE & (np.arange(W) < 9))).astype(np.uint8)), "look like classes"),
        (of((255, 0, 0, 0), (0, 200, 0, 0)), "is transparent everywhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_clear_is_refused(image, says):
    with pytest.raises(DecodeError, match=says) as refused:
        decode(saved(image), "m.png", mask=True)
    assert str(refused.value).startswith("m.png ")


def test_notes_say_what_is_not_plain():
    assert note_of(saved(of([255], [0]))) is None
    assert "93% of the image is chosen: invert black and white" in (note_of(saved(of([0], [255]))) or "")
    ramp = Image.fromarray(np.where(HOLE, 255, np.where(np.arange(W) < 10, np.arange(W) * 20, 0)).astype(np.uint8))
    assert "is neither black nor white" in (note_of(saved(ramp)) or "")
    assert "erased areas" in (note_of(saved(with_alpha(noise(), ~HOLE * 255))) or "")


# Place of a mask


@pytest.fixture
def folder(tmp_path):
    def put(name: str, image: Image.Image, **options) -> str:
        (tmp_path / name).write_bytes(saved(image, "JPEG" if name.endswith("jpg") else "PNG", **options))
        return str(tmp_path / name)

    return put


def turned_photograph(folder, turn: int, name: str = "photo.png", size=(H, W)) -> str:
    exif = Image.Exif()
    exif[0x0112] = turn
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return folder(name, Image.fromarray(rgb), exif=exif)


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
@pytest.mark.parametrize("factor", [1, 3])
def test_a_mask_on_the_stored_pixels_is_turned_like_them(folder, turn, factor):
    photo = turned_photograph(folder, turn)
    mask = folder("mask.png", of([255], [0]).resize((W * factor, H * factor), Image.Resampling.NEAREST))
    read = read_inputs(photo, None, mask, None)
    assert read.inputs.mask is not None
    exif = Image.Exif()
    exif[0x0112] = turn
    expected = decode(saved(of((255,) * 3, (0,) * 3), exif=exif), "x").rgb[..., 0] > 0  # turned as a picture is
    found = read.inputs.mask[0, 0, ::factor, ::factor].numpy() > 0
    np.testing.assert_array_equal(found, expected)
    assert any("rotated by the EXIF orientation" in note for note in read.notes)


def test_a_mask_on_the_picture_as_it_is_seen_stays(folder):
    photo = turned_photograph(folder, 6)
    mask = folder("mask.png", of([255], [0], HOLE.T))
    read = read_inputs(photo, None, mask, None)
    np.testing.assert_array_equal(read.inputs.mask[0, 0] > 0, HOLE.T)
    assert not any("mask" in note for note in read.notes)
    square = turned_photograph(folder, 3, "square.png", (40, 40))
    mask = folder("m40.png", of([255], [0], HOLE).resize((40, 40)))
    assert any("as displayed" in note for note in read_inputs(square, None, mask, None).notes)


def test_the_target_is_what_a_mask_lies_on(folder):
    plain, target = folder("plain.png", Image.fromarray(noise())), turned_photograph(folder, 6)
    mask = folder("mask.png", of([255], [0]))
    assert read_inputs(plain, target, mask, None).inputs.mask.shape[-2:] == (W, H)
    assert read_inputs(target, plain, mask, None).inputs.mask.shape[-2:] == (H, W)


@pytest.mark.parametrize("size", [(200, 200), (H, W), (96, 60)])
def test_another_shape_is_refused(folder, size):
    mask = folder("mask.png", of([255], [0]).resize(size))
    if size == (H, W):
        mask = folder("mask.png", of([255], [0], HOLE.T))
    with fails_with("mask.invalid"):
        read_inputs(folder("photo.png", Image.fromarray(noise())), None, mask, None)


@pytest.mark.parametrize("size", [(24, 18), (480, 360), (17, 13), (100, 75), (101, 75)])
def test_the_same_shape_of_another_size_is_taken(folder, size):
    path = folder("mask.png", of([255], [0]).resize(size, Image.Resampling.NEAREST))
    assert load_mask(path, "mask.png", Grid((H, W))).mask.shape[-2:] == size[::-1]


def test_orient_is_what_exif_means():
    x = torch.arange(6).view(1, 1, 2, 3)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        stored = np.kron(x[0, 0].numpy() * 40, np.ones((12, 12))).astype(np.uint8)
        seen = decode(saved(Image.fromarray(stored), exif=exif), "x").rgb[::12, ::12, 0] // 40
        np.testing.assert_array_equal(orient(x, turn)[0, 0].numpy(), seen)


def test_a_run_looks_at_masks_alike(folder):
    ask = RunDefaults("draft", {"max_size": 32}, 0, SamplePlan(), 10**6)
    mask = one_source(folder("mask.png", of([255], [0])))
    photo = one_source(turned_photograph(folder, 6))
    edit = EditSource("inpaint", {}, None, mask, None, "one")
    from dataclasses import replace

    entry = plan_source(replace(photo, holes=mask), ask, None)
    assert entry.problem is None
    assert "rotated by the EXIF orientation" in (entry.note or "")
    assert plan_edit(photo, edit, plan_source(photo, ask, None), None, None, 10**6).problem is None
    square = replace(edit, mask=one_source(folder("square.png", of([255], [0]).resize((50, 50)))))
    refused = plan_edit(photo, square, plan_source(photo, ask, None), None, None, 10**6).problem
    assert "of another shape" in (refused or "")
