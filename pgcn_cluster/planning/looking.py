"""The images of a command being looked at, in the background: read, hashed, decoded, and named.

An image is looked at before its edits, since its bytes may change its name, and with it those of its edits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from pgcn_cluster.planning.naming import settled, with_own_edits
from pgcn_cluster.planning.request import Prepared
from pgcn_cluster.planning.sort_jobs import EditRow, Rows
from pgcn_jobs.common.background import Background, Call
from pgcn_jobs.inputs.source import EditSource, Source, without_edits
from pgcn_jobs.run_folder.edit_manifest import EditEntry, edit_unchanged, plan_edit
from pgcn_jobs.run_folder.manifest import Entry, RunDefaults
from pgcn_jobs.run_folder.plan_source import plan_source, unchanged, under_its_name
from pgcn_jobs.spec import PyramidRef
from pgcn_jobs.storage.urls import is_web

CHUNK = 16
"""Most images of one call. Web servers may be slow, so that each of their images has a call of its own."""

CALLS = 64
"""Least number of calls for a large number of images."""


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

    @property
    def unchanged(self) -> bool:
        """True where no image must be read for it."""
        return edit_unchanged(self.edit, self.image, self.known)


class Looked(NamedTuple):
    """An image with its edits, and their rows. `place`: its place among the images of the command."""

    place: int
    source: Source
    entry: Entry
    edits: list[EditRow]


class Looking:
    """Looks at all images of a command; those that storage calls unchanged are not read, except with `retry`.

    `background` is called when there is something to read.
    """

    def __init__(self, prepared: Prepared, background: Callable[[], Background], *, retry: bool) -> None:
        self._prepared = prepared
        self._known_edits = {} if retry else prepared.known_edits
        self._old: list[tuple[int, ImageItem]] = []
        self._new: list[tuple[int, ImageItem]] = []
        self._with_edits: dict[int, tuple[Source, Entry]] = {}
        for place, source in enumerate(prepared.sources):
            entry = prepared.known.get(source.image_id)
            unread = retry or entry is None or not unchanged(source, entry)
            item = ImageItem(without_edits(source), None if unread else entry)
            (self._new if unread else self._old).append((place, item))
        self._make = background
        self._background: Background | None = None

    @property
    def open(self) -> bool:
        """True until all images that `begin` did not return are looked at."""
        return self._background is not None and self._background.open

    def begin(self) -> list[Looked]:
        """Begin to read images; returns those that need not be read."""
        chunks: list[list[tuple[int, ImageItem]]] = []
        size = max(1, min(CHUNK, len(self._new) // CALLS))
        for one in self._new:
            alone = not chunks or len(chunks[-1]) >= size or _web(one[1]) or _web(chunks[-1][-1][1])
            chunks.append([one]) if alone else chunks[-1].append(one)
        self._new = []
        for chunk in chunks:
            items = [item for _, item in chunk]
            self._begin(tuple(place for place, _ in chunk), partial(_image_rows, items, self._prepared.ask))
        old, self._old = self._old, []
        return self._named([place for place, _ in old], _image_rows([item for _, item in old], self._prepared.ask))

    def looked(self, seconds: float) -> list[Looked]:
        """Images that were looked at, with their edits; waits for at most `seconds`.

        Raises what storage or the cluster raises.
        """
        found: list[Looked] = []
        if self._background is None:
            return found
        for key, rows in self._background.results(seconds):
            if isinstance(key, int):
                source, entry = self._with_edits.pop(key)
                found.append(Looked(key, source, entry, _edit_rows(source, rows)))
            else:
                assert isinstance(key, tuple)
                found += self._named(key, rows)
        return found

    def close(self) -> None:
        """Look at no further image."""
        if self._background is not None:
            self._background.close()

    def _begin(self, key: Hashable, call: Call) -> None:
        if self._background is None:
            self._background = self._make()
        self._background.begin(key, call)

    def _named(self, places: Sequence[int], entries: Iterable[Entry]) -> list[Looked]:
        """Images under their names, which may change when their bytes are known; those with edits to read follow."""
        found = []
        for place, seen in zip(places, entries, strict=True):
            source = self._prepared.sources[place]
            own = settled(source, seen, self._prepared.known.get(source.image_id))
            entry = seen if own is source else under_its_name(seen, own, self._prepared.ask)
            (own,) = with_own_edits([own], self._prepared.known_edits)
            if (rows := self._edits_now(place, own, entry)) is not None:
                found.append(Looked(place, own, entry, _edit_rows(own, rows)))
        return found

    def _edits_now(self, place: int, source: Source, entry: Entry) -> list[EditEntry] | None:
        """The rows of an image's edits; None where images of theirs are read first."""
        items = [
            EditItem(plain, edit, entry, self._known_edits.get(edit.edit_id or ""), elsewhere)
            for plain in [without_edits(source)]
            for elsewhere in [self._prepared.elsewhere.get(entry.pyramid) if source.edits else None]
            for edit in source.edits
        ]
        if all(item.unchanged for item in items):
            return _edit_entries(items, self._prepared.ask.max_pixels)
        self._with_edits[place] = source, entry
        self._begin(place, partial(_edit_entries, items, self._prepared.ask.max_pixels))
        return None


def rows_of(looked: Iterable[Looked]) -> Rows:
    """Some images and their edits, in the order of the command."""
    ordered = sorted(looked, key=lambda one: one.place)
    images = {one.source.image_id: (one.source, one.entry) for one in ordered}
    return Rows(images, [row for one in ordered for row in one.edits])


def _web(item: ImageItem) -> bool:
    return any(is_web(file.location) for file in item.source.with_others)


def _image_rows(items: Sequence[ImageItem], ask: RunDefaults) -> list[Entry]:
    return [plan_source(item.source, ask, item.known) for item in items]


def _edit_entries(items: Sequence[EditItem], max_pixels: int) -> list[EditEntry]:
    return [plan_edit(item.source, item.edit, item.image, item.found, item.known, max_pixels) for item in items]


def _edit_rows(source: Source, entries: Sequence[EditEntry]) -> list[EditRow]:
    plain = without_edits(source)
    return [(plain, edit, entry) for edit, entry in zip(source.edits, entries, strict=True)]
