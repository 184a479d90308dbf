"""Rules for the files that a list of images may name. A list can come from anybody, and workers open its files.

| a row's uri                          | list in a bucket or on the web          | list on this machine |
|--------------------------------------|-----------------------------------------|----------------------|
| relative                             | below the list's own folder             | yes                  |
| absolute path, `file://…`, `local://…` | with --allow-local                    | yes                  |
| object storage, http(s)              | yes                                     | yes                  |
| http(s) to this machine (`localhost`) | the list's own server, or --allow-local | yes                 |
| another kind of storage              | that of the list itself                 | no                   |
| a chain of storages (`::`), a key inside an s3 URL | no                        | no                   |

Wherever it comes from, no URL reaches a cloud's metadata service, and none is led to the worker's own machine by
its server or its name alone: `pgcn_jobs.storage.http` sees to that when it connects.
"""

from __future__ import annotations

import posixpath

from pgcn_jobs.storage.http import is_this_machine
from pgcn_jobs.storage.urls import has_key, host_of, is_local, is_s3, is_web, names_local_file, protocol_of, public_url

STORAGE = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "hf", "http", "https", "oss", "s3", "s3a"})
"""Kinds of storage that a row may name: each opens its own objects, and nothing of the machine that asks."""


def forbidden(uri: str, folder: str, *, allow_local: bool) -> str | None:
    """The reason why a row of a list in `folder` may not name `uri`, as the end of a sentence; None where it may."""
    if "::" in uri:
        return "a list may not name chains of storages (::)"
    if is_local(uri):
        return None if is_local(folder) else _local(uri, folder, allow_local)
    protocol = protocol_of(uri)
    if protocol not in STORAGE and (is_local(folder) or protocol != protocol_of(folder)):
        return f"a list may not name {protocol}:// (but {', '.join(sorted(STORAGE))})"
    if is_s3(uri) and has_key(uri):
        return "its URL holds a key: take that out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
    own_server = is_web(folder) and host_of(uri) == host_of(folder)
    if is_web(uri) and is_this_machine(host_of(uri)) and not (is_local(folder) or own_server or allow_local):
        return "a list from elsewhere may not name a server of the workers' own machines, unless --allow-local is given"
    return None


def _local(uri: str, folder: str, allow_local: bool) -> str | None:
    """The same for a row without a storage, in a list that is not on this machine."""
    if names_local_file(uri):
        why = "a list from elsewhere may not name files of the workers' own machines, unless --allow-local is given"
        return None if allow_local else why
    if posixpath.normpath(uri).split("/")[0] == "..":
        return f"it is outside {public_url(folder)}"
    return None
