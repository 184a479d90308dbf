"""The table of faults: what was struck where, whether the run survived, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cell:
    """One fault at one point, and the seconds that it cost."""

    fault: str
    point: str
    lost_s: float = 0.0
    survived: bool = False


class Table:
    """The cells of one session."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    @contextmanager
    def cell(self, fault: str, point: str) -> Iterator[Cell]:
        """A cell that has survived when its block ends without an error."""
        cell = Cell(fault, point)
        self.cells.append(cell)
        yield cell
        cell.survived = True

    def lines(self) -> list[str]:
        """The table, in Markdown."""
        rows = [
            f"| {c.fault} | {c.point} | {'yes' if c.survived else '**no**'} | {c.lost_s:.1f} |"
            for c in sorted(self.cells, key=lambda c: c.fault)
        ]
        return ["| fault | point | survived | seconds lost |", "|---|---|---|---|", *rows]
