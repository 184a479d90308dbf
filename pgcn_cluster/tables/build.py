"""Builds `tables/` from the manifests, commits and failures, at any moment of a run.

Tables hold the content of the records in the manifest's order, in a part or several for each slice of the manifest. A
build writes only the parts of slices whose records have changed. Slices are built locally or as Ray tasks, which copy
images and metrics, nearly all of the bytes, from the attempts: memory of the driver holds names of rows and records.

Two builds from the same records write the same parts, so tables can be deleted and rebuilt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from pgcn_cluster.ray_cluster.parallel_map import Spread, map_local
from pgcn_cluster.tables.build_slice import build_slice
from pgcn_cluster.tables.parquet_writer import write_part
from pgcn_cluster.tables.parts_record import SliceParts, read_parts, write_parts
from pgcn_cluster.tables.slices import ManifestSlices, RecordSlice, list_records
from pgcn_jobs import layout
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.edit_manifest import FOLDER as EDITS
from pgcn_jobs.run_folder.hugging_face import write_card
from pgcn_jobs.storage.store import Store

EMPTY = "empty"
"""The record's name for the parts without rows, of tables that have no other part."""


@dataclass
class BuiltTables:
    """Result of a build: the number of rows of each table, and sentences about damaged records."""

    rows: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def build_tables(store: Store, spread: Spread = map_local, *, anew: bool = False) -> BuiltTables:
    """Build all tables; `anew`: also parts that are current, as far as the last build's record says.

    A damaged record is left out and named in `problems`; its job counts as not done. Only parts are replaced or
    removed. Raises `ConfigError` if a manifest is damaged.
    """
    listed = store.list("tables")
    earlier = {} if anew else read_parts(store)
    records = list_records(store)
    manifests = [ManifestSlices(store, kind, records) for kind in (schemas.TRAINING, schemas.EDIT)]
    digests = [dict(slices) for slices in manifests]
    kept = {
        number: earlier[number]
        for number, digest in (item for each in digests for item in each.items())
        if number in earlier and earlier[number].digest == digest and earlier[number].is_there(listed)
    }
    changed = [[number for number in each if number not in kept] for each in digests]
    recorded = earlier
    if kept != {number: parts for number, parts in earlier.items() if number != EMPTY}:
        # An aborted build must leave no record of parts that it has replaced.
        write_parts(store, kept)
        recorded = kept
    found = BuiltTables()
    built = dict(kept)
    digest_of = {number: digest for each in digests for number, digest in each.items()}
    for slice_ in spread(partial(build_slice, store), _load(manifests, changed)):
        for job, name in slice_.damaged:
            found.problems.append(f"job {job} ({name}): its commit or what it names is damaged")
        # A damaged record may be whole again with the same size.
        digest = "" if slice_.damaged else digest_of[slice_.number]
        built[slice_.number] = SliceParts(digest, slice_.rows, slice_.parts)
    built[EMPTY] = _write_empty(store, built.values(), earlier.get(EMPTY), listed)
    _complete(store, built, listed)
    if built != recorded:
        write_parts(store, built)
    write_card(store)
    found.rows = {name: sum(parts.rows.get(name, 0) for parts in built.values()) for name in schemas.TABLES}
    return found


def _load(manifests: list[ManifestSlices], changed: list[list[str]]) -> Iterator[RecordSlice]:
    """The content of changed slices, one after another: not all are in memory."""
    for slices, numbers in zip(manifests, changed, strict=True):
        yield from map(slices.load, numbers)


def _write_empty(
    store: Store, built: Iterable[SliceParts], earlier: SliceParts | None, listed: dict[str, int]
) -> SliceParts:
    """Write a part without rows for each table that has no part: readers need its columns."""
    filled = {path.split("/")[1] for parts in built for path in parts.parts}
    empty = {}
    for name in sorted(schemas.TABLES.keys() - filled):
        path = layout.table_part(name, f"{0:05d}")
        size = None if earlier is None else earlier.parts.get(path)
        if size is None or listed.get(path) != size:
            size = write_part(store, path, schemas.TABLES[name].empty_table())
        empty[path] = size
    return SliceParts("", {}, empty)


def _complete(store: Store, built: dict[str, SliceParts], listed: dict[str, int]) -> None:
    """Remove the parts of earlier builds that this one has not written or kept."""
    current = {path for parts in built.values() for path in parts.parts}
    tables = {f"tables/{name}" for name in schemas.TABLES}
    old = [path for path in layout.matching(layout.TABLE_PART, listed) if path.rpartition("/")[0] in tables]
    store.delete([path for path in old if path not in current])


def is_current(store: Store, records: bytes) -> bool:
    """True if tables and gallery were built from these `records`, a fingerprint of `records_now`."""
    try:
        return store.get(layout.TABLES_BUILT) == records and store.exists("gallery/index.html")
    except FileNotFoundError:
        return False


def mark_current(store: Store, records: bytes) -> None:
    """Record that tables and gallery were built from these `records`."""
    store.put(layout.TABLES_BUILT, records)


def records_now(store: Store) -> bytes:
    """A fingerprint of the records that tables are built from: names and sizes of manifest parts, commits, failures."""
    listed = {
        folder: {path: size for path, size in store.list(folder).items() if layout.is_ours(path)}
        for folder in ("manifest", EDITS, "commits", "failures")
    }
    return json.dumps({"records": hashlib.sha256(json.dumps(listed).encode()).hexdigest()}).encode()
