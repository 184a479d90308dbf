"""Images inside the run's own folder: its results are no input of it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.inputs.source import Source
from pgcn_jobs.layout import is_ours
from pgcn_jobs.storage.urls import is_local, local_path, public_url

_LIST = re.compile(r"\.(csv|tsv|jsonl|parquet)(\.gz)?$", re.IGNORECASE)
"""Lists of images may lie anywhere: the location of their images counts."""


def check_apart(images: Sequence[str], out: str) -> None:
    """Raises `ConfigError` for requested images in the run's own folder, which are never taken."""
    for asked in images:
        if not _LIST.search(asked) and below(_before_glob(asked), out) is not None:
            raise ConfigError(
                f"The images {terminal_safe(asked)} lie in --out {terminal_safe(public_url(out))}, the folder of the "
                "results. Choose another --out, which is empty or has this run.",
                code=Code.OPTION_VALUE,
            )


def _before_glob(asked: str) -> str:
    """The part of a pattern before its first wildcard; all of a name that is a file's own."""
    if is_local(asked) and os.path.lexists(local_path(asked)):
        return asked
    return re.split(r"[^/]*[*?\[]", asked, maxsplit=1)[0] or "."


def outside(found: list[Source], out: str, said: list[str]) -> list[Source]:
    """The images outside of the run's own folder: its gallery's thumbnails are no input.

    The number of other images in it is appended to `said`. Raises `ConfigError` where all are in it.
    """
    placed = [(source, below(source.location, out)) for source in found]
    outside = [source for source, path in placed if path is None]
    others = [path for _, path in placed if path is not None and not is_ours(path)]
    if others and not outside:
        raise ConfigError(
            f"All images lie in --out {terminal_safe(public_url(out))} itself: choose another --out.",
            code=Code.OPTION_VALUE,
        )
    if others:
        said.append(f"{len(others)} images in {terminal_safe(public_url(out))} itself are left out.")
    return outside


def below(location: str, out: str) -> str | None:
    """The path of a location below a run's folder, "." for the folder itself; None where it is elsewhere.

    Links are followed.
    """
    if is_local(location) != is_local(out):
        return None
    if is_local(out):
        path = local_path(location)
        place = os.path.join(_real(str(path.parent)), path.name)  # noqa: PTH118 (a Path for each image takes long)
        folder = _real(str(local_path(out)))
        if os.path.isdir(place):  # noqa: PTH112
            place = _real(place)
    else:
        place, folder = location.rstrip("/"), out.rstrip("/")
    if place == folder:
        return "."
    return place[len(folder.rstrip("/")) + 1 :] if place.startswith(folder.rstrip("/") + "/") else None


@lru_cache(maxsize=1024)
def _real(path: str) -> str:
    """A path without links: cached, since all images of a folder share it."""
    return os.path.realpath(path)
