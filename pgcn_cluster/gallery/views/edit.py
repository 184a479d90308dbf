"""One edit as its page shows it: its inputs, its results, and the comparison of both."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image

from pgcn.tasks.task import all_tasks
from pgcn_cluster.gallery.views.album import Row, Shown, png_of
from pgcn_cluster.gallery.views.attempt import Artifact, artifacts_in, read_rows
from pgcn_cluster.gallery.views.facts import Fact
from pgcn_cluster.gallery.views.formatting import duration, number, when
from pgcn_cluster.gallery.views.material import Material, material_of
from pgcn_cluster.gallery.views.thumbnails import EmbeddedImage, clip, picture, thumbnail
from pgcn_jobs.storage.store import Store

log = logging.getLogger(__name__)

MOST = 1024
"""The longest side of an image on a page, px: a result as large as a photograph stays in `pictures.parquet`."""

SIDE, WIDE = 380, 720
"""The longest side on the page, CSS pixels: of what went in, and of the two that are compared."""

GIVEN = {
    "image": ("Image", "what the pyramid learned from"),
    "target": ("Target", "what the task was given"),
    "mask": ("Mask", "white where something was to be done"),
    "truth": ("Truth", "what it should have been; only the metrics use it"),
}
SHEETS = {
    "sweep": ("Every start scale", "coarsest and freest first"),
    "tiled": ("Two by two", "the sides meet"),
    "saliency": ("Saliency", "how far the chains moved each pixel: black is not at all, white the most"),
    "decades": ("Decades", "how unusual the energy is in the image's own distribution: red at 8, white at 24"),
}


class Sheet(NamedTuple):
    """Several images in one row, under a heading."""

    heading: str
    detail: str
    picture: Shown


@dataclass(frozen=True)
class EditShown:
    """Everything of one edit that its page shows. `pair` is before and after, where they are of one shape."""

    pair: tuple[Shown, Shown] | None = None
    given: list[Shown] = field(default_factory=list)
    made: list[Shown] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    metrics: list[Fact] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    thumbnail: tuple[bytes, int, int] | None = None
    material: Material | None = None
    problem: str = ""


def read_edit(store: Store, row: Mapping[str, Any]) -> EditShown:
    """Read one edit's attempt. Missing or damaged artifacts leave gaps and a sentence, never an exception.

    Raises what the store raises when it cannot be used.
    """
    job_id = row["job_id"]
    folder = f"attempts/{job_id}/{row['attempt']}/"
    problems: list[str] = []
    by_name: dict[str, list[Row]] = defaultdict(list)
    for one in read_rows(store, folder + "pictures.parquet", problems):
        by_name[one["name"]].append(one)
    try:
        pictures = _pictures(by_name)
    except (OSError, TypeError, Image.DecompressionBombError) as error:
        log.warning("The gallery could not read the images of job %s: %s", job_id, error)
        problems.append(f"The images in {folder}pictures.parquet could not be read.")
        pictures = {}
    material = material_of(store, by_name.get("result", []), folder, problems)
    rows = read_rows(store, folder + "metrics.parquet", problems)
    metrics = {one["name"]: number(one["value"]) for one in rows if one["name"] is not None}
    return EditShown(
        **pictures,
        metrics=metrics_of(row, metrics),
        artifacts=artifacts_in(store, folder),
        material=material,
        problem=" ".join(problems),
    )


def _pictures(by_name: Mapping[str, list[Row]]) -> dict[str, Any]:
    # Of large results there are views.
    results = [picture(png_of(row), MOST) for row in by_name.get("view") or by_name.get("result", [])]
    clips = [clip(png_of(row)) for row in by_name.get("clip", [])]
    before = next((picture(png_of(row), MOST) for row in by_name.get("before", [])), None)
    made = [_shown(one, WIDE, f"Result {i}" if len(results) > 1 else "Result") for i, one in enumerate(results, 1)]
    if clips:
        made = [_shown(one, WIDE, "Clip", "an endless loop") for one in clips]
    pair = None
    if before is not None and [before[1:]] == [result[1:] for result in results]:
        pair = _shown(before, WIDE, "Before", "without the pyramid"), _shown(results[0], WIDE, "After", "")
        made = []

    first = by_name.get("before") or by_name.get("image")
    last = by_name.get("view") or by_name.get("result")
    both = png_of(first[0]) if first else None, png_of(last[0]) if last else None
    return {
        "pair": pair,
        "given": [
            _shown(picture(png_of(row), 2 * SIDE), SIDE, *words)
            for name, words in GIVEN.items()
            for row in by_name.get(name, [])
        ],
        "made": made,
        "sheets": [
            Sheet(*words, _shown(picture(png_of(row), 4 * WIDE), 2 * WIDE, ""))
            for name, words in SHEETS.items()
            for row in by_name.get(name, [])
        ],
        "thumbnail": thumbnail(*both) if any(both) else None,
    }


def _shown(one: EmbeddedImage, side: int, label: str, detail: str = "") -> Shown:
    return Shown(one, *one.fitted(min(side, 6 * max(one.width, one.height))), label, detail)


def metrics_of(row: Mapping[str, Any], metrics: Mapping[str, str]) -> list[Fact]:
    """The task's own metric and its baseline first, each with its meaning; then all others."""
    task = all_tasks().get(row["task"] or "")
    criterion = task.criterion if task is not None else None
    meanings = {}
    if criterion is not None and criterion.metric == row["metric"]:
        meanings = {
            criterion.metric: f"the task's own metric: {criterion.better} is better",
            criterion.baseline: "baseline: the same metric without the pyramid",
        }
    names = [*(name for name in meanings if name in metrics), *(name for name in metrics if name not in meanings)]
    return [Fact(name, metrics[name], meanings.get(name, "")) for name in names]


def options_of(row: Mapping[str, Any]) -> list[Fact]:
    """Every option of the task, and how to read it."""
    task = all_tasks().get(row["task"] or "")
    fields = task.options.model_fields if task is not None else {}
    try:
        options = json.loads(row["options"] or "{}")
        return [
            Fact(name, json.dumps(value), (fields[name].description or "") if name in fields else "")
            for name, value in options.items()
        ]
    except (ValueError, AttributeError):
        return [Fact("options", row["options"])]


def provenance_of(row: Mapping[str, Any]) -> list[Fact]:
    """Provenance of an edit: its images, pyramid, time, memory, device and versions."""
    text = {
        name: row[name] or "" for name in ("target_uri", "mask_uri", "pyramid", "pyramid_run", "device", "algorithm")
    }
    peak = row["peak_memory_mb"]
    facts = [
        Fact("uri", row["uri"] or "", "the image"),
        Fact("target_uri", text["target_uri"]),
        Fact("mask_uri", text["mask_uri"]),
        Fact("pyramid", text["pyramid"], "of the image"),
        Fact("pyramid_run", text["pyramid_run"], "the run that trained it"),
        Fact("wall_s", duration(row["wall_s"]), "storage included, training not"),
        Fact("peak_memory_mb", number(peak) if peak is not None else "", "host memory of the worker"),
        Fact("device", text["device"]),
        Fact("committed_at", when(row["committed_at"])),
        Fact("algorithm", text["algorithm"]),
        Fact("pgcn_version", row["pgcn_version"] or ""),
        Fact("torch_version", row["torch_version"] or ""),
        Fact("job_id", row["job_id"]),
        Fact("attempt", row["attempt"]),
    ]
    return [fact for fact in facts if fact.value]
