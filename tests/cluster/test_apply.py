"""`pgcn apply` and `pgcn tasks`, as people use them: files in, files out, sentences for mistakes."""

import json

import numpy as np
import pytest
from PIL import Image

from pgcn_jobs.storage.store import Store
from tests.cluster.running import TINY, ask, run_here, write_photographs
from tests.sentences import check_error

SMALL = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture
def photo(tmp_path):
    folder = write_photographs(tmp_path / "photos", 1)
    return folder / "photo-00.png"


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def trained(output):
    return "Training a pyramid" in output


def test_a_second_task_trains_nothing(photo, tmp_path):
    out = tmp_path / "out"
    code, output = ask("apply", "superres", photo, "--out", out, *SMALL, "--set", "factor=2.5")
    assert (code, trained(output)) == (0, True), output
    assert Image.open(out / "photo-00-superres.png").size == (70, 58)
    figures = json.loads((out / "photo-00-superres.json").read_text())
    assert figures["input_error"] < figures["input_error_bicubic"]
    assert str(out / "photo-00-superres.png") in output

    code, output = ask("apply", "generate", photo, "--out", out, *SMALL, "--set", "number=2", "--set", "tile=true")
    assert (code, trained(output)) == (0, False), output
    assert "nothing is trained" in output
    assert {path.name for path in out.glob("*generate*.png")} == {
        *(f"photo-00-generate-{what}.png" for what in ("0", "1", "tiled")),
    }
    code, output = ask("apply", "recover", photo, "--out", tmp_path / "other", "--pyramids", out, *SMALL)
    assert (code, trained(output)) == (0, False), output
    _, output = ask("apply", "recover", photo, "--out", out, *SMALL, "--seed", "1")
    assert trained(output), "another seed is another pyramid"


