"""The summary at the end of a run: its gallery, its first results, and commands to go on with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.gallery.commands import shell_word
from jobs.common.failures import StoreError
from jobs.common.terminal_text import terminal_safe
from jobs.storage.store import Store

EXAMPLE_QUERY = "SELECT image_id, frechet_vgg22, copy, wall_s FROM results ORDER BY frechet_vgg22"
EDITS_QUERY = "SELECT edit_id, task, figure, value, nothing FROM edits ORDER BY task, edit_id"

FIGURES = ("frechet_vgg22", "copy", "diversity")
"""The figures that are always shown: fidelity beside copying, which alone would win it."""

IMAGE = ["image_id", "width", "height", *FIGURES, "wall_s"]
EDIT = ["edit_id", "width", "height", "figure", "value", "nothing", "wall_s"]
"""Columns that are read: a bucket sends no others."""

SHOWN = 10

Row = Mapping[str, Any]


def say_summary(out: str, console: Console) -> None:
    """The gallery's place, the first results and edits, and commands that go on from them."""
    store = Store(out)
    run = store.url.rstrip("/")
    console.print(f"Gallery: {terminal_safe(run)}/gallery/index.html", highlight=False, markup=False)
    try:
        images = _table(
            store, console, "results", IMAGE, ("image", "size", "Fréchet", "copy", "diversity", "seconds"), _image
        )
        edits = _table(store, console, "edits", EDIT, ("edit", "size", "figure", "value", "without", "seconds"), _edit)
    except StoreError as error:  # the run is done all the same
        console.print(terminal_safe(str(error)), highlight=False, markup=False)
        return
    pgcn, place = "pgcn" if shutil.which("pgcn") else sys.argv[0], shell_word(run)
    lines = []
    if images:
        lines += [f"sample --size 2x1 -n 4 --out samples -- {place} {shell_word(images[0]['image_id'])}"]
        lines += [f'query {place} "{EXAMPLE_QUERY}"']
    if edits:
        lines += [f'query {place} "{EDITS_QUERY}"']
    if lines:
        text = "\n".join(f"  {pgcn} {line}" for line in [*lines, f"status {place}"])
        console.print(f"Next:\n{text}", highlight=False, markup=False)


def _table(
    store: Store,
    console: Console,
    name: str,
    columns: list[str],
    heads: Sequence[str],
    cells: Callable[[Row], list[str]],
) -> list[Row]:
    """Print the first rows of a table, and return them."""
    found = store.read_parquet(
        f"tables/{name}", lambda data: (data.count_rows(), data.head(SHOWN, columns=columns).to_pylist())
    )
    if found is None or found[0] == 0:
        return []
    total, rows = found
    table = Table(box=None, header_style="bold")
    for head in heads:
        table.add_column(head, justify="left" if head in ("image", "edit", "figure") else "right")
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    if total > len(rows):
        console.print(f"… and {total - len(rows)} more", highlight=False)
    return list(rows)


def _image(row: Row) -> list[str]:
    figures = [_figure(row[name]) for name in FIGURES]
    return [escape(terminal_safe(row["image_id"])), f"{row['width']}x{row['height']}", *figures, f"{row['wall_s']:.0f}"]


def _edit(row: Row) -> list[str]:
    figures = [row["figure"] or "–", _figure(row["value"]), _figure(row["nothing"])]
    return [escape(terminal_safe(row["edit_id"])), f"{row['width']}x{row['height']}", *figures, f"{row['wall_s']:.0f}"]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
