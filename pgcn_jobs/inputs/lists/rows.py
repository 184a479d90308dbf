"""The images and edits that the rows of a list name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError, InputError
from pgcn_jobs.inputs.found import Found, Search
from pgcn_jobs.inputs.lists.image_list import SUFFIXES, EditRow, read_image_list
from pgcn_jobs.inputs.lists.rules import forbidden
from pgcn_jobs.inputs.local_listing import local_below, local_source, percent_decoded
from pgcn_jobs.inputs.remote_listing import remote_below, remote_source, with_driver
from pgcn_jobs.inputs.source import EditSource, Part, Source, with_edit
from pgcn_jobs.inputs.source_bytes import read_source
from pgcn_jobs.storage.urls import is_local, local_path, names_local_file, public_url

MAX_LIST_BYTES = 2 * 2**30


def is_list(name: str) -> bool:
    """True for the name of a list of images."""
    return public_url(name).lower().endswith(SUFFIXES) and not (is_local(name) and local_path(name).is_dir())


def list_images(name: str, search: Search) -> Iterator[Found]:
    """The images of a list, row by row. Raises `ConfigError` for an unreadable list, `StoreError` from storage."""
    shown, allow_local = public_url(name), search.allow_local
    try:
        data = read_source(name, shown, search.options, MAX_LIST_BYTES)
    except InputError as error:
        raise ConfigError(str(error), code=Code.LIST_UNREADABLE) from None
    folder = str(local_path(name).parent) if is_local(name) else name.partition("?")[0].rpartition("/")[0]
    for row in read_image_list(data, shown, search.setting_names, search.passed.note):
        source = replace(row_source(row.uri, folder, allow_local), seed=row.seed, overrides=row.overrides)
        parts = [Part(name, row_source(uri, folder, allow_local)) for name, uri in sorted(row.channels.items())]
        source = replace(source, method=row.method, parts=tuple(parts))
        if row.image_id is not None:
            source = replace(source, image_id=row.image_id)
        if row.exclude_uri is not None:
            source = replace(source, holes=row_source(row.exclude_uri, folder, allow_local))
        if row.edit is not None:
            source = with_edit(source, row_edit(row.edit, folder, allow_local))
        # A row's `image_id` names the pyramid of the whole image; a pyramid learned around a hole has another name.
        yield Found(source, given=row.image_id is not None and (row.edit is None or source.holes is None), listed=True)


def row_edit(row: EditRow, folder: str, allow_local: bool) -> EditSource:
    """The edit that a row requests; its other images are named as images are."""

    def other(uri: str | None) -> Source | None:
        return None if uri is None else row_source(uri, folder, allow_local)

    return EditSource(
        row.task, row.options, other(row.target_uri), other(row.mask_uri), other(row.truth_uri), row.edit_id
    )


def row_source(uri: str, folder: str, allow_local: bool) -> Source:
    """The image that a row names; `folder` is the path or URL of its list's folder."""
    if why := forbidden(uri, folder, allow_local=allow_local):
        stranger = remote_source(uri)
        return replace(
            stranger, problem=f"{stranger.uri} cannot be read: {why}.", problem_code=Code.IMAGE_NOT_PERMITTED
        )
    if not is_local(uri):
        return with_driver(remote_source(uri), uri)
    if names_local_file(uri):
        path = percent_decoded(local_path(uri))
    elif is_local(folder):
        path = percent_decoded(local_path(str(Path(folder, uri))))
    else:
        return remote_below(folder, posixpath.normpath(uri), {})
    if is_local(folder) and path.is_relative_to(folder):
        return local_below(Path(folder), path)
    return local_source(path, path.name, path.name)
