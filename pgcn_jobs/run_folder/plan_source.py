"""The manifest's row of one image: its file is read once, and gives a job or the reason of a refusal."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from typing import Any

from pgcn.methods import method_of
from pgcn_jobs.common.codes import STORAGE_CODES, Code
from pgcn_jobs.common.failures import InputError, JobError, StoreError
from pgcn_jobs.images.convert import Reading
from pgcn_jobs.images.decoder import shared as decoder
from pgcn_jobs.inputs.discover import Source, read_source
from pgcn_jobs.inputs.loading import Grid, holes_of, load_mask, reading_of
from pgcn_jobs.inputs.parts import read_whole
from pgcn_jobs.run_folder.manifest import Entry, RunDefaults, channel_identity, part_refs
from pgcn_jobs.spec import PartRef, job_id

FACTS = ("sha256", "format", "width", "height", "note", "holes", "channels", "parts")
"""Columns that reading an image gives."""


def plan_source(source: Source, ask: RunDefaults, known: Entry | None) -> Entry:
    """Read one image, and return its row: the job, or the reason of a refusal.

    An image with the version token of its `known` row is not read again.
    """
    settings = ask.settings(source)
    seed = ask.seed if source.seed is None else source.seed
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    unread = next((one for one in source.with_others if one.problem is not None), source)
    facts |= {"size_bytes": source.size_bytes, "problem": unread.problem, "problem_code": unread.problem_code}
    text = sys.intern(settings.model_dump_json())
    # An image may have been refused for its settings, which may be others now.
    same = known is not None and (known.settings, known.method) == (text, settings.method)
    kept = known is not None and unchanged(source, known) and (same or known.problem is None)
    kept = kept and known is not None and (same or reading_of(known.parsed_settings) == reading_of(settings))
    if known and kept:
        facts = {name: getattr(known, name) for name in facts}
    elif facts["problem"] is None:
        facts |= _look(source, ask.max_pixels, reading_of(settings))
    if facts["problem"] is None and facts["height"] and not (kept and same):
        problem = method_of(settings).problem(facts["height"], facts["width"], settings)
        if problem:
            facts |= {"problem": f"{source.uri} {problem}", "problem_code": Code.IMAGE_SMALL}
    return Entry(
        image_id=source.image_id,
        uri=source.uri,
        place=source.place,
        job_id=job_id(
            _image(source, facts["sha256"]),
            settings,
            seed,
            ask.plan,
            _holes(source, facts["holes"]),
            _channels(source, facts["channels"], facts["parts"]),
        ),
        version=source.version_token,
        seed=seed,
        settings=text,
        method=settings.method,
        holes_uri=source.holes_uri,
        part_uris=source.part_names,
        **facts,
    )


def under_its_name(entry: Entry, source: Source, ask: RunDefaults) -> Entry:
    """The entry of an image that was renamed after it was read."""
    image, holes = _image(source, entry.sha256), _holes(source, entry.holes)
    channels = _channels(source, entry.channels, entry.parts)
    job = job_id(image, entry.parsed_settings, entry.seed, ask.plan, holes, channels)
    return replace(entry, image_id=source.image_id, job_id=job)


def _image(source: Source, sha256: str | None) -> str:
    """The content hash of a job's image. Unreadable files have none; hashing the URI keeps the id unique."""
    own = source.uri if source.uri.endswith(source.image_id) else f"{source.uri} {source.image_id}"
    return sha256 or hashlib.sha256(f"unreadable {own}".encode()).hexdigest()


def _holes(source: Source, digest: str | None) -> str | None:
    """The hash of its mask. Unreadable masks have none; the URI keeps the job apart from that of the image alone."""
    return digest or (None if source.holes is None else f"unreadable {source.holes.uri}")


def _channels(source: Source, channels: str | None, parts: str | None) -> str | None:
    """The part of an identity for its channels. Unreadable parts have no hashes: as with `_holes`."""
    if parts is None and source.parts:
        return f"unreadable {source.part_names}"
    return channel_identity(channels, parts)


def unchanged(source: Source, known: Entry) -> bool:
    """True if the image has the version token of its row in the manifest, so that it must not be read.

    The cause of a refusal (permissions, the limit on pixels) may disappear without a new version token; what storage
    failed to read is always read again.
    """
    before = known.place, known.uri, known.version, known.size_bytes, known.holes_uri, known.part_uris
    now = source.place, source.uri, source.version_token, source.size_bytes, source.holes_uri, source.part_names
    return source.version_token is not None and before == now and known.problem_code not in STORAGE_CODES


def _look(source: Source, max_pixels: int, reading: Reading) -> dict[str, Any]:
    try:
        data = read_source(source.location, source.uri)
    except (InputError, StoreError) as error:
        return _problem(error)
    facts: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    try:
        seen = decoder.look(data, source.uri, max_pixels=max_pixels, reading=reading)
        facts |= {"format": seen.format, "width": seen.width, "height": seen.height, "note": seen.note}
        facts |= {"channels": None if seen.channels is None else seen.described.to_json(), "holes": seen.unknown}
        unknown = seen.unknown is not None
        if source.parts:
            whole, hashes = read_whole(
                PartRef("image", source.location, source.uri, facts["sha256"]),
                part_refs(source, None),
                max_pixels,
                reading,
            )
            facts |= {"channels": whole.channels.to_json(), "parts": json.dumps(hashes, sort_keys=True)}
            facts |= {"note": whole.note, "holes": None, "width": whole.image.shape[3], "height": whole.image.shape[2]}
            unknown = whole.unknown is not None
            if whole.unknown is not None:
                facts["holes"] = holes_of(whole.unknown, (whole.image.shape[2], whole.image.shape[3]))[1]
        if source.holes is not None:
            grid = Grid((seen.height, seen.width), seen.turn)
            mask = load_mask(source.holes.location, source.holes.uri, grid, max_pixels)
            known = None
            if unknown:
                image = PartRef("image", source.location, source.uri, facts["sha256"])
                known = read_whole(image, part_refs(source, facts["parts"]), max_pixels, reading)[0].known
            facts["holes"] = holes_of(mask.mask, grid.size, known)[1]
            if mask.note:
                facts["note"] = f"{seen.note}; mask: {mask.note}" if seen.note else f"mask: {mask.note}"
    except (InputError, StoreError) as error:  # storage may fail to read the mask
        return facts | _problem(error)
    return facts


def _problem(error: JobError) -> dict[str, Any]:
    return {"problem": str(error), "problem_code": error.code}
