"""An image that a search found, before its name is unique, and the file names that mean images."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from PIL import Image

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.images.convert import NOT_PIXELS
from pgcn_jobs.images.unreadable import HEIC_SUFFIXES
from pgcn_jobs.inputs.passed_over import Passed
from pgcn_jobs.inputs.source import Source

RUN_MARK = "run.json"
"""The file that marks a run's folder."""

GLOB_CHARACTERS = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Found:
    """A source whose `image_id` may not be unique yet; `given` where the user chose it."""

    source: Source
    given: bool = False
    listed: bool = False  # from a row of an image list: it may have settings of its own


@dataclass(frozen=True)
class Search:
    """The parameters of a search."""

    setting_names: Collection[str]
    options: Mapping[str, Any] | None
    allow_local: bool
    passed: Passed


def at_least_one(found: Iterable[Found], otherwise: str, passed: Passed) -> Iterator[Found]:
    """The sources found. Raises `ConfigError` where there are none, with the files that were passed over."""
    nothing = True
    for each in found:
        nothing = False
        yield each
    if nothing:
        raise ConfigError(" ".join([otherwise, *passed.sentences()]), code=Code.IMAGES_NONE)


def looks_like_image(name: str) -> bool:
    """True for a file name, not hidden, with the extension of a format of images."""
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    """The extensions of formats that Pillow decodes to pixels, of HEIC, for which it needs pi-heif, and of arrays.

    Not safetensors: a folder's are mostly weights. Such an image is named itself, or in a list.
    """
    registered = Image.registered_extensions()
    readable = (Image.OPEN.keys() | {"MPO"}) - NOT_PIXELS  # Pillow opens MPO as JPEG
    return HEIC_SUFFIXES | {".npy"} | {suffix for suffix, kind in registered.items() if kind in readable}
