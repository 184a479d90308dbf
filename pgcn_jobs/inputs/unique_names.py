"""Each image once, and unique names for images and edits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.found import Found
from pgcn_jobs.inputs.source import EditSource, Source, fingerprint, merged, name_of, names_apart


def once_each(found: Iterable[Found]) -> list[Found]:
    """Each location once; in a list's rows, each location with each seed and settings once."""
    by_location: dict[str, list[Found]] = {}
    for each in found:
        by_location.setdefault(each.source.location, []).append(each)
    kept: list[Found] = []
    for same in by_location.values():
        rows: dict[tuple[str, str], Found] = {}
        for each in same:
            if each.listed:
                key = fingerprint(each.source), each.source.image_id
                before = rows.get(key)
                rows[key] = each if before is None else replace(each, source=merged(before.source, each.source))
        # Of several folders, one inside the other, the outer one's longer path tells more.
        kept += rows.values() or [max(same, key=lambda each: (len(each.source.image_id), each.source.image_id))]
    return kept


def with_unique_ids(found: Iterable[Found]) -> list[Source]:
    """The sources sorted by `image_id`, made unique. Ids that the user chose stay as they are."""
    sources: dict[str, Source] = {}
    for each in sorted(found, key=lambda each: (not each.given, each.source.image_id, fingerprint(each.source))):
        source = each.source
        if source.image_id in sources:
            if each.given:
                raise ConfigError(
                    f"The image_id {source.image_id!r} is given to two images: choose another for one.",
                    code=Code.IMAGES_DUPLICATE,
                )
            source = next(other for other in names_apart(source) if other.image_id not in sources)
        sources[source.image_id] = source
    return [sources[image_id] for image_id in sorted(sources)]


def with_named_edits(sources: Sequence[Source]) -> list[Source]:
    """The sources with names for all edits, each edit once. Raises `ConfigError` where two are given one name."""
    seen: dict[str, tuple[str, EditSource]] = {}
    whole = []
    for source in sources:
        edits = []
        for edit in source.edits:
            # Six digits are enough to be read, and now and then too few.
            for name in [edit.edit_id] if edit.edit_id else [name_of(source, edit), name_of(source, edit, 64)]:
                one = source.image_id, replace(edit, edit_id=name)
                if seen.setdefault(name, one) is one:
                    edits.append(one[1])
                    break
                if seen[name] == one:
                    break
            else:
                raise ConfigError(
                    f"The edit_id {edit.edit_id!r} is given to two edits: choose another for one.",
                    code=Code.IMAGES_DUPLICATE,
                )
        whole.append(replace(source, edits=tuple(edits)))
    return whole
