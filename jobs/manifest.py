"""The manifest: which images were asked for, what they are, and which job each one is.

Parts are only ever added. A later part's row for an `image_id` replaces an earlier one, so that a file that
was mended, added or asked for with another seed is seen as it is now.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from jobs import schemas
from jobs.decoder import shared as decoder
from jobs.failures import ConfigError, InputError, StoreError
from jobs.sources import Source, read_source
from jobs.spec import JobSpec, SamplePlan, job_id
from jobs.store import Store
from jobs.urls import is_web
from pgcn.settings import Settings, make_settings

PART_ROWS = 50_000
"""Rows of one part of the manifest: some kilobytes a row are in memory while it is written."""


@dataclass(frozen=True)
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

    def spec(self, location: str, ask: Ask) -> JobSpec:
        """The job that trains this image. Only for entries without a problem."""
        assert self.sha256 is not None
        return JobSpec(
            job_id=self.job_id,
            sha256=self.sha256,
            location=location,
            uri=self.uri,
            preset=ask.preset,
            settings=settings_of(self.settings),
            seed=self.seed,
            plan=ask.plan,
        )


@lru_cache(maxsize=256)
def settings_of(text: str) -> Settings:
    """The settings in a row of the manifest: rows that have the same share one object, which nobody can change."""
    return Settings.model_validate_json(text)


@dataclass(frozen=True)
class Ask:
    """What a whole run asks of each image, where its manifest row says nothing else."""

    preset: str
    overrides: Mapping[str, Any]
    seed: int
    plan: SamplePlan
    max_pixels: int

    def settings(self, source: Source) -> Settings:
        """The settings of one image. Raises `pgcn.SettingsError`."""
        return make_settings(self.preset, {**self.overrides, **source.overrides})


def plan_source(source: Source, ask: Ask, known: Entry | None) -> Entry:
    """Look at one image, and say which job it is, or why it is refused. Raises `StoreError` alone.

    An image that storage says is unchanged since `known` is not read again.
    """
    settings = ask.settings(source)
    seed = ask.seed if source.seed is None else source.seed
    facts: dict[str, Any] = dict.fromkeys(("sha256", "format", "width", "height", "note"))
    facts |= {"size_bytes": source.size_bytes, "problem": source.problem}
    if known and unchanged(source, known):
        facts = {name: getattr(known, name) for name in facts}
    elif source.problem is None:
        facts |= _look(source, ask.max_pixels)
    # What could not be read has no bytes to be named by; its name only has to be its own.
    image = facts["sha256"] or hashlib.sha256(f"unreadable {source.uri}".encode()).hexdigest()
    return Entry(
        image_id=source.image_id,
        uri=source.uri,
        job_id=job_id(image, settings, seed, ask.plan),
        version=source.version,
        seed=seed,
        settings=sys.intern(settings.model_dump_json()),
        **facts,
    )


def unchanged(source: Source, known: Entry) -> bool:
    """Whether storage says that the image is still the one in the manifest, so that it need not be read.

    What was wrong with a refused one (its permissions, the bound on pixels) may be mended without that.
    """
    same = (known.uri, known.version, known.size_bytes) == (source.uri, source.version, source.size_bytes)
    return source.version is not None and same


def _look(source: Source, max_pixels: int) -> dict[str, Any]:
    try:
        data = read_source(source.location, source.uri)
    except InputError as error:
        return {"problem": str(error)}
    except StoreError as error:
        if not is_web(source.location):
            raise
        return {"problem": str(error)}  # some page's server, which is not the storage that all images need
    facts: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    try:
        seen = decoder.look(data, source.uri, max_pixels=max_pixels)
    except InputError as error:
        return facts | {"problem": str(error)}
    return facts | {"format": seen.format, "width": seen.width, "height": seen.height, "note": seen.note}


def read_manifest(store: Store) -> dict[str, Entry]:
    """The manifest as it stands, by `image_id`. Raises `ConfigError` where a part of it is damaged."""
    entries: dict[str, Entry] = {}
    for path in sorted(store.list("manifest")):
        entries |= read_part(store, path)
    return entries


def read_part(store: Store, path: str) -> dict[str, Entry]:
    """The rows of one part of the manifest, by `image_id`. Raises `ConfigError` where it is damaged."""
    try:
        rows = schemas.rows_of(schemas.read_parquet(store.get(path)))
        return {row["image_id"]: Entry(**row | {"settings": sys.intern(row["settings"])}) for row in rows}
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException):
        raise ConfigError(
            f"{path} in {store.url} cannot be read as a part of the manifest. "
            f"`pgcn verify {store.url}` looks at the whole run, and mends it with --repair."
        ) from None


def add_to_manifest(store: Store, entries: Iterable[Entry], known: Mapping[str, Entry]) -> None:
    """Write the entries that `known` does not have as they are: a part for every so many, none where there are none."""
    new = [vars(entry) for entry in entries if known.get(entry.image_id) != entry]
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for at in range(0, len(new), PART_ROWS):
        data = schemas.parquet_bytes(schemas.table(new[at : at + PART_ROWS], schemas.MANIFEST))
        store.put(f"manifest/part-{stamp}-{hashlib.sha256(data).hexdigest()[:8]}.parquet", data)
