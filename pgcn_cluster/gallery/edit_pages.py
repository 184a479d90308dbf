"""The edits of a run in its gallery: their cards task by task, and a page for each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa

from pgcn.tasks.task import all_tasks
from pgcn_cluster.gallery.build_record import BuiltJob
from pgcn_cluster.gallery.catalogue import EDITS, JOB_ID, Catalogue, CatalogueEntry, read_catalogue
from pgcn_cluster.gallery.commands import shell_word, sql_text
from pgcn_cluster.gallery.pages import EditCard, Pages, task_name
from pgcn_cluster.gallery.views.edit import options_of, provenance_of, read_edit
from pgcn_cluster.gallery.views.formatting import rounded
from pgcn_jobs.storage.store import Store

TASK = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Used(NamedTuple):
    """One edit that used a pyramid."""

    edit_id: str
    job_id: str


def read_edits(store: Store) -> Catalogue:
    """The run's edits, task by task. Rows whose task could lead out of the gallery's folder are left out."""
    catalogue = read_catalogue(store, EDITS)
    tasks = catalogue.jobs["task"].to_pylist()
    kept = sorted((i for i, task in enumerate(tasks) if TASK.fullmatch(task or "")), key=lambda i: (tasks[i], i))
    place = {old: new for new, old in enumerate(kept)}
    entries = [CatalogueEntry(entry.image_id, place[entry.job]) for entry in catalogue.entries if entry.job in place]
    return replace(catalogue, jobs=catalogue.jobs.take(pa.array(kept, pa.int64())), entries=entries)


def edits_by_pyramid(edits: Catalogue) -> dict[str, list[Used]]:
    """The edits of each pyramid that this run trained, by its job."""
    rows = edits.jobs.select(["job_id", "pyramid_job", "pyramid_run"]).to_pylist()
    found: dict[str, list[Used]] = defaultdict(list)
    for edit_id, place in edits.entries:
        row = rows[place]
        if row["pyramid_job"] and not row["pyramid_run"]:
            found[row["pyramid_job"]].append(Used(edit_id, row["job_id"]))
    return dict(found)


def edit_cards(edits: Catalogue, built: Mapping[str, BuiltJob]) -> dict[str, list[EditCard]]:
    """Cards of all edits, by task; `built` are their pages, by job."""
    columns = ["job_id", "task", "metric", "value", "baseline", "wall_s"]
    rows = edits.jobs.select(columns).to_pylist()
    cards: dict[str, list[EditCard]] = defaultdict(list)
    for edit_id, place in edits.entries:
        row = rows[place]
        thumb = built[row["job_id"]].built
        values = rounded(row["value"]), rounded(row["baseline"]), rounded(row["wall_s"])
        card = EditCard(edit_id, row["job_id"], row["metric"] or "", *values, thumb.width, thumb.height)
        cards[row["task"]].append(card)
    return dict(sorted(cards.items()))


def edit_page(
    store: Store, pages: Pages, run: str, row: Mapping[str, Any], around: Mapping[str, Any]
) -> tuple[bytes, tuple[bytes, int, int] | None, str]:
    """One edit's page, its thumbnail, and a sentence on what could not be read."""
    edit = read_edit(store, row)
    task = all_tasks().get(row["task"])
    here = row["pyramid_job"] and not row["pyramid_run"] and JOB_ID.fullmatch(row["pyramid_job"])
    # A line to read and copy; nothing here asks it.
    question = f"SELECT edit_id, metric, value, baseline FROM edits WHERE task = {sql_text(row['task'])}"  # noqa: S608
    page = pages.edit(
        **around,
        edit=edit,
        summary=task.summary if task else "",
        model=row["pyramid_job"] if here else None,
        task_page=task_name(row["task"], 1),
        options=options_of(row),
        provenance=provenance_of(row),
        command=f"pgcn query {shell_word(run)} {shell_word(question)}",
    )
    return page, edit.thumbnail, edit.problem
