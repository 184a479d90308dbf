"""The summary at the end of a run: its gallery, its first results, and commands to go on with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pgcn.methods import DEFAULT
from pgcn_cluster.gallery.commands import shell_word
from pgcn_cluster.tables.method_means import means_by_method
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.run_folder.old_names import read_columns
from pgcn_jobs.run_folder.schemas import TABLES
from pgcn_jobs.storage.store import Store

EXAMPLE_QUERY = "SELECT image_id, frechet_vgg33, largest_piece, in_place, wall_s FROM results ORDER BY frechet_vgg33"
METHODS_QUERY = (
    "SELECT method, avg(frechet_vgg22), avg(copy), avg(layout_diversity), avg(train_s) FROM results GROUP BY method"
)
EDITS_QUERY = "SELECT edit_id, task, metric, value, baseline FROM edits ORDER BY task, edit_id"

METRICS = ("frechet_vgg33", "largest_piece", "in_place", "layout_diversity")
"""Fidelity beside copying, which alone would win it. All are in [0, 1] for good samples."""

FIGURES = ("distance", "largest piece", "in place", "layouts", "seconds")
"""Names of the metrics and of `wall_s` in the tables."""

IMAGE = ["image_id", "method", "width", "height", *METRICS, "wall_s"]
EDIT = ["edit_id", "width", "height", "metric", "value", "baseline", "wall_s"]
"""Columns that are read: a bucket sends no others."""

SUMMARY_ROWS = 10

Row = Mapping[str, Any]


def say_summary(out: str, console: Console) -> None:
    """The gallery's place, the first results and edits, and commands that go on from them."""
    store = Store(out)
    run = store.url.rstrip("/")
    console.print(f"Gallery: {terminal_safe(run)}/gallery/index.html", highlight=False, markup=False)
    try:
        several = _methods(store, console)
        images = _table(
            store,
            console,
            "results",
            IMAGE,
            ("image", *(["method"] if several else []), "size", *FIGURES),
            partial(_image, several),
        )
        edits = _table(store, console, "edits", EDIT, ("edit", "size", "metric", "value", "baseline", "seconds"), _edit)
    except StoreError as error:  # the run is done all the same
        console.print(terminal_safe(str(error)), highlight=False, markup=False)
        return
    pgcn, place = "pgcn" if shutil.which("pgcn") else sys.argv[0], shell_word(run)
    lines = []
    if images:
        lines += [f"sample --size 2x1 -n 4 --out samples -- {place} {shell_word(images[0]['image_id'])}"]
        lines += [f'query {place} "{EXAMPLE_QUERY}"']
    if several:
        lines += [f'query {place} "{METHODS_QUERY}"']
    if edits:
        lines += [f'query {place} "{EDITS_QUERY}"']
    if lines:
        text = "\n".join(f"  {pgcn} {line}" for line in [*lines, f"status {place}"])
        console.print(f"Next:\n{text}", highlight=False, markup=False)


def _methods(store: Store, console: Console) -> bool:
    """Print the means of each method of a run that has several; True where it has."""
    schema = TABLES["results"]
    used = store.read_parquet("tables/results", lambda data: read_columns(data, ["method"], schema)["method"].unique())
    if used is None or len(used) < 2:
        return False
    columns = [*METRICS, "wall_s"]
    results = store.read_parquet("tables/results", lambda data: read_columns(data, ["method", *columns], schema))
    table = Table(box=None, header_style="bold")
    for head in ("method", "images", *FIGURES):
        table.add_column(head, justify="left" if head == "method" else "right")
    for own in means_by_method(results, columns):
        table.add_row(escape(terminal_safe(own.method)), f"{own.results}", *_figures(own.means))
    console.print(table)
    return True


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
        f"tables/{name}",
        lambda data: (data.count_rows(), read_columns(data, columns, TABLES[name], SUMMARY_ROWS).to_pylist()),
    )
    if found is None or found[0] == 0:
        return []
    total, rows = found
    table = Table(box=None, header_style="bold")
    for head in heads:
        table.add_column(head, justify="left" if head in ("image", "method", "edit", "metric") else "right")
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    if total > len(rows):
        console.print(f"… and {total - len(rows)} more", highlight=False)
    return list(rows)


def _image(several: bool, row: Row) -> list[str]:
    """The cells of an image: where the run has `several` methods, its own beside its name instead of behind it."""
    method, name = row["method"] or DEFAULT, row["image_id"]
    shown = [name.removesuffix(f"@{method}"), method] if several else [name]
    return [*(escape(terminal_safe(text)) for text in shown), f"{row['width']}x{row['height']}", *_figures(row)]


def _figures(row: Row) -> list[str]:
    shares = (_share(row[name]) for name in ("largest_piece", "in_place"))
    return [_number(row["frechet_vgg33"]), *shares, _number(row["layout_diversity"]), f"{row['wall_s']:.0f}"]


def _edit(row: Row) -> list[str]:
    values = [row["metric"] or "–", _number(row["value"]), _number(row["baseline"])]
    return [escape(terminal_safe(row["edit_id"])), f"{row['width']}x{row['height']}", *values, f"{row['wall_s']:.0f}"]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
