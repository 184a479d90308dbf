"""Images in local folders, by patterns, and single files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.found import GLOB_CHARACTERS, RUN_MARK, Found, at_least_one, looks_like_image
from pgcn_jobs.inputs.passed_over import Passed
from pgcn_jobs.inputs.source import Source
from pgcn_jobs.inputs.source_bytes import SPECIAL, is_special
from pgcn_jobs.storage.urls import local_path

_UNWRITABLE = re.compile("[\ud800-\udfff]")  # bytes of a file's name that are not UTF-8, as Python holds them


def local_images(name: str, passed: Passed) -> Iterator[Found]:
    """The images of a local folder, pattern or file. Raises `ConfigError` where there is none."""
    path = percent_decoded(local_path(name))
    if path.is_dir():
        yield from at_least_one(_walk(path, passed), f"The folder {name} has no images.", passed)
    elif not path.exists() and GLOB_CHARACTERS.search(name):
        yield from at_least_one(_matches(path, passed), f"The pattern {name} matches no image.", passed)
    elif path.exists() or path.suffix:
        yield Found(local_source(path, path.name, path.name))
    else:
        raise ConfigError(f"There is no file or folder {name}: correct its name.", code=Code.IMAGES_NONE)


def percent_decoded(path: Path) -> Path:
    """The path; or the one that it means as a part of a URL, `%20` for a space, where only that one is there."""
    plain = Path(unquote(str(path)))
    return plain if plain != path and not os.path.lexists(path) and os.path.lexists(plain) else path


def _walk(root: Path, passed: Passed) -> Iterator[Found]:
    closed: list[Path] = []
    runs = _Runs(root, passed)
    for folder, below, names in os.walk(root, onerror=lambda error: closed.append(Path(error.filename))):
        below[:] = [each for each in below if not each.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if looks_like_image(name) and is_special(path):
                passed.special(local_below(root, path).uri)
            elif looks_like_image(name) and not runs.have(path):
                yield Found(local_below(root, path))
            elif not looks_like_image(name) and not name.startswith(".") and not runs.have(path, count=False):
                passed.file(name)
    if root in closed:
        raise ConfigError(f"The folder {root.name} cannot be read: it is closed to this user.", code=Code.IMAGES_NONE)
    for place in closed:
        source = local_below(root, place)
        yield Found(
            replace(
                source,
                problem=f"{source.uri} cannot be read: it is a folder closed to this user.",
                problem_code=Code.IMAGE_FORBIDDEN,
            )
        )


class _Runs:
    """Run folders inside a folder that is searched: their images are results, not inputs."""

    def __init__(self, root: Path, passed: Passed) -> None:
        self._root = root
        self._passed = passed
        self._runs: dict[Path, Path | None] = {}

    def have(self, path: Path, *, count: bool = True) -> bool:
        """True for a file in a run's folder; it is passed over, and counted as an image of that run."""
        run = self._run_of(path.parent)
        if run is not None and count:
            uri = local_below(self._root, run).uri.removesuffix("/.")
            self._passed.of_run(str(run), uri, path.relative_to(run).as_posix())
        return run is not None

    def _run_of(self, folder: Path) -> Path | None:
        if folder not in self._runs:
            above = None if folder == self._root else self._run_of(folder.parent)
            self._runs[folder] = above or (folder if (folder / RUN_MARK).is_file() else None)
        return self._runs[folder]


def _matches(pattern: Path, passed: Passed) -> Iterator[Found]:
    root = Path(*pattern.parts[: next(i for i, part in enumerate(pattern.parts) if GLOB_CHARACTERS.search(part))])
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
        if not hidden and any(folder.startswith(".") for folder in folders):
            continue
        if is_special(path):
            passed.special(local_below(root, path).uri)
        elif not path.is_file():
            continue
        elif looks_like_image(path.name) and not runs.have(path):
            yield Found(local_below(root, path))
        elif not looks_like_image(path.name) and not path.name.startswith(".") and not runs.have(path, count=False):
            passed.file(path.name)


def local_below(root: Path, path: Path) -> Source:
    """The image `path`, named by its path below `root`."""
    relative = path.relative_to(root).as_posix()
    return local_source(path, relative, f"{root.name}/{relative}".lstrip("/"))


def local_source(path: Path, image_id: str, uri: str) -> Source:
    """A local image with its size and version; with a `problem` where its name or status cannot be read."""
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
    found = Source(image_id, uri, str(path), size_bytes=status.st_size, version=str(status.st_mtime_ns))
    if is_special(path):
        return replace(found, problem=f"{uri} cannot be read: {SPECIAL}.", problem_code=Code.IMAGE_UNREADABLE)
    return found
