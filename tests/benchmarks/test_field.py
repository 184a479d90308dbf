"""The field beside us: the closed form as it is written, and a table that runs."""

import sys

import pytest
import torch

from benchmarks import field
from benchmarks.closed_form import closed_form, halving, levels
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


def test_the_table_has_a_line_for_each_way(monkeypatch, capsys, tmp_path):
    from PIL import Image

    torch.manual_seed(0)
    Image.fromarray(to_rgb(torch.rand(3, 40, 48) * 2 - 1)).save(tmp_path / "noise.png")
    monkeypatch.setattr(field, "match", lambda image, sizes, seed: image)
    command = [str(tmp_path / "noise.png"), "--side", "24", "48", "--most", "24", "--samples", "2", "--iterations", "1"]
    monkeypatch.setattr(sys, "argv", ["field", *command])
    field.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in lines if "frechet" not in line and "---" not in line] == [
        *field.WAYS,
        *field.WAYS,
    ]
    assert "not drawn" in lines[-2]
    assert lines[-1].split("|")[4].strip() == "0", "the image itself is at a distance of 0"
