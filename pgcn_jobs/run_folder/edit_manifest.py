"""The table `manifest_edits`: the requested edits, and the job of each.

An edit's identity covers its pyramid, its task with all options, and the bytes of its images. It does not depend on the
run that trained the pyramid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pgcn.imaging.channels import RGB, Channels
from pgcn.methods import DEFAULT
from pgcn.tasks.task import Inputs, TaskError, find_task
from pgcn_jobs import layout
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError, InputError, StoreError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.inputs.loading import Grid, load_image, load_mask, reading_of, with_channels
from pgcn_jobs.inputs.parts import read_whole
from pgcn_jobs.inputs.source import EditSource, Source
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.manifest import Entry, part_refs, read_rows, write_parts
from pgcn_jobs.spec import EditSpec, ImageRef, PartRef, PyramidRef, edit_job_id
from pgcn_jobs.storage.store import Store

FOLDER = "manifest_edits"


@dataclass(frozen=True)
class EditEntry:
    """One row of `manifest_edits`: columns of `schemas.MANIFEST_EDITS`."""

    edit_id: str
    image_id: str
    uri: str
    task: str
    job_id: str
    pyramid: str
    pyramid_job: str | None
    pyramid_run: str | None
    target_uri: str | None
    mask_uri: str | None
    truth_uri: str | None
    sha256: list[str | None]
    version: str | None
    options: str
    problem: str | None
    dropped: bool = False
    problem_code: str | None = None
    channels: str | None = None
    parts: str | None = None
    method: str = DEFAULT  # also of rows that an older version wrote

    def spec(self, source: Source, edit: EditSource, elsewhere: Mapping[str, PyramidRef]) -> EditSpec:
        """The job of this edit. Only for entries without a problem."""
        pictures = [
            None if one is None or sha256 is None else ImageRef(location=one.location, uri=one.uri, sha256=sha256)
            for one, sha256 in zip((source, *edit.others), self.sha256, strict=True)
        ]
        image, target, mask, truth = pictures
        assert image is not None
        return EditSpec(
            job_id=self.job_id,
            edit_id=self.edit_id,
            image_id=self.image_id,
            task=self.task,
            options=json.loads(self.options),
            method=self.method,
            pyramid=elsewhere.get(self.pyramid, PyramidRef(name=self.pyramid, job_id=self.pyramid_job)),
            image=image,
            target=target,
            mask=mask,
            truth=truth,
            parts=part_refs(source, self.parts),
        )


def check_edit(source: Source, edit: EditSource) -> None:
    """Check the task, its inputs' presence and its options, without reading an image. Raises `ConfigError`."""
    try:
        task = find_task(edit.task)
        task.check_given({name: getattr(edit, name) is not None for name in ("target", "mask", "truth")})
        task.make_options(edit.options)
    except TaskError as error:
        raise ConfigError(
            f"{terminal_safe(edit.edit_id or source.image_id)} cannot be made. {error}", code=Code.TASK_INVALID
        ) from None


def plan_edit(
    source: Source,
    edit: EditSource,
    image: Entry,
    found: PyramidRef | None,
    known: EditEntry | None,
    max_pixels: int,
) -> EditEntry:
    """Read an edit's images, and return its row: the job, or the reason of a refusal.

    `image` is the row of its image, `found` its pyramid if that need not be trained. Images that storage reports as
    unchanged since `known` are not read again.
    """
    task = find_task(edit.task)
    options = task.make_options({"seed": image.seed, **edit.options}).model_dump(mode="json")
    assert edit.edit_id is not None
    uris = [None if one is None else one.uri for one in edit.others]
    version = _version(edit, image)
    text = schemas.json_text(options)
    if known is not None and edit_unchanged(edit, image, known) and (known.uri, known.options) == (image.uri, text):
        seen = Seen(known.sha256[1:], known.channels)
        problem, code = image.problem, image.problem_code
    else:
        seen, problem, code = _look(source, edit, image, max_pixels)
    # A refused image has no pyramid; its job id keeps the edit's identity unique.
    pyramid = image.pyramid if image.problem is None else image.job_id
    own = PyramidRef(name=pyramid, job_id=image.job_id)
    at = found if found is not None and image.problem is None else own
    hashes = [one or (uri and _unreadable(uri)) for one, uri in zip(seen.hashes, uris, strict=True)]
    return EditEntry(
        edit_id=edit.edit_id,
        image_id=source.image_id,
        uri=image.uri,
        task=edit.task,
        job_id=edit_job_id(pyramid, edit.task, task.identifying(options), hashes, seen.channels, image.method),
        method=image.method,
        pyramid=pyramid,
        pyramid_job=at.job_id,
        pyramid_run=at.run,
        target_uri=uris[0],
        mask_uri=uris[1],
        truth_uri=uris[2],
        sha256=[image.sha256, *seen.hashes],
        channels=seen.channels,
        parts=image.parts,
        version=version,
        options=text,
        problem=problem,
        problem_code=code,
    )


def _version(edit: EditSource, image: Entry) -> str | None:
    """The version tokens of all images that an edit reads, as JSON; None if one is missing."""
    if image.version is None or any(one is not None and one.file_token is None for one in edit.others):
        return None
    return json.dumps([image.version, *(None if one is None else one.file_token for one in edit.others)])


