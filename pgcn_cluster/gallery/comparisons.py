"""Images of a run that were trained in several ways: with several methods, or with several settings of one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pgcn.methods import DEFAULT
from pgcn_cluster.gallery.build_record import BuiltJob
from pgcn_cluster.gallery.catalogue import Catalogue, read_table, rows_of
from pgcn_cluster.gallery.views.facts import GLOSSARY, quality
from pgcn_cluster.gallery.views.formatting import duration
from pgcn_cluster.gallery.views.thumbnails import STRIP_SIDE
from pgcn_cluster.tables.method_means import means_by_method
from pgcn_jobs.common.terminal_text import sentence
from pgcn_jobs.storage.store import Store

METRICS = ("frechet_vgg33", "largest_piece", "in_place", "layout_diversity", "train_s")
HEADINGS = (*(entry.name for entry in GLOSSARY), "Training")
"""Columns of results that a comparison shows, and what pages call them, in the order of the cards."""

SETTINGS_NAMED = 3
"""Settings that a way's name has at most."""

Key = tuple[Any, ...]
"""Hashes of an image: of its file, its mask, its further channels."""


class Comparison(NamedTuple):
    """One image that was trained in several ways: its name, the places of its jobs, and names without a result."""

    name: str
    jobs: list[int]
    failed: list[str]


class Way(NamedTuple):
    """One way on the page, a column: its name, its job, and the sizes of its pictures there, CSS pixels; 0: none."""

    label: str
    job_id: str
    original: tuple[int, int]
    strip: tuple[int, int]


class Compared(NamedTuple):
    """One image on the page: its name and ways, values of each way line by line, and names without a result."""

    name: str
    ways: list[Way]
    lines: list[tuple[str, list[str]]]
    failed: list[str]


class MeansRow(NamedTuple):
    """One method of a run: its name, the number of finished images, and means over them in the order of `HEADINGS`."""

    method: str
    images: int
    means: list[str]


def read_comparisons(store: Store, catalogue: Catalogue) -> list[Comparison]:
    """The images with jobs that differ in method or settings, in the order of their names; the default method first.

    Jobs are of one image where its bytes are the same, with its mask and its further channels.
    """
    jobs = catalogue.jobs
    ways = list(zip(_codes(jobs["method"]), _codes(jobs["settings"]), strict=True))
    if len(set(ways)) < 2:
        return []
    asked = _with_several_jobs(store)
    wanted = set(asked["job_id"].to_pylist())
    place_of = {job_id: place for place, job_id in enumerate(jobs["job_id"].to_pylist()) if job_id in wanted}
    failed_names = {each.image_id for each in catalogue.failed}
    of_image: dict[Key, set[int]] = defaultdict(set)
    failed: dict[Key, list[str]] = defaultdict(list)
    for row in rows_of(asked):
        image, place = (row["sha256"], row["holes"], row["parts"]), place_of.get(row["job_id"])
        if place is not None:
            of_image[image].add(place)
        elif row["image_id"] in failed_names:
            failed[image].append(row["image_id"])
    found = []
    names, methods = (catalogue.first_names(), jobs["method"].to_pylist()) if of_image else ([], [])
    for image, places in of_image.items():
        if len({ways[place] for place in places}) > 1:
            first = min(places)
            ordered = sorted(places, key=lambda place: (methods[place] != DEFAULT, methods[place] or "", place))
            name = names[first].removesuffix(f"@{methods[first]}")
            found.append((first, Comparison(name, ordered, sorted(failed[image]))))
    return [comparison for _, comparison in sorted(found, key=lambda pair: pair[0])]


def _with_several_jobs(store: Store) -> pa.Table:
    """The manifest's rows of files with several jobs, which are few where a million images have one each."""
    rows = read_table(store, "manifest", ["image_id", "job_id", "sha256", "holes", "parts"])
    rows = rows.filter(pc.is_valid(rows["sha256"]))
    jobs = rows.group_by("sha256").aggregate([("job_id", "count_distinct")])
    several = jobs["sha256"].filter(pc.greater(jobs["job_id_count_distinct"], 1))
    return rows.filter(pc.is_in(rows["sha256"], value_set=several.combine_chunks()))


def _codes(column: pa.ChunkedArray) -> list[int | None]:
    """A number for each value, equal ones for equal texts: settings are a kilobyte each. The column shares texts."""
    codes: list[int | None] = column.combine_chunks().indices.to_pylist()
    return codes


def compared(comparison: Comparison, jobs: pa.Table, built: Mapping[str, BuiltJob]) -> Compared:
    """One comparison as its page shows it; `jobs` are the run's results, `built` what lies in the gallery."""
    rows = jobs.take(pa.array(comparison.jobs, pa.int64())).to_pylist()
    ways = [_way(label, built[row["job_id"]]) for label, row in zip(labels(rows), rows, strict=True)]
    lines = list(zip(HEADINGS, map(list, zip(*map(values, rows), strict=True)), strict=True))
    warnings = [sentence(row["warning"]) for row in rows]
    if any(warnings):
        lines.append(("Look at", warnings))
    return Compared(comparison.name, ways, lines, comparison.failed)


def _way(label: str, job: BuiltJob) -> Way:
    """Small pictures are enlarged, all of an image alike."""
    shown = job.built
    side = max(shown.original_width, shown.original_height)
    factor = max(1.0, STRIP_SIDE / side) if side else 1.0
    original = round(factor * shown.original_width), round(factor * shown.original_height)
    strip = round(factor * shown.strip_width), round(factor * shown.strip_height)
    return Way(label, job.job_id, original, strip)


def values(row: Mapping[str, Any]) -> list[str]:
    """The values of `HEADINGS` in a row of results, as text."""
    return [*(fact.value for fact in quality(row)), duration(row["train_s"])]


def labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of an image's ways: the method, and what differs from the other ways of that method.

    >>> labels([{"method": "convnet"}, {"method": "multigrid"}])
    ['convnet', 'multigrid']
    """
    methods = [row["method"] or DEFAULT for row in rows]
    made = []
    for method, row in zip(methods, rows, strict=True):
        alike = [other for name, other in zip(methods, rows, strict=True) if name == method]
        made.append(f"{method} · {_difference(row, alike)}" if len(alike) > 1 else method)
    return made


def _difference(row: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> str:
    """The difference of a row from others of its method: the preset, else some settings, else the seed."""
    if len({other["preset"] for other in alike}) == len(alike):
        return row["preset"] or "–"
    settings, others = _settings(row), [_settings(other) for other in alike]
    differing = [name for name in settings if len({json.dumps(other.get(name)) for other in others}) > 1]
    named = [f"{name} {settings[name]}" for name in differing[:SETTINGS_NAMED]]
    return ", ".join(named) or f"seed {row['seed']}"


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        read = json.loads(row["settings"] or "{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def means(jobs: pa.Table) -> list[MeansRow]:
    """The methods of a run, the default one first."""
    return [MeansRow(own.method, own.results, values(own.means)) for own in means_by_method(jobs, METRICS)]
