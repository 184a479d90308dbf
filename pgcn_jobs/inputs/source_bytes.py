"""The bytes of one image. An unreadable file is an `InputError`, a storage failure a `StoreError`."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
import botocore.exceptions as boto
from fsspec import AbstractFileSystem

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import InputError
from pgcn_jobs.storage.errors import error_code, is_transient, with_retries
from pgcn_jobs.storage.http import ForbiddenAddress, read_web
from pgcn_jobs.storage.urls import driver_problem, filesystem, is_local, is_web, local_path

MAX_BYTES = 512 * 2**20

SPECIAL = "it is a named pipe, socket or device, not a file"


def read_source(location: str, uri: str, options: Mapping[str, Any] | None = None, max_bytes: int = MAX_BYTES) -> bytes:
    """The whole file at `location`; messages call it `uri`.

    Raises `InputError` where this file cannot be read, now or later: missing, forbidden, a folder, empty, larger
    than `max_bytes`. Raises `StoreError` where the storage failed for longer than a few seconds, or knows
    no such credentials.
    """
    try:
        data = with_retries(lambda: _read(location, options, max_bytes), uri)
    except _Unreadable as error:
        raise InputError(f"{uri} cannot be read: {error}.", code=error.code) from None
    if not data:
        raise InputError(f"{uri} cannot be read: it is empty (0 bytes).", code=Code.IMAGE_EMPTY)
    if len(data) > max_bytes:
        raise InputError(f"{uri} cannot be read: it is larger than {max_bytes} bytes.", code=Code.IMAGE_BYTES)
    return data


def is_special(path: Path) -> bool:
    """True for a named pipe, socket or device: to open or read one may wait for ever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False  # the error of opening it says more
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


class _Unreadable(Exception):
    """The reason why this one file cannot be read, now or later, and its code."""

    def __init__(self, reason: str, code: Code = Code.IMAGE_UNREADABLE) -> None:
        super().__init__(reason)
        self.code = code


def _read(location: str, options: Mapping[str, Any] | None, max_bytes: int) -> bytes:
    """The bytes, at most one more than `max_bytes`; permanent errors become `_Unreadable`."""
    try:
        if is_local(location):
            if is_special(local_path(location)):
                raise _Unreadable(SPECIAL)
            with local_path(location).open("rb") as file:
                return file.read(max_bytes + 1)
        if problem := driver_problem(location):
            raise _Unreadable(problem.rstrip("."), Code.STORAGE_UNSUPPORTED)
        fs, path = _shared(location, options)
        if is_web(location):
            return read_web(fs, path, max_bytes + 1)
        # A range, so that a file far too large is not taken into memory; its answers also say why it refuses.
        return bytes(fs.cat_file(path, start=0, end=max_bytes + 1))
    except (ValueError, boto.ParamValidationError):  # a NUL in a path, an address without a host, an odd bucket
        raise _Unreadable("its name or address is not valid", Code.IMAGE_NAME) from None
    except (OSError, aiohttp.ClientError) as error:
        if error_code(error) in {"InvalidRange", "416"}:  # there is no first byte
            return b""
        if (unreadable := _unreadable(error)) is not None:
            raise unreadable from None
        raise


def _shared(location: str, options: Mapping[str, Any] | None) -> tuple[AbstractFileSystem, str]:
    """A filesystem kept for all files of one bucket or host: a connection for each file would take half a second."""
    if "::" in location:
        return filesystem(location, options)
    scheme, mark, rest = location.partition("://")
    host = f"{scheme}{mark}{rest.partition('/')[0]}"
    credentials = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    fs = _opened(host, json.dumps(dict(options or {}), sort_keys=True), credentials, os.getpid())
    return fs, str(fs._strip_protocol(location))


@lru_cache(maxsize=16)
def _opened(host: str, options: str, credentials: tuple[tuple[str, str], ...], process: int) -> AbstractFileSystem:
    """The last two only tell one connection from another: it ends with its credentials, and at a fork."""
    return filesystem(host, json.loads(options))[0]


def _unreadable(error: BaseException) -> _Unreadable | None:
    """The reason where this file is at fault; None where it is the storage or the credentials."""
    if ForbiddenAddress.within(error):
        return _Unreadable(
            "images are not read from this machine's own addresses, or from a metadata service",
            Code.IMAGE_NOT_PERMITTED,
        )
    if isinstance(error, IsADirectoryError):
        return _Unreadable("it is a folder")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        reason = "the bucket does not exist" if error_code(error) == "NoSuchBucket" else "it does not exist"
        return _Unreadable(reason, Code.IMAGE_MISSING)
    if isinstance(error, OSError) and error.errno == errno.EIO:  # a bad sector: other files may be sound
        return _Unreadable("its disk cannot read it (EIO)")
    if isinstance(error, PermissionError) and error_code(error) in {None, "AccessDenied", "403"}:
        return _Unreadable("access is forbidden", Code.IMAGE_FORBIDDEN)
    if isinstance(error, aiohttp.ClientResponseError) and not is_transient(error):
        return _Unreadable(f"its server refuses it (HTTP {error.status})")
    return None