def test_a_damaged_pyramid_is_trained_anew(photo, tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    ask("apply", "generate", photo, "--out", first, *SMALL, "--set", "number=1")
    (weights,) = tmp_path.glob("pyramids/*/scale-1.safetensors")
    weights.write_bytes(weights.read_bytes()[:-9])
    code, output = ask("apply", "generate", photo, "--out", second, *SMALL, "--set", "number=1")
    assert (code, trained(output)) == (0, True), output
    assert np.array_equal(pixels(first), pixels(second))


def test_the_pyramids_of_a_run_are_used(photo, tmp_path):
    run_here(photo.parent, str(tmp_path / "run"))
    code, output = ask("apply", "energy", photo, "--pyramids", tmp_path / "run", "--out", tmp_path / "out")
    assert (code, trained(output)) == (0, False), output
    assert Image.open(tmp_path / "out" / "photo-00-energy.png").size == Image.open(photo).size
    assert not (tmp_path / "out" / "pyramids").exists()

    other = tmp_path / "other.png"
    Image.open(photo).rotate(90).save(other)
    _, output = ask("apply", "energy", other, "--pyramids", tmp_path / "run", "--out", tmp_path / "out", *SMALL)
    assert trained(output)
    assert "None is in" in output

    store = Store(str(tmp_path / "run"))
    (scale,) = [path for path in store.list("attempts") if path.endswith("scale-0.safetensors")]
    store.put(scale, b"x" * 100)
    code, output = ask("apply", "energy", photo, "--pyramids", tmp_path / "run", "--out", tmp_path / "new")
    assert code == 2
    assert "cannot be read" in output


def test_a_hole_is_left_out_of_training_and_of_nothing_else(photo, tmp_path):
    """The hole's own content makes no difference, all else is to the bit, and the mask is part of the identity."""
    image, mask = pixels(photo), np.zeros((23, 28), np.uint8)
    mask[8:14, 10:18] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(255 - mask).save(tmp_path / "inverse.png")
    ask("apply", "inpaint", photo, "--mask", tmp_path / "mask.png", "--out", tmp_path / "first.png", *SMALL)
    result = pixels(tmp_path / "first.png")
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert not np.array_equal(result[mask > 0], image[mask > 0])
    _, output = ask("apply", "inpaint", photo, "--mask", tmp_path / "inverse.png", "--out", tmp_path, *SMALL)
    assert trained(output)
    _, output = ask("apply", "inpaint", photo, "--mask", tmp_path / "mask.png", "--out", tmp_path, *SMALL)
    assert not trained(output)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16"])
def test_masks_of_any_mode_and_size_are_taken(photo, tmp_path, mode):
    mask = Image.new("L", (56, 46))
    mask.paste(255, (20, 16, 36, 28))
    mask = Image.fromarray(np.asarray(mask).astype(np.uint16) * 257) if mode == "I;16" else mask.convert(mode)
    mask.save(tmp_path / "mask.png")
    composite = Image.open(photo).convert("RGB")
    composite.paste((20, 120, 240), (10, 8, 18, 14))
    composite.save(tmp_path / "composite.png")
    code, output = ask(
        *("apply", "harmonize", photo, "--target", tmp_path / "composite.png", "--mask", tmp_path / "mask.png"),
        *("--out", tmp_path / "out", *SMALL, "--sweep", "--set", "rim=0"),
    )
    assert code == 0, output
    assert "the mask of 56x46 px was fitted to 28x23 px" in output
    assert (tmp_path / "out" / "photo-00-harmonize-sweep.png").exists()
    changed = (pixels(tmp_path / "out" / "photo-00-harmonize.png") != pixels(tmp_path / "composite.png")).any(2)
    wanted = np.zeros((23, 28), bool)
    wanted[8:14, 10:18] = True
    assert not changed[~wanted].any()
    assert changed[wanted].any()


def test_a_clip_is_written_in_every_format_there_is(photo, tmp_path):
    code, output = ask("apply", "animate", photo, "--out", tmp_path, *SMALL, "--set", "frames=4")
    assert code == 0, output
    for kind in ("webp", "gif"):
        assert Image.open(tmp_path / f"photo-00-animate.{kind}").n_frames == 4


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["pain", "PHOTO"], "task.unknown"),
        (["paint", "PHOTO"], "task.invalid"),
        (["superres", "none.png"], "image.missing"),
        (["superres", "PHOTO", "--mask", "PHOTO"], "task.invalid"),
        (["superres", "PHOTO", "--set", "factor=0.5"], "task.invalid"),
        (["superres", "PHOTO", "--set", "facto=2"], "task.invalid"),
        (["superres", "PHOTO", "--set", "factor"], "option.value"),
        (["superres", "PHOTO", "--set", "min_size=3"], "setting"),
        (["superres", "PHOTO", "--sweep"], "task.invalid"),
        (["superres", "FOLDER"], "images.many"),
        (["superres", "PHOTO", "--out", "x.jpg"], "option.value"),
        (["edit", "PHOTO", "--target", "PHOTO"], "task.invalid"),
        (["edit", "PHOTO"], "task.invalid"),
        (["inpaint", "PHOTO", "--mask", "BLACK"], "mask.invalid"),
        (["generate", "PHOTO", "--device", "tpu"], "device"),
        (["generate", "PHOTO", "--preset", "finest"], "setting"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_trains_nothing(tmp_path, arguments, error):
    folder = write_photographs(tmp_path / "photos", 2)
    Image.new("L", (30, 30)).save(tmp_path / "black.png")
    names = {"PHOTO": folder / "photo-00.png", "FOLDER": folder, "BLACK": tmp_path / "black.png"}
    out = [] if "--out" in arguments else ["--out", tmp_path / "out"]
    code, output = ask("apply", *(names.get(argument, argument) for argument in arguments), *out)
    assert code == 2
    check_error(output, error)
    assert not trained(output)
    assert not (tmp_path / "out").exists()


def test_tasks_say_what_they_are():
    code, output = ask("tasks")
    assert code == 0
    assert all(name in output for name in ("superres", "inpaint", "animate", "energy"))
    code, output = ask("tasks", "inpaint")
    assert code == 0
    assert "white on the missing pixels" in " ".join(output.split())
    assert ask("tasks", "nothing")[0] == 2
