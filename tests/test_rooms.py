"""The three rooms: imports go one way, cluster → jobs → pgcn."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "pgcn": {"jobs", "cluster", "ray", "fsspec", "s3fs", "pyarrow", "PIL", "typer", "rich"},
    "jobs": {"cluster", "ray", "typer", "rich", "duckdb"},
    "cluster": set(),
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_go_one_way(room):
    files = list((ROOT / room).rglob("*.py"))
    assert files
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported(path)
        if name in FORBIDDEN[room]
    }
    assert not wrong


def test_nothing_is_unpickled_or_evaluated():
    wrong = set()
    for path in (p for room in FORBIDDEN for p in (ROOT / room).rglob("*.py")):
        wrong |= {f"{path.relative_to(ROOT)} imports {name}" for name in imported(path) if name in {"pickle", "shelve"}}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"eval", "exec"}:
                wrong.add(f"{path.relative_to(ROOT)}:{node.lineno} evaluates")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                wrong.add(f"{path.relative_to(ROOT)}:{node.lineno} unpickles")
    assert not wrong


def test_every_module_says_what_it_is():
    missing = [
        p for room in FORBIDDEN for p in (ROOT / room).rglob("*.py") if not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not missing


def test_the_constraints_pin_everything_installed_here():
    """A package that is installed but not pinned would be another one on the next machine."""
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert {"torch", "ray", "pyarrow", "pytest", "ruff", "mypy"} <= pinned
    assert sys.version_info >= (3, 11)
