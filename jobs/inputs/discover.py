"""The requested images as a list: each once, with its name and location."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate
from PIL import Image

from jobs.common.codes import Code
from jobs.common.failures import ConfigError, InputError
from jobs.images.convert import NOT_PIXELS
from jobs.images.unreadable import HEIC_SUFFIXES
from jobs.inputs.image_list import SUFFIXES, EditRow, read_image_list
from jobs.inputs.list_rules import forbidden
from jobs.inputs.passed_over import Passed
from jobs.inputs.source import EditSource, Source, fingerprint, merged, name_of, names_apart, with_edit
from jobs.inputs.source_bytes import read_source
from jobs.storage.errors import error_code, with_retries
from jobs.storage.urls import driver_problem, filesystem, is_local, is_web, local_path, names_local_file, public_url

__all__ = ["Source", "find_sources", "one_source", "read_source"]

RUN = "run.json"
"""The file that marks a run's folder."""

MAX_LIST_BYTES = 2 * 2**30

_MAGIC = re.compile(r"[*?\[]")
_UNWRITABLE = re.compile("[\ud800-\udfff]")  # bytes of a file's name that are not UTF-8, as Python holds them


@dataclass(frozen=True)
class _Found:
    """A source whose `image_id` may not be unique yet; `given` where the user chose it."""

    source: Source
    given: bool = False
    listed: bool = False  # from a row of an image list: it may have settings of its own


@dataclass(frozen=True)
class _Search:
    """The parameters of a search."""

    setting_names: Collection[str]
    options: Mapping[str, Any] | None
    allow_local: bool
    passed: Passed


def find_sources(
    images: Sequence[str],
    *,
    setting_names: Collection[str],
    options: Mapping[str, Any] | None = None,
    allow_local: bool = False,
    ask: Callable[[Source], EditSource] | None = None,
    passed: Passed | None = None,
) -> list[Source]:
    """Every image that `images` name, sorted by `image_id`, each location once.

    Each of `images` is a file, a folder or bucket prefix (searched at any depth for files whose extension says
    image; hidden ones are passed over, links to folders not followed), a pattern (`**` too), or a list
    (`jobs.inputs.image_list`) whose relative `uri`s begin at its own folder, and which may name what
    `jobs.inputs.list_rules` permits: a list from elsewhere names files of this machine only where `allow_local`.
    One listing for each folder; no image is opened. A single file is taken whatever its name, and a name with `*`, `?`
    or `[` is that file, object or folder where there is one. Images below a folder with a `run.json` belong to a run
    and are not taken; `passed` counts them, and files that are no images.

    Two images of one name keep it apart by "-" and six hexadecimal digits, the same at every run. An image that
    is in a list and also in a folder is taken from the list. The same image in several rows with different
    seeds or settings is several sources; rows that ask for tasks on one model of it are one source with their edits.
    `ask` says what is asked of all that ask for nothing themselves; without it, they are wanted as they are.

    A single file that is not there has a `problem`; alone, it is an error. Raises `ConfigError` for an argument
    that names nothing and for a list that is wrong, `StoreError` where the storage does not work.
    """
    if not images:
        raise ConfigError(
            "No images were named: give files, folders, buckets or a list of images.", code=Code.IMAGES_NONE
        )
    search = _Search(setting_names, options, allow_local, Passed() if passed is None else passed)
    found = [each for name in images for each in _expand(name, search)]
    if len(images) == 1 and len(found) == 1 and not found[0].listed and found[0].source.problem:
        raise ConfigError(found[0].source.problem, code=found[0].source.problem_code)
    if ask is not None:
        if all(each.source.edits for each in found):
            raise ConfigError(
                "--task is for no image: each row of the list has its own task. Leave --task out.",
                code=Code.OPTION_VALUE,
            )
        found = [f if f.source.edits else replace(f, source=with_edit(f.source, ask(f.source))) for f in found]
    return _with_named_edits(_with_unique_ids(_once_each(found)))


def one_source(name: str) -> Source:
    """One file or object by its name, whatever it is called; with a `problem` where it is known not to be there."""
    if not is_local(name):
        return _with_driver(_one_remote(name), name)
    path = local_path(name)
    return _local_source(path, path.name, path.name)


def _expand(name: str, search: _Search) -> Iterator[_Found]:
    """The images that one argument names."""
    if is_list(name):
        yield from _from_list(name, search)
    elif is_local(name):
        yield from _local(name, search.passed)
    elif is_web(name) or "::" in name:
        yield _Found(_one_remote(name))  # cannot be listed
    else:
        yield from _remote(name, search)


# Local files and folders


