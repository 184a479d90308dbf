"""`make bench`: rows that are kept, and the page's section."""

import sys

import pytest
import torch

from benchmarks import bench, ours
from benchmarks.ours import Trainings
from benchmarks.published import Expected
from benchmarks.rows import Rows
from pgcn import make_settings

PAGE = "# Benchmarks\n\n## On a GPU\n\nold\n\n## On a CPU\n\n### Presets\n\nold\n\n## Conclusions\n\nby hand\n"


def test_a_kept_row_is_not_measured_again(tmp_path):
    rows = Rows(tmp_path / "kept")
    assert rows("first", lambda: ["first", "1"]) == ["first", "1"]
    again = Rows(tmp_path / "kept")
    assert again("first", lambda: pytest.fail("measured again")) == ["first", "1"]
    assert again("second", lambda: ["second", "2"]) == ["second", "2"]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page, and parts that measure nothing."""
    monkeypatch.setattr(bench, "warm_up", lambda device: None)
    for name in ("presets", "learned", "field"):
        monkeypatch.setattr(bench, name, lambda *_, name=name: f"table of {name}")
    (tmp_path / "page.md").write_text(PAGE)
    monkeypatch.setattr(sys, "argv", ["bench", "--device", "cpu", "--page", str(tmp_path / "page.md")])
    return tmp_path / "page.md"


def test_all_parts_replace_the_machine_s_section_alone(page):
    bench.main()
    text = page.read_text()
    cpu = text[text.index("## On a CPU") : text.index("## Conclusions")]
    assert "old" not in cpu
    assert [line for line in cpu.splitlines() if line.startswith("table")] == [
        "table of presets",
        "table of learned",
        "table of field",
    ]
    assert text[: text.index("## On a CPU")] == PAGE[: PAGE.index("## On a CPU")]
    assert text.endswith("## Conclusions\n\nby hand\n")


def test_some_parts_leave_the_page(page, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--part", "learned"])
    bench.main()
    assert page.read_text() == PAGE
    printed = capsys.readouterr().out
    assert "table of learned" in printed and "table of field" not in printed


def test_plain_loops_are_compared_with_the_product(monkeypatch):
    class FiftySeconds(Trainings):
        def __call__(self, image, settings):
            return None, 50.0

    monkeypatch.setattr(bench, "expected", lambda size, settings, device: Expected(100.0, 1.0))
    table = bench.learned(Rows(), FiftySeconds("cpu"))
    lines = [line for line in table.splitlines() if line.startswith(("| `", "| pub"))]
    assert [line.split("|")[3].strip() for line in lines] == ["1.0", "2.0", "2.0"]


def test_equal_learned_scales_are_trained_once(monkeypatch, tmp_path):
    trained = []

    def train(image, settings, device):
        trained.append(settings)
        return real(image, settings, device)

    real = ours.train
    monkeypatch.setattr(ours, "train", train)
    small, large = (torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) for side in (24, 48))
    changes = {"iterations": 1, "iteration_growth": 1.0, "scales": 2, "learned_size": 12}
    first, more = (make_settings("draft", changes | {"patch": patch}) for patch in (11, 7))
    longer = make_settings("draft", changes | {"iterations": 2})
    trainings = Trainings("cpu", tmp_path)
    one, seconds = trainings(small, first)
    two, again = trainings(large, more)
    assert (one.sizes[-1], two.sizes[-1]) == ((24, 24), (48, 48))
    assert two.settings.patch == 7 and two.exact.settings.patch == 7
    assert seconds == again == Trainings("cpu", tmp_path)(large, first)[1]
    assert len(trained) == 1
    trainings(large, longer)
    assert trained[1:] == [longer]
