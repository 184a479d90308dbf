"""A run's folder, local or in a bucket: all access to a run's storage goes through `Store`.

Readers never see a part of an object. Every operation is idempotent, from any process and in any order.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.dataset as ds

from pgcn_jobs import layout
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.storage.errors import explain, with_retries
from pgcn_jobs.storage.folder import Folder, temporary_name
from pgcn_jobs.storage.local_folder import LocalFolder
from pgcn_jobs.storage.remote_folder import RemoteFolder
from pgcn_jobs.storage.urls import filesystem, is_local, local_path, public_url, read_only_problem

__all__ = ["Store", "explain", "public_url"]

T = TypeVar("T")


class Store:
    """A folder on any fsspec filesystem, as whole objects under relative POSIX paths.

    Writes are atomic on a local disk and on S3; on other filesystems if their `pipe_file` is. Nothing is cached: every
    answer is the storage's current one. Credentials come from the environment, or from `options`, the keywords of the
    fsspec filesystem.

    A store is cheap to create and to pickle. Each process opens its own connection at first use, so a store may be
    sent to another process or inherited by a fork.

    Every method raises `StoreError`, a sentence without secrets, for requests that still fail after retries of a few
    seconds (a server that never answers takes half a minute), and `ValueError` for a path that is absolute or has "..".
    """

    url: str  # public form: no user name, password or query; a local folder as the user wrote it
    location: str  # private: the address at which any process of this machine or cluster opens it

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = public_url(url)
        self.options = dict(options or {})
        # A relative folder is resolved here, since another process may have another working folder.
        self.location = str(local_path(url)) if is_local(url) else url
        self._opened: dict[int, Folder] = {}

    def put(self, path: str, data: bytes) -> None:
        """Write one object whole, in place of any other. After a failure no reader sees a part of it."""
        self._with_retries(lambda folder: folder.put(_checked(path), data))

    def create(self, path: str, data: bytes) -> bool:
        """Write one object unless there is one; False, without a change, if there is one.

        Of concurrent callers exactly one gets True, on a local disk and on S3 servers that honour If-None-Match. Some
        servers silently ignore it (the JuiceFS gateway): concurrent callers may all get True, and the last object
        stays. No caller may rely on a single winner.
        """
        path = _checked(path)
        tried = False

        def create_or_recognise(folder: Folder) -> bool:
            nonlocal tried
            again, tried = tried, True
            # After a failed try, the object may be that of the try itself, whose answer was lost.
            return folder.create(path, data) or (again and folder.get(path) == data)

        return self._with_retries(create_or_recognise)

    def claim(self, path: str, data: bytes) -> bool:
        """`create` by the storage's own condition alone, without a read before the write.

        True for an existing object means that the storage ignores the condition and has replaced the object.
        """
        return self._with_retries(lambda folder: folder.claim(_checked(path), data))

    def get(self, path: str) -> bytes:
        """The bytes of one object. Raises `FileNotFoundError` if it is absent."""
        data = self._with_retries(lambda folder: folder.get(_checked(path)))
        if data is None:
            raise FileNotFoundError(f"There is no {path} in {self.url}.")
        return data

    def list(self, prefix: str = "") -> dict[str, int]:
        """Every object below the folder `prefix`, at any depth: path relative to the store → size in bytes.

        Sorted by path; empty if there is no such folder. Temporary files are left out. On S3 one request per 1000
        objects.
        """
        found = self._with_retries(lambda folder: folder.list(_checked(prefix)))
        return {path: found[path] for path in sorted(found) if not layout.is_temporary(path)}

    def temporaries(self) -> dict[str, int]:
        """The temporary files that `list` leaves out, of running or killed writers: path → size in bytes."""
        found = self._with_retries(lambda folder: folder.list(""))
        return {path: found[path] for path in sorted(found) if layout.is_temporary(path)}

    def modified(self, path: str) -> datetime | None:
        """The modification time of an object by the storage's clock; None if absent or unknown."""
        return self._with_retries(lambda folder: folder.modified(_checked(path)))

    def now(self) -> datetime | None:
        """The current time by the storage's clock: the modification time of a small object, written and removed here.

        None if the storage gives no times or forbids writing.
        """
        probe = temporary_name()
        try:
            self.put(probe, b"")
            moment = self.modified(probe)
            self.delete([probe])
        except StoreError:
            return None
        return moment

    def age(self, path: str) -> timedelta | None:
        """The age of an object by the storage's clock alone; None if it is unknown."""
        written = self.modified(path)
        moment = None if written is None else self.now()
        return None if written is None or moment is None else moment - written

    def exists(self, path: str) -> bool:
        """True if there is an object of exactly this path; a folder is no object."""
        return self._with_retries(lambda folder: folder.exists(_checked(path)))

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; absent ones are ignored."""
        checked = [_checked(path) for path in paths]
        for _ in concurrent_map(lambda path: self._with_retries(lambda folder: folder.delete(path)), checked):
            pass

    def occupant(self) -> str | None:
        """The name of one file or folder here; None if the folder is empty or absent.

        Files of the operating system (`.DS_Store`) and temporary files of this program are ignored.
        """
        return self._with_retries(lambda folder: folder.occupant())

    def check(self, folder: str = "") -> None:
        """Write, read and delete a small object in `folder`. Raises `StoreError` if one of these fails."""
        if problem := read_only_problem(self.location):
            raise StoreError(problem, code=Code.STORAGE_UNSUPPORTED)
        probe = f"{folder}/{temporary_name()}" if folder else temporary_name()
        data = uuid.uuid4().bytes
        self.put(probe, data)
        try:
            found = self.get(probe)
        except FileNotFoundError:
            found = b""
        self.delete([probe])
        if found != data:
            raise StoreError(
                f"Cannot use {self.url}: what was written there did not come back; choose another place.",
                code=Code.STORAGE_FAILED,
            )

    def parquet(self, prefix: str) -> ds.Dataset | None:
        """The parts of the table in `prefix` as one dataset, None without parts; no other file is read.

        Only the schema of the first file is read at once. A later read of rows raises pyarrow's `OSError`, or the
        storage's error.
        """
        files = self._parquet_files(prefix)
        return self._with_retries(lambda folder: folder.parquet(files)) if files else None

    def read_parquet(self, prefix: str, read: Callable[[ds.Dataset], T]) -> T | None:
        """The result of `read` on that dataset, with the same retries as for objects; None without parts."""
        files = self._parquet_files(prefix)
        return self._with_retries(lambda folder: read(folder.parquet(files))) if files else None

    def _parquet_files(self, prefix: str) -> Sequence[str]:
        return layout.matching(layout.TABLE_PART, self.list(prefix))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def _with_retries(self, call: Callable[[Folder], T]) -> T:
        return with_retries(lambda: call(self._folder()), self.url)

    def _folder(self) -> Folder:
        """The backend of this process: a connection does not survive a fork.

        The backend of the parent process is kept without use after a fork. If it were dropped, it would close sockets
        and an event loop that the parent shares, and the parent's next request would often wait until its timeout.
        """
        process = os.getpid()
        if process not in self._opened:
            self._opened[process] = self._open()
        return self._opened[process]

    def _open(self) -> Folder:
        if is_local(self.location):
            return LocalFolder(Path(self.location))
        return RemoteFolder(*filesystem(self.location, self.options))


def _checked(path: str) -> str:
    """The path without a trailing slash. Raises `ValueError` for a path that could leave the store's folder."""
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"not a path inside a store: {path!r}")
    return path.rstrip("/")