def _local(name: str, passed: Passed) -> Iterator[_Found]:
    path = _decoded(local_path(name))
    if path.is_dir():
        yield from _some(_walk(path, passed), f"The folder {name} has no images.", passed)
    elif not path.exists() and _MAGIC.search(name):
        yield from _some(_matches(path, passed), f"The pattern {name} matches no image.", passed)
    elif path.exists() or path.suffix:
        yield _Found(_local_source(path, path.name, path.name))
    else:
        raise ConfigError(f"There is no file or folder {name}: correct its name.", code=Code.IMAGES_NONE)


def _decoded(path: Path) -> Path:
    """The path; or the one that it means as a part of a URL, `%20` for a space, where only that one is there."""
    plain = Path(unquote(str(path)))
    return plain if plain != path and not os.path.lexists(path) and os.path.lexists(plain) else path


def _walk(root: Path, passed: Passed) -> Iterator[_Found]:
    closed: list[Path] = []
    runs = _Runs(root, passed)
    for folder, below, names in os.walk(root, onerror=lambda error: closed.append(Path(error.filename))):
        below[:] = [each for each in below if not each.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if _looks_like_image(name) and not runs.have(path):
                yield _Found(_below(root, path))
            elif not _looks_like_image(name) and not name.startswith(".") and not runs.have(path, count=False):
                passed.file(name)
    if root in closed:
        raise ConfigError(f"The folder {root.name} cannot be read: it is closed to this user.", code=Code.IMAGES_NONE)
    for place in closed:
        source = _below(root, place)
        yield _Found(
            replace(
                source,
                problem=f"{source.uri} cannot be read: it is a folder closed to this user.",
                problem_code=Code.IMAGE_FORBIDDEN,
            )
        )


class _Runs:
    """Runs of this program in a folder that is searched: what lies in them are their pictures."""

    def __init__(self, root: Path, passed: Passed) -> None:
        self._root = root
        self._passed = passed
        self._runs: dict[Path, Path | None] = {}

    def have(self, path: Path, *, count: bool = True) -> bool:
        """True for a file in a run's folder; it is passed over, and counted as an image of that run."""
        run = self._run_of(path.parent)
        if run is not None and count:
            self._passed.of_run(str(run), _below(self._root, run).uri, path.relative_to(run).as_posix())
        return run is not None

    def _run_of(self, folder: Path) -> Path | None:
        if folder not in self._runs:
            above = None if folder == self._root else self._run_of(folder.parent)
            self._runs[folder] = above or (folder if (folder / RUN).is_file() else None)
        return self._runs[folder]


def _matches(pattern: Path, passed: Passed) -> Iterator[_Found]:
    root = Path(*pattern.parts[: next(i for i, part in enumerate(pattern.parts) if _MAGIC.search(part))])
    parts = pattern.relative_to(root).parts
    while (root / parts[0]).is_dir():  # a folder of this very name, whatever is in it
        root, parts = root / parts[0], parts[1:]
    runs = _Runs(root, passed)
    # Only whole parts can be "**", as for the shell. Links to folders are followed where one is named, not by "**".
    wanted = [part if part == "**" else re.sub(r"\*\*+", "*", part) for part in parts]
    wanted += ["*"] if wanted[-1] == "**" else []  # else folders alone
    hidden = any(part.startswith(".") for part in parts)
    for path in root.glob("/".join(wanted)):
        folders = path.relative_to(root).parts[:-1]
        if (not hidden and any(folder.startswith(".") for folder in folders)) or not path.is_file():
            continue
        if _looks_like_image(path.name) and not runs.have(path):
            yield _Found(_below(root, path))
        elif not _looks_like_image(path.name) and not path.name.startswith(".") and not runs.have(path, count=False):
            passed.file(path.name)


def _below(root: Path, path: Path) -> Source:
    relative = path.relative_to(root).as_posix()
    return _local_source(path, relative, f"{root.name}/{relative}".lstrip("/"))


def _local_source(path: Path, image_id: str, uri: str) -> Source:
    if not_utf8 := _UNWRITABLE.search(image_id + uri):
        image_id, uri = (_UNWRITABLE.sub("\ufffd", name) for name in (image_id, uri))
        problem = (
            f"{uri} cannot be read: its name has the byte {ord(not_utf8[0]) - 0xDC00:#x} and is not UTF-8; rename it."
        )
        return Source(image_id, uri, str(path), problem=problem, problem_code=Code.IMAGE_NAME)
    try:
        status = path.stat()
    except (OSError, ValueError):
        problem = f"{uri} cannot be read: it does not exist, or a folder above it is closed to this user."
        return Source(image_id, uri, str(path), problem=problem, problem_code=Code.IMAGE_MISSING)
    return Source(image_id, uri, str(path), size_bytes=status.st_size, version=str(status.st_mtime_ns))


# Remote objects and prefixes


def _remote(name: str, search: _Search) -> Iterator[_Found]:
    base, parts = _split_pattern(name)
    fs, root = filesystem(base, search.options)
    root = root.rstrip("/")
    infos = with_retries(lambda: _find(fs, root), name)
    shown = public_url(name)
    if not parts and list(infos) == [root]:
        yield _Found(_one_remote(name, infos[root]))
        return
    if not parts and not infos and PurePosixPath(root).suffix:
        yield _Found(
            replace(
                _one_remote(name),
                problem=f"{shown} cannot be read: it does not exist.",
                problem_code=Code.IMAGE_MISSING,
            )
        )
        return
    inside = {path.removeprefix(f"{root}/"): info for path, info in infos.items()}
    literal = "/".join(parts)
    if parts and literal in inside:
        source = _listed(base.rstrip("/"), literal, inside[literal])
        yield _Found(replace(source, image_id=literal.rpartition("/")[2]))
        return
    below, pattern = _meant(parts, inside)
    base = "/".join([base.rstrip("/"), *below])
    found = _below_prefix(base, inside, "/".join(below), pattern, search.passed)
    yield from _some(found, f"There are no images at {shown}: correct it, or put some there.", search.passed)


def _meant(parts: list[str], inside: Iterable[str]) -> tuple[list[str], re.Pattern[str] | None]:
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
) -> Iterator[_Found]:
    """The images among the objects below `base`, which is `folder` of the listing; by their paths there."""
    start = f"{folder}/" if folder else ""
    objects = {path.removeprefix(start): info for path, info in inside.items() if path.startswith(start)}
    runs = {path.removesuffix(RUN) for path in objects if path.rpartition("/")[2] == RUN}
    for relative, info in objects.items():
        if not _is_shown(relative) or not (pattern is None or pattern.fullmatch(relative)):
            continue
        above = relative.split("/")[:-1]
        run = next((one for n in range(len(above) + 1) if (one := "".join(f"{a}/" for a in above[:n])) in runs), None)
        if run is not None:
            if _looks_like_image(relative.rpartition("/")[2]):
                place = f"{base}/{run}".rstrip("/")
                passed.of_run(place, public_url(place), relative.removeprefix(run))
        elif _looks_like_image(relative.rpartition("/")[2]):
            yield _Found(_listed(base, relative, info))
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
        if _MAGIC.search(part):
            if index == 0:
                raise ConfigError(f"The pattern {public_url(name)} must name the bucket.", code=Code.IMAGES_NONE)
            return f"{scheme}{mark}{'/'.join(parts[:index])}", [part for part in parts[index:] if part]
    return name, []