def edit_unchanged(edit: EditSource, image: Entry, known: EditEntry | None) -> bool:
    """True if all version tokens of the edit's images equal those of `known`, so that no image must be read."""
    version = _version(edit, image)
    return (
        known is not None
        and version is not None
        and known.problem is None
        and (known.version, known.sha256[0]) == (version, image.sha256)
    )


def _unreadable(uri: str) -> str:
    return hashlib.sha256(f"unreadable {uri}".encode()).hexdigest()


class Seen(NamedTuple):
    """Hashes of target, mask and truth, and what target and truth were read as: see `EditEntry.channels`."""

    hashes: list[str | None]
    channels: str | None = None


def _look(source: Source, edit: EditSource, image: Entry, max_pixels: int) -> tuple[Seen, str | None, str | None]:
    """The edit's other images; the problem of these images, or of the task on them, and its code."""
    seen = Seen([None, None, None])
    if image.problem is not None:
        return seen, image.problem, image.problem_code
    unreadable = next((one for one in edit.others if one is not None and one.problem), None)
    if unreadable is not None:
        return seen, unreadable.problem, unreadable.problem_code
    try:
        inputs, seen = _read(source, edit, image, max_pixels)
        task = find_task(edit.task)
        task.check(inputs, task.make_options(edit.options))
    except (InputError, StoreError) as error:
        return seen, str(error), error.code
    except TaskError as error:
        return seen, str(error), Code.TASK_INVALID
    return seen, None, None


def _read(source: Source, edit: EditSource, image: Entry, max_pixels: int) -> tuple[Inputs, Seen]:
    reading = reading_of(image.parsed_settings)
    channels = RGB if image.channels is None else Channels.from_json(image.channels)
    target, truth = (
        None if one is None else load_image(one.location, one.uri, max_pixels, reading=reading)
        for one in (edit.target, edit.truth)
    )
    hashes = [None if one is None else one.sha256 for one in (target, truth)]
    described = [None if one is None else one.described for one in (target, truth)]
    target, truth = (
        None if one is None or named is None else with_channels(one, channels, named.uri)
        for one, named in ((target, edit.target), (truth, edit.truth))
    )
    own: Tensor
    unknown: Tensor | None = None
    if edit.mask is None and target is None:
        assert image.height is not None
        assert image.width is not None
        own = torch.empty(1, channels.count, image.height, image.width, device="meta")  # the checks use its size only
        if image.holes is not None and image.holes_uri is None:
            unknown = torch.empty(1, 1, image.height, image.width, device="meta")
        grid = None
    else:
        # A task may compare image and target, and a mask has the orientation of the image that it belongs to.
        ref = PartRef("image", source.location, source.uri, None)
        whole, _ = read_whole(ref, part_refs(source, None), max_pixels, reading)
        own, grid, unknown = whole.image, Grid.of(target or whole), (target or whole).unknown
    mask = None
    if edit.mask is not None and grid is not None:
        mask = load_mask(edit.mask.location, edit.mask.uri, grid, max_pixels)
    hashes.insert(1, None if mask is None else mask.sha256)
    text = json.dumps(described) if any(described) else None
    inputs = Inputs(own, target and target.image, mask and mask.mask, truth and truth.image, unknown)
    return inputs, Seen(hashes, text)


def read_edits(store: Store) -> dict[str, EditEntry]:
    """All requested edits of the run, by `edit_id`. Raises `ConfigError` if a part is damaged."""
    entries: dict[str, EditEntry] = {}
    for path in layout.matching(layout.EDITS_PART, store.list(FOLDER)):
        entries |= read_edit_part(store, path)
    return {edit_id: entry for edit_id, entry in entries.items() if not entry.dropped}


def superseded(known: Mapping[str, EditEntry], asked: Iterable[EditEntry], done: Collection[str]) -> list[EditEntry]:
    """Rows that drop the edits of an earlier command that this command replaces with other masks or options.

    Only edits with generated names and without a result are dropped: they would wait, or count as failed, for ever.
    """
    now = {entry.edit_id: entry for entry in asked}
    again = {(entry.image_id, entry.task) for entry in now.values()}
    return [
        replace(entry, dropped=True)
        for entry in known.values()
        if entry.edit_id not in now
        and (entry.image_id, entry.task) in again
        and entry.edit_id.startswith(f"{entry.image_id}:{entry.task}")
        and entry.job_id not in done
    ]


def read_edit_part(store: Store, path: str) -> dict[str, EditEntry]:
    """The rows of one part, by `edit_id`. Raises `ConfigError` if it is damaged."""
    return {entry.edit_id: entry for entry in read_rows(store, path, _entry)}


def _entry(row: dict[str, Any]) -> EditEntry:
    return EditEntry(**row | {"method": row.get("method") or DEFAULT})


def add_edits(store: Store, entries: Iterable[EditEntry], known: Mapping[str, EditEntry]) -> None:
    """Write the entries that are new or differ from those in `known`."""
    new = [entry for entry in entries if known.get(entry.edit_id) != entry]
    write_parts(store, FOLDER, new, schemas.MANIFEST_EDITS)
