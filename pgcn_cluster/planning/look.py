"""Manifest rows for the images and edits of a command, made in this process or in tasks of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from pgcn_cluster.ray_cluster.parallel_map import map_ray
from pgcn_jobs.inputs.source import EditSource, Source
from pgcn_jobs.run_folder.edit_manifest import EditEntry, plan_edit
from pgcn_jobs.run_folder.manifest import Entry, RunDefaults, plan_source
from pgcn_jobs.spec import PyramidRef

CHUNK = 16
"""Images or edits of one task."""

T = TypeVar("T")
R = TypeVar("R")


class ImageItem(NamedTuple):
    """An image, and its row from an earlier command."""

    source: Source
    known: Entry | None


class EditItem(NamedTuple):
    """An edit, its image with that image's row, its own row from an earlier command, and its pyramid in another run."""

    source: Source
    edit: EditSource
    image: Entry
    known: EditEntry | None
    found: PyramidRef | None


def image_rows(items: Sequence[ImageItem], ask: RunDefaults) -> list[Entry]:
    """Manifest rows of some images; an image that storage calls unchanged since its `known` row is not read."""
    return [plan_source(item.source, ask, item.known) for item in items]


def edit_rows(items: Sequence[EditItem], max_pixels: int) -> list[EditEntry]:
    """Manifest rows of some edits; images that storage calls unchanged since the `known` row are not read."""
    return [plan_edit(item.source, item.edit, item.image, item.found, item.known, max_pixels) for item in items]


def with_ray(rows: Callable[[list[T]], list[R]], items: Sequence[T]) -> list[R]:
    """`rows(items)`, in tasks of the cluster for `CHUNK` items each: reading and hashing cost the driver nothing."""
    chunks = [list(items[at : at + CHUNK]) for at in range(0, len(items), CHUNK)]
    return [row for chunk in map_ray(rows, chunks) for row in chunk]