def _listed(base: str, relative: str, info: Mapping[str, Any]) -> Source:
    # The public URL is made from the folder's: an object's own name may have "?" in it.
    return Source(
        relative,
        f"{public_url(base)}/{relative}",
        f"{base}/{relative}",
        size_bytes=info.get("size"),
        version=_version(info),
    )


def _one_remote(name: str, info: Mapping[str, Any] | None = None) -> Source:
    uri = public_url(name)
    info = info or {}
    image_id = uri.split("::")[0].rstrip("/").rpartition("/")[2]
    return Source(image_id, uri, name, size_bytes=info.get("size"), version=_version(info))


def _version(info: Mapping[str, Any]) -> str | None:
    version = info.get("ETag") or info.get("mtime") or info.get("LastModified")
    return None if version is None else str(version).strip('"')


def _is_shown(relative: str) -> bool:
    return not any(part.startswith(".") for part in relative.split("/")) and not relative.endswith("/")


def _with_driver(source: Source, url: str) -> Source:
    """The source, with a problem where no filesystem is installed for its URL."""
    problem = driver_problem(url)
    return source if problem is None else replace(source, problem=problem, problem_code=Code.STORAGE_UNSUPPORTED)


# Lists of images


def is_list(name: str) -> bool:
    """True for the name of a list of images."""
    return public_url(name).lower().endswith(SUFFIXES) and not (is_local(name) and local_path(name).is_dir())


def _from_list(name: str, search: _Search) -> Iterator[_Found]:
    shown, allow_local = public_url(name), search.allow_local
    try:
        data = read_source(name, shown, search.options, MAX_LIST_BYTES)
    except InputError as error:
        raise ConfigError(str(error), code=Code.LIST_UNREADABLE) from None
    folder = str(local_path(name).parent) if is_local(name) else name.partition("?")[0].rpartition("/")[0]
    for row in read_image_list(data, shown, search.setting_names, search.passed.note):
        source = replace(_row_source(row.uri, folder, allow_local), seed=row.seed, overrides=row.overrides)
        if row.image_id is not None:
            source = replace(source, image_id=row.image_id)
        if row.edit is not None:
            source = with_edit(source, _row_edit(row.edit, folder, allow_local))
        # The name that a row gives is that of the image's plain model.
        yield _Found(source, given=row.image_id is not None and source.holes is None, listed=True)


