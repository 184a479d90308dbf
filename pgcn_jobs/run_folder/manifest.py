"""The manifest: the requested images, their properties, and the job of each.

Parts are only added. A later part's row for an `image_id` replaces an earlier one, for example after a repair of the
file or a request with another seed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa

from pgcn.imaging.channels import Channels, ChannelsError
from pgcn.method_settings import MethodSettings, override
from pgcn.methods import DEFAULT, MethodError, make_settings, settings_from_json
from pgcn_jobs import layout
from pgcn_jobs.common.clock import Timestamps
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.discover import Source
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.spec import JobSpec, MaskRef, PartRef, SamplePlan, pyramid_id
from pgcn_jobs.storage.store import Store

T = TypeVar("T")

PART_ROWS = 50_000
"""Rows of one part of the manifest."""

ROWS_AT_ONCE = 2000
"""Rows that are converted at once: a row takes some kilobytes of memory meanwhile."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the manifest: columns of `schemas.MANIFEST`."""

    image_id: str
    uri: str
    job_id: str
    sha256: str | None
    size_bytes: int | None
    version: str | None
    format: str | None
    width: int | None
    height: int | None
    seed: int
    settings: str
    note: str | None
    problem: str | None
    holes: str | None = None
    holes_uri: str | None = None
    problem_code: str | None = None
    place: str | None = None  # None in rows that an older version wrote
    channels: str | None = None  # JSON; None for RGB of 8 bits
    parts: str | None = None  # JSON: hashes of the files of further channels, by name
    part_uris: str | None = None
    method: str = DEFAULT  # also of rows that an older version wrote

    @property
    def parsed_settings(self) -> MethodSettings:
        """The settings of its job."""
        return settings_of(self.settings, self.method)

    def __setstate__(self, state: Sequence[Any]) -> None:
        """A row from another process; rows share equal texts of settings, which take more than all other columns."""
        for name, value in zip(self.__slots__, state, strict=True):
            object.__setattr__(self, name, sys.intern(value) if name == "settings" else value)

    @property
    def pyramid(self) -> str:
        """The identity of the pyramid that its job trains."""
        channels = channel_identity(self.channels, self.parts)
        return pyramid_id(self.sha256 or "", self.parsed_settings, self.seed, self.holes, channels)

    def spec(self, source: Source, ask: RunDefaults) -> JobSpec:
        """The job that trains this image. Only for entries without a problem."""
        assert self.sha256 is not None
        holes = None
        if source.holes is not None:
            assert self.holes is not None
            holes = MaskRef(location=source.holes.location, uri=source.holes.uri, digest=self.holes)
        return JobSpec(
            job_id=self.job_id,
            sha256=self.sha256,
            location=source.location,
            uri=self.uri,
            preset=ask.preset,
            settings=self.parsed_settings,
            seed=self.seed,
            plan=ask.plan,
            holes=holes,
            parts=part_refs(source, self.parts),
        )


@lru_cache(maxsize=256)
def settings_of(text: str, method: str = DEFAULT) -> MethodSettings:
    """The settings in a row of the manifest; rows with equal settings share one immutable object.

    Settings that only a later version knows are left out. Raises `ConfigError` for invalid settings, and for a method
    that is not installed.
    """
    try:
        return settings_from_json(method, text)
    except MethodError as error:
        raise ConfigError(f"The manifest has images of another method. {error}", code=Code.METHOD_UNKNOWN) from None
    except ValueError:
        raise ConfigError(
            f"The manifest has settings that this version of the program cannot read: {text}.", code=Code.RUN_DAMAGED
        ) from None


def part_refs(source: Source, hashes: str | None) -> tuple[PartRef, ...]:
    """The files of an image's further channels, with their hashes in a row's column `parts`."""
    known = json.loads(hashes) if hashes else {}
    return tuple(
        PartRef(part.name, part.source.location, part.source.uri, known.get(part.name)) for part in source.parts
    )


def channel_identity(channels: str | None, parts: str | None) -> str | None:
    """The part of an identity for channels and their files; None for RGB of 8 bits in one file."""
    return channels if parts is None else f"{channels} {parts}"


