"""Names of images in a run that has images already: a name stays with its image.

Public names may be alike: `2023/photos/cat.png` and `2024/photos/cat.png` are both `cat.png` of `photos`. The manifest
therefore has a hash of each image's place, and what lies elsewhere and has other bytes gets a name of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pgcn_jobs.inputs.source import Source, apart, names_apart, plain_name, renamed
from pgcn_jobs.run_folder.edit_manifest import EditEntry
from pgcn_jobs.run_folder.manifest import Entry


def for_methods(sources: Sequence[Source], methods: Sequence[str]) -> list[Source]:
    """The sources once for each of several methods, under the names "cat.jpg@METHOD"; with one method, as they are.

    A source with a method of its own has that one alone.
    """
    if len(methods) == 1:
        return list(sources)

    def own(source: Source, method: str) -> Source:
        return replace(renamed(source, f"{source.image_id}@{method}"), method=method)

    return [
        each
        for source in sources
        for each in ([own(source, method) for method in methods] if source.method is None else [source])
    ]


def named(sources: Sequence[Source], known: Mapping[str, Entry]) -> list[Source]:
    """The sources under the names that the run has for them, or under free ones: no name twice.

    A source under the name of an image from elsewhere whose public name is the same may be that image, moved: it
    keeps the name until its bytes are known, and `settled` then decides.
    """
    names: list[str | None] = [_own_name(source, known) for source in sources]
    taken = {name for name in names if name is not None}
    whole = []
    for source, own in zip(sources, names, strict=True):
        if own is not None:
            whole.append(renamed(source, own))
            continue
        free = source
        if source.image_id in taken or not _may_be(source, known.get(source.image_id)):
            free = next(other for other in names_apart(source) if other.image_id not in taken)
        taken.add(free.image_id)
        whole.append(free)
    return whole


def _own_name(source: Source, known: Mapping[str, Entry]) -> str | None:
    """The name under which the run has this very place, if it has it."""
    candidates = [*(other.image_id for other in names_apart(source)), source.image_id, plain_name(source)]
    for name in candidates:
        if name is not None and name in known and known[name].place == source.place:
            return name
    return None


def _may_be(source: Source, other: Entry | None) -> bool:
    """True where a source from another location may be the image that has its name in the run."""
    if other is None:
        return True
    if other.uri != source.uri:
        return False
    if other.place is not None:
        return True
    # A row of an older version, which did not write places. What was refused, for its mask perhaps, has made nothing
    # that would need its name.
    return other.holes_uri == source.holes_uri or other.problem is not None


def settled(source: Source, entry: Entry, other: Entry | None) -> Source:
    """The source under its name where that is free, its own, or that of an image with the same bytes; else apart.

    `entry` is what was seen of it now, `other` the run's row of that name.
    """
    if other is None or other.place is None or other.place == source.place:
        return source
    mine, theirs = (entry.sha256, entry.holes, entry.parts), (other.sha256, other.holes, other.parts)
    same = entry.sha256 is not None and mine == theirs
    refused = other.problem is not None and other.place.split("-")[0] == source.place.split("-")[0]
    return source if same or refused else apart(source)


def with_own_edits(sources: Iterable[Source], known: Mapping[str, EditEntry]) -> list[Source]:
    """The sources with edits under names that the run has for no other image or task."""

    def own(source: Source, edit_id: str | None, task: str) -> str | None:
        other = known.get(edit_id or "")
        if other is None or (other.image_id, other.task) == (source.image_id, task):
            return edit_id
        digest = hashlib.sha256(f"{source.image_id}\n{task}".encode(errors="surrogatepass")).hexdigest()
        return f"{edit_id}-{digest[:6]}"

    return [
        replace(
            source, edits=tuple(replace(edit, edit_id=own(source, edit.edit_id, edit.task)) for edit in source.edits)
        )
        if source.edits
        else source
        for source in sources
    ]
