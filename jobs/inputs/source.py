"""One image that was asked for, and what was asked of it: its own model, tasks on that, or both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.storage.urls import public_url
from pgcn.tasks.task import find_task


@dataclass(frozen=True, slots=True)
class Source:
    """One image to learn from. Two of them never share an `image_id`."""

    image_id: str  # the path below the folder asked for, with "/" and extension; of a single file, its name
    uri: str  # for artifacts: a public URL, or a local path that begins at the name of the folder asked for
    location: str  # private, what a worker opens: an absolute path, or the full URL
    size_bytes: int | None = None
    version: str | None = None  # the storage's word for "unchanged": ETag, or time of modification in ns
    seed: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)  # settings of this image alone
    problem: str | None = None  # a sentence, where it is known already that it cannot be read
    holes: Source | None = None  # a mask, whose pixels are left out of the loss
    wanted: bool = True  # for itself; else only for its `edits`
    edits: tuple[EditSource, ...] = ()

    @property
    def holes_uri(self) -> str | None:
        """The mask's name for artifacts, where there is one."""
        return None if self.holes is None else self.holes.uri

    @property
    def place(self) -> str:
        """Where it lies, and the mask that leaves out some of it, as hashes: public names may be alike."""
        places = [self.location] if self.holes is None else [self.location, self.holes.location]
        return "-".join(hashlib.sha256(one.encode(errors="surrogatepass")).hexdigest()[:12] for one in places)

    @property
    def stamp(self) -> str | None:
        """The versions of all that is read to learn from it; None where storage does not tell one."""
        if self.holes is None or self.version is None:
            return self.version
        return None if self.holes.mark is None else f"{self.version} {self.holes.mark}"

    @property
    def mark(self) -> str | None:
        """Which file it is, in which version: for second pictures, whose public names may be alike."""
        place = hashlib.sha256(public_url(self.location).encode(errors="surrogatepass")).hexdigest()[:8]
        return None if self.version is None else f"{self.version} {self.size_bytes} {place}"


@dataclass(frozen=True)
class EditSource:
    """One task that is asked of an image. `options` are the task's own, as they were written."""

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    target: Source | None = None
    mask: Source | None = None
    truth: Source | None = None
    edit_id: str | None = None

    @property
    def others(self) -> tuple[Source | None, Source | None, Source | None]:
        """The second pictures: target, mask and truth."""
        return self.target, self.mask, self.truth


def asked(source: Source, edit: EditSource) -> Source:
    """The image of which just this is asked.

    Where the task leaves the mask out of what is learned, that is another model of the same image than its plain one.
    """
    holes = edit.mask if find_task(edit.task).holes and edit.target is None else None
    return replace(source, holes=holes, wanted=False, edits=(edit,))


def alone(source: Source) -> Source:
    """The image without its edits, which may be thousands: for whoever looks at the image, or at one edit."""
    return replace(source, edits=()) if source.edits else source


def together(first: Source, second: Source) -> Source:
    """One image that was asked for twice: all that is asked of it."""
    return replace(first, wanted=first.wanted or second.wanted, edits=first.edits + second.edits)


def fingerprint(source: Source) -> str:
    """What tells one model to be learned from another: where the image is; the seed, settings and holes it has."""
    if source.seed is None and not source.overrides and source.holes is None:
        return source.location
    own: list[Any] = [source.location, source.seed, dict(source.overrides)]
    return json.dumps(own + ([source.holes.location] if source.holes else []), sort_keys=True, default=str)


def name_of(source: Source, edit: EditSource, length: int = 6) -> str:
    """What an edit is called that was given no name: "cat.jpg:superres", and what tells it from others on the image."""
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

    None where it is under no other name, or has a seed or settings of its own, which that name may stand for too.
    """
    plain, dash, digits = source.image_id.rpartition("-")
    own = dash and digits in (_digest(source)[:6], _digest(source))
    return plain if own and source.seed is None and not source.overrides else None


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
