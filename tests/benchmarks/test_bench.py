"""`make bench`: rows that are kept, and the page's section."""

import sys

import pytest

from benchmarks import bench
from benchmarks.ours import Made
from benchmarks.published import Expected
from benchmarks.rows import Rows

PAGE = "# Benchmarks\n\n## On a GPU\n\nold\n\n## On a CPU\n\n### Presets\n\nold\n\n## Conclusions\n\nby hand\n"


def test_a_kept_row_is_not_measured_again(tmp_path):
    rows = Rows(tmp_path / "rows.json")
    assert rows("first", lambda: ["first", "1"]) == ["first", "1"]
    again = Rows(tmp_path / "rows.json")
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
    made = Made(None, 50.0, 1.0)
    monkeypatch.setattr(bench, "of_preset", lambda preset, device: made)
    monkeypatch.setattr(bench, "expected", lambda size, settings, device: Expected(100.0, 1.0))
    lines = [line for line in bench.learned(Rows(), "cpu").splitlines() if line.startswith(("| `", "| pub"))]
    assert [line.split("|")[3].strip() for line in lines] == ["1.0", "2.0", "2.0"]
