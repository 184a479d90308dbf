"""The record of earlier builds: pages that are still right are kept, so that a growing gallery is cheap to rebuild."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import PIL

from pgcn_jobs import layout
from pgcn_jobs.storage.store import Store


class Built(NamedTuple):
    """One job's page and pictures as they lie in the gallery: a digest of what they show, and sizes, 0 without one.

    `width` and `height` are of the thumbnail, the others of the pictures that comparisons show.
    """

    digest: str
    width: int
    height: int
    original_width: int = 0
    original_height: int = 0
    strip_width: int = 0
    strip_height: int = 0


class BuiltJob(NamedTuple):
    """One job's page as it now lies in the gallery, in `jobs` or `edits`; not `whole` where artifacts were missing."""

    job_id: str
    folder: str
    built: Built
    whole: bool

    @property
    def page(self) -> str:
        """Its page's object."""
        return f"gallery/{self.folder}/{self.job_id}.html"

    @property
    def thumb(self) -> str:
        """Its thumbnail's object, where it has one."""
        return f"gallery/{'thumbs' if self.folder == 'jobs' else self.folder}/{self.job_id}.webp"

    @property
    def original(self) -> str:
        """The original's object, where the job is in a comparison."""
        return f"gallery/originals/{self.job_id}.webp"

    @property
    def strip(self) -> str:
        """The object of samples below each other, where the job is in a comparison."""
        return f"gallery/strips/{self.job_id}.webp"

    @property
    def paths(self) -> list[str]:
        """Its objects."""
        pictures = {
            self.thumb: self.built.width,
            self.original: self.built.original_width,
            self.strip: self.built.strip_width,
        }
        return [self.page, *(path for path, width in pictures.items() if width)]


class Record(NamedTuple):
    """The objects that builds have written: pages and thumbnails by job_id, and the objects that show many jobs.

    `lists` of None: there is a record and it does not say, so that every object with such a name may be ours.
    """

    jobs: dict[str, Built]
    lists: frozenset[str] | None

    def wrote(self, path: str) -> bool:
        """True if an earlier build has written this object, which may then be replaced or removed."""
        if layout.JOB_PAGE.fullmatch(path):
            return True
        return layout.LIST_PAGE.fullmatch(path) is not None and (self.lists is None or path in self.lists)


def read_built(store: Store) -> Record:
    """The record of earlier builds; empty if there was none."""
    try:
        data = store.get(layout.GALLERY_BUILT)
    except FileNotFoundError:
        return Record({}, frozenset())
    try:
        record = json.loads(data)
        jobs = {job_id: Built(str(d), *map(int, sizes)) for job_id, (d, *sizes) in record["jobs"].items()}
        return Record(jobs, frozenset(map(str, record["lists"])))
    except (ValueError, TypeError, KeyError, AttributeError):
        return Record({}, None)


def built_bytes(record: Record) -> bytes:
    """The record for the next build."""
    lists = None if record.lists is None else sorted(record.lists)
    return json.dumps({"jobs": dict(sorted(record.jobs.items())), "lists": lists}, separators=(",", ":")).encode()


def forget(store: Store) -> None:
    """Let the next build write every page anew; what earlier ones have written is still known."""
    record = read_built(store)
    if record.jobs:
        store.put(layout.GALLERY_BUILT, built_bytes(Record({}, record.lists)))


def digest(shown: Any) -> str:
    """Name what a page shows, and the code that draws it. An attempt's artifacts never change, so its id is enough."""
    text = json.dumps([_made_with(), shown], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@cache
def _made_with() -> str:
    """A digest of this package's code and templates, and of the library that encodes the images."""
    seen = hashlib.sha256(PIL.__version__.encode())
    for folder in ("gallery", "gallery/views", "gallery/templates"):
        files = (f for f in resources.files("pgcn_cluster").joinpath(folder).iterdir() if f.is_file())
        for file in sorted(files, key=lambda f: f.name):
            seen.update(file.name.encode() + b"\0" + file.read_bytes())
    return seen.hexdigest()
