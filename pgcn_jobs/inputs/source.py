"""One requested image with the requests for it: its own pyramid, edits of it, or both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pgcn.tasks.task import find_task
from pgcn_jobs.common.codes import Code
from pgcn_jobs.storage.urls import public_url


@dataclass(frozen=True, slots=True)
class Source:
    """One image to train on. Two of them never share an `image_id`."""

    image_id: str  # the path below the requested folder, with "/" and extension; of a single file, its name
    uri: str  # for artifacts: a public URL, or a local path that begins at the requested folder's name
    location: str  # private, for workers: an absolute path, or the full URL
    size_bytes: int | None = None
    version: str | None = None  # the storage's word for "unchanged": ETag, or time of modification in ns
    seed: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)  # settings of this image alone
    method: str | None = None  # name of its training method; None: the command's
    problem: str | None = None  # a sentence, where the image is known to be unreadable
    problem_code: Code | None = None
    holes: Source | None = None  # a mask, whose pixels are left out of the loss
    parts: tuple[Part, ...] = ()  # files of further channels
    wanted: bool = True  # requested itself; else only for its `edits`
    edits: tuple[EditSource, ...] = ()

    @property
    def holes_uri(self) -> str | None:
        """The mask's name for artifacts, where there is one."""
        return None if self.holes is None else self.holes.uri

    @property
    def with_others(self) -> list[Source]:
        """The image and all other files of its training: its mask and its parts."""
        return [self, *(() if self.holes is None else (self.holes,)), *(part.source for part in self.parts)]

    @property
    def part_names(self) -> str | None:
        """Names and public locations of its parts as JSON, where there are some."""
        return json.dumps({part.name: part.source.uri for part in self.parts}, sort_keys=True) if self.parts else None

    @property
    def place(self) -> str:
        """Hashes of its location and of its other files': public names may be alike."""
        places = [one.location for one in self.with_others]
        return "-".join(hashlib.sha256(one.encode(errors="surrogatepass")).hexdigest()[:12] for one in places)

    @property
    def version_token(self) -> str | None:
        """The storage's versions of all files of its training; None where the storage has none."""
        tokens = [one.file_token for one in self.with_others[1:]]
        if self.version is None or None in tokens:
            return None
        return " ".join([self.version, *map(str, tokens)])

    @property
    def file_token(self) -> str | None:
        """The file and its version, for a task's other images, whose public names may be alike."""
        place = hashlib.sha256(public_url(self.location).encode(errors="surrogatepass")).hexdigest()[:8]
        return None if self.version is None else f"{self.version} {self.size_bytes} {place}"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of further channels of an image, by its name: see `pgcn_jobs.inputs.parts`."""

    name: str
    source: Source


@dataclass(frozen=True)
class EditSource:
    """One requested edit of an image. `options` are the task's own, as they were written."""

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    target: Source | None = None
    mask: Source | None = None
    truth: Source | None = None
    edit_id: str | None = None

    @property
    def others(self) -> tuple[Source | None, Source | None, Source | None]:
        """The task's other images: target, mask and truth."""
        return self.target, self.mask, self.truth


def with_edit(source: Source, edit: EditSource) -> Source:
    """The image with this edit as its only request.

    If the training leaves the mask out, the pyramid differs from that of the whole image.
    """
    holes = edit.mask if find_task(edit.task).holes and edit.target is None else None
    return replace(source, holes=holes, wanted=False, edits=(edit,))


def without_edits(source: Source) -> Source:
    """The image without its edits, which may be thousands."""
    return replace(source, edits=()) if source.edits else source


def merged(first: Source, second: Source) -> Source:
    """One image with the requests of both."""
    return replace(first, wanted=first.wanted or second.wanted, edits=first.edits + second.edits)


def fingerprint(source: Source) -> str:
    """The key of a pyramid among the requests: the image's location, seed, settings, holes, method and parts."""
    plain = source.seed is None and not source.overrides and source.holes is None
    if plain and source.method is None and not source.parts:
        return source.location
    own: list[Any] = [source.location, source.seed, dict(source.overrides)]
    own += [source.holes.location] if source.holes else []
    own += [{"method": source.method}] if source.method is not None else []
    own += [{part.name: part.source.location for part in source.parts}] if source.parts else []
    return json.dumps(own, sort_keys=True, default=str)


def name_of(source: Source, edit: EditSource, length: int = 6) -> str:
    """The default name of an edit: "cat.jpg:superres", and a hash where options or images tell it from others."""
    own = [dict(edit.options), *(other and other.location for other in edit.others)]
    plain = f"{source.image_id}:{edit.task}"
    if not any(own):
        return plain
    digest = hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode(errors="surrogatepass")).hexdigest()
    return f"{plain}-{digest[:length]}"


def apart(source: Source, length: int = 6) -> Source:
    """The source under its other name, for where another image has its own: the same at every run."""
    return renamed(source, f"{source.image_id}-{_digest(source)[:length]}")


def names_apart(source: Source) -> list[Source]:
    """The source under its other names; the longer one is for where even the shorter one is taken."""
    return [apart(source, length) for length in (6, 64)]


def plain_name(source: Source) -> str | None:
    """The name that a source, now under its other one, has where no other image has it.

    None where it is under no other name, or has a seed, settings or method of its own: that name may stand for them.
    """
    plain, dash, digits = source.image_id.rpartition("-")
    own = dash and digits in (_digest(source)[:6], _digest(source))
    alone = source.seed is None and not source.overrides and source.method is None
    return plain if own and alone else None


def renamed(source: Source, image_id: str) -> Source:
    """The source under another name, and with it those of its edits that are named after it."""
    if source.image_id == image_id:
        return source
    other = replace(source, image_id=image_id)
    edits = []
    for edit in source.edits:
        length = next((n for n in (6, 64) if edit.edit_id == name_of(source, edit, n)), None)
        edits.append(edit if length is None else replace(edit, edit_id=name_of(other, edit, length)))
    return replace(other, edits=tuple(edits))


def _digest(source: Source) -> str:
    return hashlib.sha256(fingerprint(source).encode(errors="surrogatepass")).hexdigest()