def _row_edit(row: EditRow, folder: str, allow_local: bool) -> EditSource:
    """The edit that a row requests; its other images are named as images are."""

    def other(uri: str | None) -> Source | None:
        return None if uri is None else _row_source(uri, folder, allow_local)

    return EditSource(
        row.task, row.options, other(row.target_uri), other(row.mask_uri), other(row.truth_uri), row.edit_id
    )


def _row_source(uri: str, folder: str, allow_local: bool) -> Source:
    """The image that a row names; `folder` is the path or URL of its list's folder."""
    if why := forbidden(uri, folder, allow_local=allow_local):
        stranger = _one_remote(uri)
        return replace(
            stranger, problem=f"{stranger.uri} cannot be read: {why}.", problem_code=Code.IMAGE_NOT_PERMITTED
        )
    if not is_local(uri):
        return _with_driver(_one_remote(uri), uri)
    if names_local_file(uri):
        path = _decoded(local_path(uri))
    elif is_local(folder):
        path = _decoded(local_path(str(Path(folder, uri))))
    else:
        return _listed(folder, posixpath.normpath(uri), {})
    if is_local(folder) and path.is_relative_to(folder):
        return _below(Path(folder), path)
    return _local_source(path, path.name, path.name)


# One list of all


def _some(found: Iterable[_Found], otherwise: str, passed: Passed) -> Iterator[_Found]:
    """The sources found. Raises `ConfigError` where there are none, with the files that were passed over."""
    nothing = True
    for each in found:
        nothing = False
        yield each
    if nothing:
        raise ConfigError(" ".join([otherwise, *passed.sentences()]), code=Code.IMAGES_NONE)


def _once_each(found: Iterable[_Found]) -> list[_Found]:
    """Each location once; in a list's rows, each location with each seed and settings once."""
    by_location: dict[str, list[_Found]] = {}
    for each in found:
        by_location.setdefault(each.source.location, []).append(each)
    kept: list[_Found] = []
    for same in by_location.values():
        rows: dict[tuple[str, str], _Found] = {}
        for each in same:
            if each.listed:
                key = fingerprint(each.source), each.source.image_id
                before = rows.get(key)
                rows[key] = each if before is None else replace(each, source=merged(before.source, each.source))
        # Of several folders, one inside the other, the outer one's longer path tells more.
        kept += rows.values() or [max(same, key=lambda each: (len(each.source.image_id), each.source.image_id))]
    return kept


def _with_unique_ids(found: Iterable[_Found]) -> list[Source]:
    """The sources sorted by `image_id`, made unique. Ids that the user chose stay as they are."""
    sources: dict[str, Source] = {}
    for each in sorted(found, key=lambda each: (not each.given, each.source.image_id, fingerprint(each.source))):
        source = each.source
        if source.image_id in sources:
            if each.given:
                raise ConfigError(
                    f"The image_id {source.image_id!r} is given to two images: choose another for one.",
                    code=Code.IMAGES_DUPLICATE,
                )
            source = next(other for other in names_apart(source) if other.image_id not in sources)
        sources[source.image_id] = source
    return [sources[image_id] for image_id in sorted(sources)]


def _with_named_edits(sources: Sequence[Source]) -> list[Source]:
    """The sources with names for all edits, each edit once. Raises `ConfigError` where two are given one name."""
    seen: dict[str, tuple[str, EditSource]] = {}
    whole = []
    for source in sources:
        edits = []
        for edit in source.edits:
            # Six digits are enough to be read, and now and then too few.
            for name in [edit.edit_id] if edit.edit_id else [name_of(source, edit), name_of(source, edit, 64)]:
                one = source.image_id, replace(edit, edit_id=name)
                if seen.setdefault(name, one) is one:
                    edits.append(one[1])
                    break
                if seen[name] == one:
                    break
            else:
                raise ConfigError(
                    f"The edit_id {edit.edit_id!r} is given to two edits: choose another for one.",
                    code=Code.IMAGES_DUPLICATE,
                )
        whole.append(replace(source, edits=tuple(edits)))
    return whole


def _looks_like_image(name: str) -> bool:
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    """Of the formats of pixels that Pillow reads, and of HEIC, for which it needs pi-heif."""
    registered = Image.registered_extensions()
    readable = (Image.OPEN.keys() | {"MPO"}) - NOT_PIXELS  # Pillow opens MPO as JPEG
    return HEIC_SUFFIXES | {suffix for suffix, kind in registered.items() if kind in readable}
