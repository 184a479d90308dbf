"""Rows of the tables of `make bench`: each is announced, measured, printed, and kept where a folder is given."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Cells = list[str]


class Rows:
    """Measures rows by name. Those kept in `folder` are not measured again: an interrupted benchmark goes on.

    A kept row is as old as its file, `rows.json`: delete it to measure another version.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._kept = kept = None if folder is None else folder / "rows.json"
        self._rows: dict[str, Cells] = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
        self._began = time.monotonic()

    def __call__(self, name: str, measure: Callable[[], Sequence[str]]) -> Cells:
        """The row of this name, by `measure` where it is not kept."""
        if name not in self._rows:
            print(f"{time.monotonic() - self._began:.0f} s: {name} …", flush=True)
            self._rows[name] = list(measure())
            print(" | ".join(self._rows[name]), flush=True)
            if self._kept is not None:
                self._kept.parent.mkdir(parents=True, exist_ok=True)
                self._kept.write_text(json.dumps(self._rows, indent=1))
        return self._rows[name]
