"""Images below bucket prefixes, by patterns, and single objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.found import GLOB_CHARACTERS, RUN_MARK, Found, at_least_one, looks_like_image
from pgcn_jobs.inputs.passed_over import Passed
from pgcn_jobs.inputs.source import Source
from pgcn_jobs.storage.errors import error_code, with_retries
from pgcn_jobs.storage.urls import driver_problem, filesystem, is_hub, public_url


def remote_images(name: str, options: Mapping[str, Any] | None, passed: Passed) -> Iterator[Found]:
    """The images of one object, prefix or pattern, by one listing. Raises `ConfigError` where there is none."""
    base, parts = _split_pattern(name)
    fs, root = filesystem(base, options)
    root = root.rstrip("/")
    infos = with_retries(lambda: _find(fs, root), name)
    shown = public_url(name)
    if not parts and list(infos) == [root]:
        yield Found(remote_source(name, infos[root]))
        return
    if not parts and not infos and PurePosixPath(root).suffix:
        yield Found(
            replace(
                remote_source(name),
                problem=f"{shown} cannot be read: it does not exist.",
                problem_code=Code.IMAGE_MISSING,
            )
        )
        return
    inside = {path.removeprefix(f"{root}/"): info for path, info in infos.items()}
    literal = "/".join(parts)
    if parts and literal in inside:
        source = remote_below(base.rstrip("/"), literal, inside[literal])
        yield Found(replace(source, image_id=literal.rpartition("/")[2]))
        return
    below, pattern = _literal_folders(parts, inside)
    base = "/".join([base.rstrip("/"), *below])
    found = _below_prefix(base, inside, "/".join(below), pattern, passed)
    private = " (a private place is found with HF_TOKEN only)" if is_hub(name) else ""
    yield from at_least_one(found, f"There are no images at {shown}{private}: correct it, or put some there.", passed)


def _literal_folders(parts: list[str], inside: Iterable[str]) -> tuple[list[str], re.Pattern[str] | None]:
    """The folders that the first of `parts` name as they are, and a pattern for what is below, None for everything.

    A part may have `[`, `*` or `?` in it and still be a folder's name: it is, where there is such a folder.
    """
    below: list[str] = []
    while len(below) < len(parts):
        folder = "/".join([*below, parts[len(below)], ""])
        if not any(path.startswith(folder) for path in inside):
            return below, re.compile(glob_translate("/".join(parts[len(below) :])))
        below.append(parts[len(below)])
    return below, None


def _below_prefix(
    base: str,
    inside: Mapping[str, Mapping[str, Any]],
    folder: str,
    pattern: re.Pattern[str] | None,
    passed: Passed,
) -> Iterator[Found]:
    """The images among the objects below `base`, which is `folder` of the listing; by their paths there."""
    start = f"{folder}/" if folder else ""
    objects = {path.removeprefix(start): info for path, info in inside.items() if path.startswith(start)}
    runs = {path.removesuffix(RUN_MARK) for path in objects if path.rpartition("/")[2] == RUN_MARK}
    for relative, info in objects.items():
        if not _is_shown(relative) or not (pattern is None or pattern.fullmatch(relative)):
            continue
        above = relative.split("/")[:-1]
        run = next((one for n in range(len(above) + 1) if (one := "".join(f"{a}/" for a in above[:n])) in runs), None)
        if run is not None:
            if looks_like_image(relative.rpartition("/")[2]):
                place = f"{base}/{run}".rstrip("/")
                passed.of_run(place, public_url(place), relative.removeprefix(run))
        elif looks_like_image(relative.rpartition("/")[2]):
            yield Found(remote_below(base, relative, info))
        else:
            passed.file(relative)


def _find(fs: AbstractFileSystem, root: str) -> dict[str, Mapping[str, Any]]:
    """Every object at or below `root`, by one listing."""
    try:
        return dict(fs.find(root, detail=True))
    except FileNotFoundError as error:
        if error_code(error) == "NoSuchBucket":
            raise
        return {}


def _split_pattern(name: str) -> tuple[str, list[str]]:
    """A URL as the folder above its first part that may be a pattern, and the parts from there on."""
    scheme, mark, rest = name.partition("://")
    parts = rest.split("/")
    for index, part in enumerate(parts):
        if GLOB_CHARACTERS.search(part):
            if index == 0:
                raise ConfigError(f"The pattern {public_url(name)} must name the bucket.", code=Code.IMAGES_NONE)
            return f"{scheme}{mark}{'/'.join(parts[:index])}", [part for part in parts[index:] if part]
    return name, []


def remote_below(base: str, relative: str, info: Mapping[str, Any]) -> Source:
    """The object at `relative` below `base`, as a listing describes it."""
    # The public URL is made from the folder's: an object's own name may have "?" in it.
    return Source(
        relative,
        f"{public_url(base)}/{relative}",
        f"{base}/{relative}",
        size_bytes=info.get("size"),
        version=_version(info),
    )


def remote_source(name: str, info: Mapping[str, Any] | None = None) -> Source:
    """One object or web page by its URL; `info` is its entry in a listing."""
    uri = public_url(name)
    info = info or {}
    image_id = uri.split("::")[0].rstrip("/").rpartition("/")[2]
    return Source(image_id, uri, name, size_bytes=info.get("size"), version=_version(info))


def _version(info: Mapping[str, Any]) -> str | None:
    names = ("ETag", "mtime", "LastModified", "blob_id", "xet_hash")  # the last two are the Hugging Face hub's
    version = next((info[name] for name in names if info.get(name)), None)
    return None if version is None else str(version).strip('"')


def _is_shown(relative: str) -> bool:
    return not any(part.startswith(".") for part in relative.split("/")) and not relative.endswith("/")


def with_driver(source: Source, url: str) -> Source:
    """The source, with a problem where no filesystem is installed for its URL."""
    problem = driver_problem(url)
    return source if problem is None else replace(source, problem=problem, problem_code=Code.STORAGE_UNSUPPORTED)