@lru_cache(maxsize=256)
def channel_count(text: str | None) -> int:
    """The number of channels in a row's column `channels`. Raises `ConfigError` for text that is not valid."""
    try:
        return 3 if text is None else Channels.from_json(text).count
    except ChannelsError:
        raise ConfigError(
            f"The manifest has channels that this version of the program cannot read: {text}.", code=Code.RUN_DAMAGED
        ) from None


@dataclass(frozen=True)
class RunDefaults:
    """The defaults of a run for each image without values of its own.

    `overrides` are settings of `method`, the first one of the command; `others` has those of the other methods.
    """

    preset: str
    overrides: Mapping[str, Any]
    seed: int
    plan: SamplePlan
    max_pixels: int
    method: str = DEFAULT
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings(self, source: Source) -> MethodSettings:
        """The settings of one image. Raises `pgcn.SettingsError`."""
        method = source.method or self.method
        overrides = self.overrides if method == self.method else self.others.get(method, {})
        return override(make_settings(self.preset, overrides, method), source.overrides)


def read_manifest(store: Store) -> dict[str, Entry]:
    """The current rows of the manifest, by `image_id`. Raises `ConfigError` if a part is damaged."""
    entries: dict[str, Entry] = {}
    for path in layout.matching(layout.MANIFEST_PART, store.list("manifest")):
        entries |= read_part(store, path)
    return entries


def read_part(store: Store, path: str) -> dict[str, Entry]:
    """The rows of one part of the manifest, by `image_id`. Raises `ConfigError` if it is damaged."""

    def entry(row: dict[str, Any]) -> Entry:
        return Entry(**row | {"settings": sys.intern(row["settings"]), "method": row.get("method") or DEFAULT})

    return {each.image_id: each for each in read_rows(store, path, entry)}


def read_rows(store: Store, path: str, make: Callable[[dict[str, Any]], T]) -> list[T]:
    """The rows of one part of a manifest, without columns of another version.

    Raises `ConfigError` if it is damaged, or if an id of a job in it would lead to another place.
    """
    schema = schemas.MANIFEST if path.startswith("manifest/") else schemas.MANIFEST_EDITS
    try:
        rows = schemas.rows_of(schemas.known(schemas.read_parquet(store.get(path)), schema))
        return [make(_checked(row)) for row in rows]
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException):
        raise damaged_part(store, path) from None


def damaged_part(store: Store, path: str) -> ConfigError:
    """The error of a part of a manifest that cannot be read."""
    return ConfigError(
        f"{path} in {store.url} cannot be read as a part of the manifest. "
        f"`pgcn verify {store.url}` looks at the whole run, and mends it with --repair.",
        code=Code.RUN_DAMAGED,
    )


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """The same row. Raises `ValueError` where an id in it is none: it may be a path that leads out of the run."""
    ids = [row["job_id"], *(row[name] for name in ("pyramid", "pyramid_job") if row.get(name) is not None)]
    if not all(layout.is_job(each) for each in ids):
        raise ValueError
    return row


def add_to_manifest(store: Store, entries: Iterable[Entry], known: Mapping[str, Entry]) -> None:
    """Write the entries that are new or differ from those in `known`, in parts; no part without such entries."""
    new = [entry for entry in entries if known.get(entry.image_id) != entry]
    write_parts(store, "manifest", new, schemas.MANIFEST)


def write_parts(store: Store, folder: str, entries: Sequence[object], schema: pa.Schema) -> None:
    """Write entries of a manifest as new parts. The row in the last part by name is the valid one.

    The new names sort after all existing ones, also after those of a driver with a fast clock. Two drivers may issue
    the same timestamp: the hash of the content in the name keeps both parts, in one order for all readers.
    """
    if not entries:
        return
    timestamps = Timestamps()
    for path in filter(layout.is_ours, store.list(folder)):
        timestamps.observe(path)
    moment = timestamps.next()
    for at in range(0, len(entries), PART_ROWS):
        part = entries[at : at + PART_ROWS]
        batches = (part[start : start + ROWS_AT_ONCE] for start in range(0, len(part), ROWS_AT_ONCE))
        data = schemas.batches_bytes((schemas.table_of(batch, schema) for batch in batches), schema)
        store.put(f"{folder}/part-{moment}-{hashlib.sha256(data).hexdigest()[:8]}.parquet", data)
