"""The comparison of training methods: equal time, results that are kept, and a page that follows from them."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from benchmarks import methods
from benchmarks.equal_time import solve
from benchmarks.method_trial import Conditions, Trial
from benchmarks.methods import Wanted, arguments, command, trained
from benchmarks.methods_page import Facts, Kept, advice, means, page, task_tables
from benchmarks.methods_sheet import sheet
from pgcn.method import DivergenceError
from pgcn.methods import all_methods, find_method
from pgcn_jobs.storage.store import Store

CONDITIONS = Conditions(5.0, 40, 2)
FIGURES = {
    "diverged": None,
    "failed": None,
    "iterations": 7,
    "seconds": 5.0,
    "frechet_vgg22": 0.02,
    "frechet_vgg33": 0.05,
    "patch_swd": 0.1,
    "copy": 0.3,
    "in_place": 0.1,
    "largest_piece": 0.2,
    "layout_diversity": 0.5,
    "sample_s": 1.0,
    "artifacts": 1000,
    "parameters": 10,
}


def kept(method: str, picture: str = "01-bricks.jpg", seed: int = 0, **changed) -> Kept:
    return Kept(method, picture, seed, FIGURES | changed, None)


@pytest.mark.parametrize(("fixed", "each", "seconds"), [(0.0, 0.1, 25.0), (6.0, 0.5, 25.0), (6.0, 0.01, 100.0)])
def test_a_training_of_the_solved_length_takes_the_wanted_time(fixed, each, seconds):
    count = solve(5, fixed + 5 * each, 15, fixed + 15 * each, seconds)
    assert fixed + count * each == pytest.approx(seconds, abs=each)


def test_a_budget_below_the_fixed_time_gives_one_iteration():
    assert solve(5, 6.5, 15, 7.5, 3.0) == 1
    assert solve(5, 1.0, 15, 0.9, 3.0) >= 1, "times that fall are noise"


def test_every_method_of_the_registry_is_trained():
    assert arguments([]).methods == list(all_methods())
    assert command(arguments([])) == "make methods"
    places = ["--small", "--keep", "/somewhere/of/mine", "--page", "/there.md", "--seconds", "5"]
    assert command(arguments(places)) == "python -m benchmarks.methods --small --seconds 5"


def test_what_is_kept_is_not_made_again_and_a_failure_is_tried_again(tmp_path, monkeypatch):
    made = []

    class Fake:
        def __init__(self, method, conditions):
            self.name = method.name

        def __call__(self, picture, seed):
            made.append((self.name, picture, seed))
            bad = {"diverged": "it diverged"} if seed == 1 else {"failed": "a bug"} if picture == "b.jpg" else {}
            return FIGURES | bad, None if bad else b"png"

    monkeypatch.setattr(methods, "Trial", Fake)
    every = [Wanted("convnet", picture, seed) for picture in ("a.jpg", "b.jpg") for seed in (0, 1)]
    store = Store(str(tmp_path))
    first = list(trained(every, CONDITIONS, store))
    assert [one.result["diverged"] for one in first] == [None, "it diverged"] * 2
    assert [one.png for one in first] == [b"png", None, None, None]
    assert len(made) == 4
    again = list(trained(every, CONDITIONS, store))
    assert made[4:] == [("convnet", "b.jpg", 0)]
    assert again == first
    list(trained(every[:1], Conditions(6.0, 40, 2), store))
    assert len(made) == 6, "another budget is another result"


def test_a_divergence_and_a_bug_are_results(monkeypatch):
    trial = Trial(find_method("convnet"), CONDITIONS)
    for error, name in ((DivergenceError("too large"), "diverged"), (ValueError("oh"), "failed")):

        def train(*_, error=error):
            raise error

        monkeypatch.setattr("benchmarks.equal_time.train", train)
        result, png = trial("01-bricks.jpg", 0)
        assert png is None
        assert result[name]
        assert not Kept("convnet", "01-bricks.jpg", 0, result, png).good


def test_a_trial_measures_a_training_and_its_samples():
    result, png = Trial(find_method("convnet"), Conditions(0.3, 24, 2))("04-gravel.jpg", 0)
    assert result.keys() == FIGURES.keys()
    assert (result["diverged"], result["failed"]) == (None, None)
    assert 0 < result["seconds"] < 3
    assert result["artifacts"] > 4 * result["parameters"]
    assert png is not None
    assert Image.open(io.BytesIO(png)).size == (24, 24)


def test_means_leave_out_trainings_without_samples():
    every = [
        kept("convnet", copy=0.2),
        kept("convnet", seed=1, diverged="yes", copy=9.0),
        kept("multigrid", failed="x"),
    ]
    assert means(every)["convnet"]["copy"] == pytest.approx(0.2)
    assert "multigrid" not in means(every)


def test_the_advice_follows_from_the_figures():
    every = [
        kept("patchgencn", frechet_vgg22=0.02, copy=0.3, sample_s=2.0),
        kept("convnet", frechet_vgg22=0.01, copy=0.305, layout_diversity=0.9),
        kept("multigrid", frechet_vgg22=0.005, copy=0.6, diverged=None),
        kept("multigrid", picture="06-cat.jpg", diverged="yes"),
        kept("ladder", frechet_vgg22=0.3, copy=0.0),
    ]
    said = advice(every)
    assert "(VGG22): `multigrid` (0.005), then `convnet` (0.010), then `patchgencn` (0.020)." in said
    assert "least copied from it: `patchgencn` (0.30)" in said, "those that are far from the photograph copy nothing"
    assert "differ most from each other: `convnet`" in said
    assert "VGG22 over 0.1): `ladder`." in said
    assert "Some trainings diverged: `multigrid`." in said
    assert "without more copying (copy at most 0.31): `convnet`." in said


def test_the_page_says_its_conditions_and_keeps_tables_of_tasks(tmp_path):
    every = [kept("patchgencn"), kept("convnet", frechet_vgg22=0.456), kept("convnet", seed=1, diverged="yes")]
    facts = Facts(CONDITIONS, "make methods", "One machine", "methods.webp")
    (tmp_path / "inpainting.md").write_text("| hole | psnr |\n")
    text = page(every, facts, task_tables("", tmp_path))
    for said in (
        "about 5 s",
        "1 picture (`01-bricks`); 2 seeds",
        "One machine",
        "make methods",
        "of 40 px",
        "2 samples",
    ):
        assert said in text
    (row,) = [line for line in text.splitlines() if line.startswith("| `convnet` | 2 ")]
    assert row.startswith("| `convnet` | 2 | 1 | 5 | 0.456 |")
    assert row.endswith("| 0.456, `01-bricks` |")
    assert "## Inpainting by method\n" in text
    assert "<!-- inpainting -->\n| hole | psnr |\n<!-- end -->" in text
    assert task_tables(text, tmp_path / "elsewhere") == {"inpainting": "| hole | psnr |"}, "of the page before"


def test_the_picture_has_a_row_for_each_method_and_says_what_diverged():
    sink = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(sink, "PNG")
    every = [kept("patchgencn")._replace(png=sink.getvalue()), kept("convnet", diverged="yes")]
    made = sheet(every, 40)
    rows = [made.crop((120, top, made.width, top + 30)) for top in range(0, made.height, 37)]
    assert len(rows) == 3
    assert rows[1].getpixel((20, 15)) == (255, 0, 0)
    assert len(set(rows[2].tobytes())) > 1, "the word diverged"
