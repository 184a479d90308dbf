"""The field beside us: the closed form as it is written, its time, and tables with a line for each way."""

import pytest
import torch
from PIL import Image

from benchmarks import closed_form as closed
from benchmarks import field, matching
from benchmarks.closed_form import closed_form, closed_form_seconds, halving, levels
from benchmarks.ours import Made, Trainings, ours
from benchmarks.rows import Rows
from benchmarks.sample_metrics import COMPARED
from pgcn import make_settings
from pgcn.metrics.quality import metrics
from pgcn_jobs.images.png import to_rgb


def test_scales_halve_down_to_a_patch():
    assert halving((160, 240)) == [(20, 30), (40, 60), (80, 120), (160, 240)]
    assert halving((40, 60))[0] == (15, 15)


def test_noise_levels_fall_by_equal_parts():
    assert levels(1.0, 4) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_the_closed_form_draws_the_image_s_own_patches():
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6) * 2 - 1, size=(24, 24), mode="bicubic").clamp(-1, 1)
    made = [closed_form(image, [(16, 16), (24, 24)], seed, patch=7, steps=6) for seed in (0, 0, 1)]
    assert torch.equal(made[0], made[1])
    assert float((made[0] - made[2]).abs().mean()) > 0.05, "another seed is another picture"
    noise = torch.rand(1, 3, 24, 24) * 2 - 1
    near, far = (metrics(image, x)["coherence_32"] for x in (made[0], noise))
    assert near < 0.2 * far, "patches of the sample are patches of the image"


def test_the_time_of_the_closed_form_is_a_line_through_two_pieces(monkeypatch):
    monkeypatch.setattr(closed, "_piece_seconds", lambda image, side, patch: image.shape[2] + 0.5 * side**2)
    sizes = [(15, 20), (30, 40)]
    expected = 10 * ((15 + 0.5 * 300) + (30 + 0.5 * 1200))
    assert closed_form_seconds(torch.zeros(1, 3, 30, 40), sizes) == pytest.approx(expected)
    assert torch.tensor(1e-30).mul(1e-10) > 0, "numbers below 1e-38 are numbers again"


def test_the_time_of_direct_matching_counts_all_steps(monkeypatch):
    taken = []
    monkeypatch.setattr(matching, "patch_distance", lambda x, target, generator: taken.append(1) or x.mean())
    monkeypatch.setattr(matching, "clock", lambda device: float(len(taken)))  # a second for each step
    sizes = [(8, 8), (16, 16)]
    assert matching.match_seconds(torch.zeros(1, 3, 16, 16), sizes) == matching.STEPS * len(sizes)


def test_large_pictures_are_matched_once_on_request(monkeypatch):
    monkeypatch.setattr(field, "match", lambda image, sizes, seed: image)
    image = torch.zeros(1, 3, 16, field.MOST + 1)
    made = field.by_matching(True, image, 4, Trainings("cpu"))
    assert made.samples is not None and len(made.samples) == 1


def test_a_training_and_its_samples_have_times():
    image = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = ours(
        image, make_settings("small", {"iterations": 1, "iteration_growth": 1.0, "scales": 2}), 3, Trainings("cpu")
    )
    assert made.samples is not None and made.samples.shape == (3, 3, 20, 24)
    assert made.prepare > 0 and made.sample > 0
    assert not torch.equal(made.samples[0], made.samples[1]), "samples have seeds of their own"


def test_the_table_has_a_line_for_each_way(monkeypatch, tmp_path):
    torch.manual_seed(0)
    Image.fromarray(to_rgb(torch.rand(3, 40, 48) * 2 - 1)).save(tmp_path / "noise.png")
    monkeypatch.setattr(field, "match", lambda image, sizes, seed: image)
    monkeypatch.setattr(field, "match_seconds", lambda image, sizes: 7.0)
    monkeypatch.setattr(field, "MOST", 32)

    def copies(image: torch.Tensor, settings: object, samples: int, _: Trainings) -> Made:
        return Made(image.repeat(samples, 1, 1, 1), 10.0, 0.5)

    monkeypatch.setattr(field, "ours", copies)
    tables = field.field(Rows(), Trainings("cpu"), str(tmp_path / "noise.png"), 2, strips=tmp_path, sides=(32, 48))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables.splitlines() if line[:2] == "| "]
    assert len(lines) == 2 * (1 + len(field.ways(False)))
    small, large = ({name: cells for name, *cells in lines[half : half + 6]} for half in (0, 6))
    assert list(small)[1:] == [way.name for way in field.ways(False)]
    at = lines[0].index("frechet_vgg12") - 1
    assert len(lines[0]) == 3 + len(COMPARED)
    for table in (small, large):
        assert table["ours, `novelty=new`"][:2] == ["10", "60*"], "10 s of training, half a second a sample"
        assert table["ours, `novelty=new`"][at] == "0.000", "the image itself is at a distance of 0"
        assert table["published algorithm"][at] == "not drawn"
    assert small["closed form"][0].isdigit() and large["closed form"][0].endswith("*")
    assert small["direct matching"][-1] == "0.000" and large["direct matching"][:2] == ["7*", "700*"]
    assert {path.name for path in tmp_path.glob("*-closed-form.png")} == {"32-closed-form.png"}
