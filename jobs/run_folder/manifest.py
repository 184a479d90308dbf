"""The manifest: which images were asked for, what they are, and which job each one is.

Parts are only ever added. A later part's row for an `image_id` replaces an earlier one, so that a file that
was mended, added or asked for with another seed is seen as it is now.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa

from jobs.common.clock import stamp
from jobs.common.failures import ConfigError, InputError, StoreError
from jobs.images.decoder import shared as decoder
from jobs.inputs.discover import Source, read_source
from jobs.inputs.loading import Grid, holes_of, load_mask
from jobs.run_folder import schemas
from jobs.spec import JobSpec, MaskRef, SamplePlan, job_id, pyramid_id
from jobs.storage.store import Store
from jobs.storage.urls import is_web
from pgcn.imaging.scales import thin_problem
from pgcn.settings import Settings, make_settings

T = TypeVar("T")

PART_ROWS = 50_000
"""Rows of one part of the manifest: some kilobytes a row are in memory while it is written."""


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

    @property
    def pyramid(self) -> str:
        """The name of the pyramid that its job trains, whoever else trains it."""
        return pyramid_id(self.sha256 or "", settings_of(self.settings), self.seed, self.holes)

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
            settings=settings_of(self.settings),
            seed=self.seed,
            plan=ask.plan,
            holes=holes,
        )


@lru_cache(maxsize=256)
def settings_of(text: str) -> Settings:
    """The settings in a row of the manifest: rows that have the same share one object, which nobody can change."""
    return Settings.model_validate_json(text)


@dataclass(frozen=True)
class RunDefaults:
    """What a whole run asks of each image, where its manifest row says nothing else."""

    preset: str
    overrides: Mapping[str, Any]
    seed: int
    plan: SamplePlan
    max_pixels: int

    def settings(self, source: Source) -> Settings:
        """The settings of one image. Raises `pgcn.SettingsError`."""
        return make_settings(self.preset, {**self.overrides, **source.overrides})


def plan_source(source: Source, ask: RunDefaults, known: Entry | None) -> Entry:
    """Look at one image, and say which job it is, or why it is refused. Raises `StoreError` alone.

    An image that storage says is unchanged since `known` is not read again.
    """
    settings = ask.settings(source)
    seed = ask.seed if source.seed is None else source.seed
    facts: dict[str, Any] = dict.fromkeys(("sha256", "format", "width", "height", "note", "holes"))
    facts |= {"size_bytes": source.size_bytes, "problem": source.problem or (source.holes and source.holes.problem)}
    text = sys.intern(settings.model_dump_json())
    # What an image was refused for may be the settings, and those may be others now.
    same = known is not None and known.settings == text
    kept = known is not None and unchanged(source, known) and (same or known.problem is None)
    if known and kept:
        facts = {name: getattr(known, name) for name in facts}
    elif facts["problem"] is None:
        facts |= _look(source, ask.max_pixels)
    if facts["problem"] is None and facts["height"] and not (kept and same):
        problem = thin_problem(facts["height"], facts["width"], settings)
        facts["problem"] = problem and f"{source.uri} {problem}"
    # What could not be read has no bytes to be named by; its name only has to be its own.
    image = facts["sha256"] or hashlib.sha256(f"unreadable {source.uri}".encode()).hexdigest()
    return Entry(
        image_id=source.image_id,
        uri=source.uri,
        job_id=job_id(image, settings, seed, ask.plan, facts["holes"] or _unreadable_holes(source)),
        version=source.stamp,
        seed=seed,
        settings=text,
        holes_uri=source.holes_uri,
        **facts,
    )


def _unreadable_holes(source: Source) -> str | None:
    """A name of their own for holes that could not be read, so that what they are refused for is not the image's."""
    return None if source.holes is None else f"unreadable {source.holes.uri}"


def unchanged(source: Source, known: Entry) -> bool:
    """Whether storage says that the image is still the one in the manifest, so that it need not be read.

    What was wrong with a refused one (its permissions, the bound on pixels) may be mended without that.
    """
    before = known.uri, known.version, known.size_bytes, known.holes_uri
    return source.stamp is not None and before == (source.uri, source.stamp, source.size_bytes, source.holes_uri)


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
        facts |= {"format": seen.format, "width": seen.width, "height": seen.height, "note": seen.note}
        if source.holes is not None:
            grid = Grid((seen.height, seen.width), seen.turn)
            mask = load_mask(source.holes.location, source.holes.uri, grid, max_pixels)
            facts["holes"] = holes_of(mask.mask, grid.size)[1]
            if mask.note:
                facts["note"] = f"{seen.note}; mask: {mask.note}" if seen.note else f"mask: {mask.note}"
    except InputError as error:
        return facts | {"problem": str(error)}
    return facts


def read_manifest(store: Store) -> dict[str, Entry]:
    """The manifest as it stands, by `image_id`. Raises `ConfigError` where a part of it is damaged."""
    entries: dict[str, Entry] = {}
    for path in sorted(store.list("manifest")):
        entries |= read_part(store, path)
    return entries


def read_part(store: Store, path: str) -> dict[str, Entry]:
    """The rows of one part of the manifest, by `image_id`. Raises `ConfigError` where it is damaged."""

    def entry(row: dict[str, Any]) -> Entry:
        return Entry(**row | {"settings": sys.intern(row["settings"])})

    return {each.image_id: each for each in read_rows(store, path, entry)}


def read_rows(store: Store, path: str, make: Callable[[dict[str, Any]], T]) -> list[T]:
    """The rows of one part of a manifest. Raises `ConfigError` where it is damaged."""
    try:
        return [make(row) for row in schemas.rows_of(schemas.read_parquet(store.get(path)))]
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException):
        raise ConfigError(
            f"{path} in {store.url} cannot be read as a part of the manifest. "
            f"`pgcn verify {store.url}` looks at the whole run, and mends it with --repair."
        ) from None


def add_to_manifest(store: Store, entries: Iterable[Entry], known: Mapping[str, Entry]) -> None:
    """Write the entries that `known` does not have as they are: a part for every so many, none where there are none."""
    new = [entry for entry in entries if known.get(entry.image_id) != entry]
    write_parts(store, "manifest", new, schemas.MANIFEST)


def write_parts(store: Store, folder: str, entries: Sequence[object], schema: pa.Schema) -> None:
    """Write entries of a manifest as new parts of it. Their names sort by time: the last that has a row is right."""
    moment = stamp()
    for at in range(0, len(entries), PART_ROWS):
        data = schemas.parquet_bytes(schemas.table_of(entries[at : at + PART_ROWS], schema))
        store.put(f"{folder}/part-{moment}-{hashlib.sha256(data).hexdigest()[:8]}.parquet", data)
