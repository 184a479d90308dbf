"""One attempt as its page shows it: read from the artifacts that its commit names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from PIL import Image

from pgcn_cluster.gallery.views.album import Album, Shown, album
from pgcn_cluster.gallery.views.curves import Chart, Metric, charts_by_scale
from pgcn_cluster.gallery.views.facts import Fact
from pgcn_cluster.gallery.views.formatting import number, size
from pgcn_cluster.gallery.views.histograms import histogram_charts
from pgcn_cluster.gallery.views.material import Material, material_of
from pgcn_jobs.layout import is_ours
from pgcn_jobs.run_folder.schemas import read_parquet
from pgcn_jobs.storage.store import Store

log = logging.getLogger(__name__)


class Scale(NamedTuple):
    """One scale of the pyramid: its images, the curves of its training, and the histograms of its statistics."""

    scale: int
    iterations: int
    pictures: list[Shown]
    charts: list[Chart]


class Artifact(NamedTuple):
    """One object of the attempt: its name, and its bytes for a person."""

    name: str
    size: str


class Attempt(NamedTuple):
    """Everything of one attempt that its page shows. `problem` says what could not be read, if anything."""

    album: Album
    scales: list[Scale]
    metrics: list[Fact]
    artifacts: list[Artifact]
    problem: str
    material: Material | None = None


def read_attempt(store: Store, job_id: str, attempt: str, *, compared: bool = False) -> Attempt:
    """Read one attempt. Artifacts that are missing or damaged leave gaps and a sentence, never an exception.

    `compared`: with the pictures of a comparison. Raises what the store raises when it cannot be used.
    """
    folder = f"attempts/{job_id}/{attempt}/"
    problems: list[str] = []
    rows = read_rows(store, folder + "samples.parquet", problems)
    pictures = _album(rows, folder + "samples.parquet", problems, compared)
    material = material_of(store, (row for row in rows if row["kind"] == "sample"), folder, problems)
    metrics = [
        Metric(row["scale"], row["iteration"] or 0, row["name"], row["value"])
        for row in read_rows(store, folder + "metrics.parquet", problems)
        # Metrics of the whole pyramid are of no iteration.
        if None not in (row["scale"], row["name"]) and (row["iteration"] is not None or row["scale"] == -1)
    ]
    histograms = histogram_charts(store, folder, problems)
    scales, artifacts = _scales(pictures.scales, metrics, histograms), artifacts_in(store, folder)
    return Attempt(pictures, scales, _whole_pyramid(metrics), artifacts, " ".join(problems), material)


def _album(rows: list[dict[str, Any]], path: str, problems: list[str], compared: bool) -> Album:
    try:
        return album(rows, compared=compared)
    except (OSError, TypeError, Image.DecompressionBombError) as error:
        log.warning("The gallery could not read the images in %s: %s", path, error)
        problems.append(f"The images in {path} could not be read.")
        return Album()


def read_rows(store: Store, path: str, problems: list[str]) -> list[dict[str, Any]]:
    """An artifact's rows; none, and a sentence more in `problems`, where it cannot be read."""
    try:
        rows: list[dict[str, Any]] = read_parquet(store.get(path)).to_pylist()
    except FileNotFoundError:
        problems.append(f"{path} is missing.")
    except (OSError, pa.ArrowException):
        problems.append(f"{path} could not be read: it is not a whole Parquet file.")
    else:
        return rows
    return []


def _scales(
    pictures: Mapping[int, list[Shown]], metrics: Sequence[Metric], histograms: Mapping[int, list[Chart]]
) -> list[Scale]:
    charts = charts_by_scale(metrics)
    iterations = {m.scale: m.iteration for m in sorted(metrics, key=lambda m: m.iteration)}
    return [
        Scale(
            scale, iterations.get(scale, 0), pictures.get(scale, []), charts.get(scale, []) + histograms.get(scale, [])
        )
        for scale in sorted({*pictures, *charts, *histograms})
    ]


def artifacts_in(store: Store, folder: str) -> list[Artifact]:
    """The objects of an attempt."""
    return [Artifact(path.removeprefix(folder), size(n)) for path, n in store.list(folder).items() if is_ours(path)]


def _whole_pyramid(metrics: Sequence[Metric]) -> list[Fact]:
    """The last value of every metric of the whole pyramid."""
    last = {m.name: m for m in sorted(metrics, key=lambda m: m.iteration) if m.scale == -1}
    return [Fact(name, number(metric.value)) for name, metric in sorted(last.items())]
