"""The requested images as a list: each once, with its name and location."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.found import GLOB_CHARACTERS, Found, Search
from pgcn_jobs.inputs.lists.image_list import NO_EXCLUDE
from pgcn_jobs.inputs.lists.rows import is_list, list_images
from pgcn_jobs.inputs.local_listing import local_images, local_source
from pgcn_jobs.inputs.passed_over import Passed
from pgcn_jobs.inputs.remote_listing import remote_images, remote_source, with_driver
from pgcn_jobs.inputs.source import EditSource, Part, Source, merged, with_edit
from pgcn_jobs.inputs.source_bytes import read_source
from pgcn_jobs.inputs.unique_names import once_each, with_named_edits, with_unique_ids
from pgcn_jobs.storage.urls import is_local, is_web, local_path

__all__ = ["Source", "find_sources", "is_list", "one_source", "read_source", "several"]


def find_sources(
    images: Sequence[str],
    *,
    setting_names: Collection[str],
    options: Mapping[str, Any] | None = None,
    allow_local: bool = False,
    ask: Callable[[Source], Sequence[EditSource]] | None = None,
    passed: Passed | None = None,
    parts: Callable[[Source], tuple[Part, ...]] | None = None,
    exclude: Callable[[Source], Source] | None = None,
) -> list[Source]:
    """Every image that `images` name, sorted by `image_id`, each location once.

    Each of `images` is a file, a folder or bucket prefix (searched at any depth for files whose extension says
    image; hidden ones are passed over, links to folders not followed), a pattern (`**` too), or a list
    (`pgcn_jobs.inputs.lists.image_list`) whose relative `uri`s begin at its own folder, and which may name what
    `pgcn_jobs.inputs.lists.rules` permits: a list from elsewhere names files of this machine only where `allow_local`.
    One listing for each folder; no image is opened. A single file is taken whatever its name, and a name with `*`, `?`
    or `[` is that file, object or folder where there is one. Images below a folder with a `run.json` belong to a run
    and are not taken; `passed` counts them, and files that are no images.

    Two images of one name keep it apart by "-" and six hexadecimal digits, the same at every run. An image that
    is in a list and also in a folder is taken from the list. The same image in several rows with different
    seeds or settings is several sources; rows with edits that use the same pyramid are one source with these edits.
    `parts` returns the files of further channels of a source that has none of its own, `exclude` its mask of pixels
    that nothing is learned from.
    `ask` returns the edits of a source that has none of its own; without `ask`, its pyramid alone is requested.

    A single file that is not there has a `problem`; alone, it is an error. Raises `ConfigError` for an argument
    that names nothing and for a list that is wrong, `StoreError` where the storage does not work.
    """
    if not images:
        raise ConfigError(
            "No images were named: give files, folders, buckets or a list of images.", code=Code.IMAGES_NONE
        )
    search = Search(setting_names, options, allow_local, Passed() if passed is None else passed)
    found = [each for name in images for each in _expand(name, search)]
    if len(images) == 1 and len(found) == 1 and not found[0].listed and found[0].source.problem:
        raise ConfigError(found[0].source.problem, code=found[0].source.problem_code)
    if parts is not None:
        found = [f if f.source.parts else replace(f, source=replace(f.source, parts=parts(f.source))) for f in found]
    if exclude is not None:
        if any(each.source.edits for each in found):
            raise ConfigError(f"--exclude is given, and a list has tasks: {NO_EXCLUDE}", code=Code.OPTION_VALUE)
        found = [f if f.source.holes else replace(f, source=replace(f.source, holes=exclude(f.source))) for f in found]
    if ask is not None:
        if all(each.source.edits for each in found):
            raise ConfigError(
                "--task is for no image: each row of the list has its own task. Leave --task out.",
                code=Code.OPTION_VALUE,
            )
        found = [f if f.source.edits else replace(f, source=_with_edits(f.source, ask(f.source))) for f in found]
    return with_named_edits(with_unique_ids(once_each(found)))


def one_source(name: str) -> Source:
    """One file or object by its name, whatever it is called; with a `problem` where it is known not to be there."""
    if not is_local(name):
        return with_driver(remote_source(name), name)
    path = local_path(name)
    return local_source(path, path.name, path.name)


def several(name: str) -> list[Source] | None:
    """The images of a folder, prefix or pattern, sorted by `image_id`; None where `name` is that of one file.

    A folder of a bucket ends with "/". Raises `ConfigError` where there is no image.
    """
    local = is_local(name)
    here = local and local_path(name).exists()
    if not (name.endswith("/") or (local and local_path(name).is_dir()) or (GLOB_CHARACTERS.search(name) and not here)):
        return None
    found = _expand(name, Search((), None, allow_local=False, passed=Passed()))
    return with_unique_ids(once_each(found))


def _with_edits(source: Source, edits: Sequence[EditSource]) -> Source:
    """The image with these edits, which use one pyramid, as its only requests."""
    first, *others = (with_edit(source, edit) for edit in edits)
    return reduce(merged, others, first)


def _expand(name: str, search: Search) -> Iterator[Found]:
    """The images that one argument names."""
    if is_list(name):
        yield from list_images(name, search)
    elif is_local(name):
        yield from local_images(name, search.passed)
    elif is_web(name) or "::" in name:
        yield Found(remote_source(name))  # cannot be listed
    else:
        yield from remote_images(name, search.options, search.passed)
