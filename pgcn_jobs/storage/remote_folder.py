"""Storage backend for buckets and any other fsspec filesystem."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow.dataset as ds
from fsspec import AbstractFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from pgcn_jobs import layout
from pgcn_jobs.storage.folder import raise_unless_absent

_SINGLE_PUT_LIMIT = 5 * 2**30  # S3's limit, bytes
# Time limit of one put, seconds: a constant part, and the object's size over the slowest rate, bytes a second.
PUT_TIMEOUT_S = 30.0
SLOWEST_UPLOAD = 128 * 2**10


class RemoteFolder:
    """Objects below a path of an fsspec filesystem; a put is one request."""

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    def put(self, path: str, data: bytes) -> None:
        """Write an object with one request."""
        self._pipe(path, data)

    def create(self, path: str, data: bytes) -> bool:
        """Read the object, then write it with the condition that it is absent; False if there is one."""
        # A read before the put is the one test that every server honours, though it is not atomic with the put. The
        # object is small, so that one GET reads it; a test of existence takes two requests if it is absent.
        return self.get(path) is None and self.claim(path, data)

    def claim(self, path: str, data: bytes) -> bool:
        """Write an object with the condition that it is absent (If-None-Match on S3); False if there is one."""
        try:
            self._pipe(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def get(self, path: str) -> bytes | None:
        """The bytes of an object; None if it is absent."""
        try:
            return bytes(self._fs.cat_file(self._full(path)))
        except FileNotFoundError as error:
            raise_unless_absent(error)
            return None

    def list(self, prefix: str) -> dict[str, int]:
        """The objects below a folder at any depth: path → size in bytes."""
        try:
            if prefix and "s3" in self._fs.protocol:
                # s3fs sends two more requests for an empty folder, but none for a prefix.
                found = self._fs.find(self._root, prefix=f"{prefix}/", detail=True)
            else:
                found = self._fs.find(self._full(prefix), detail=True)
        except FileNotFoundError as error:
            raise_unless_absent(error)
            return {}
        below = f"{self._root}/"
        return {
            name.removeprefix(below): int(info["size"])
            for name, info in found.items()
            if info["type"] == "file" and name.startswith(f"{self._full(prefix)}/") and not name.endswith("/")
        }

    def occupant(self) -> str | None:
        """The name of one object or folder here that is no litter; None without one."""
        try:
            found = [str(name).rstrip("/") for name in self._fs.ls(self._root, detail=False)]
        except FileNotFoundError as error:
            raise_unless_absent(error)
            return None
        below = f"{self._root}/"
        names = (name.removeprefix(below) for name in found if name.startswith(below))
        return next((name for name in sorted(names) if name and not layout.is_litter(name)), None)

    def modified(self, path: str) -> datetime | None:
        """The modification time with its time zone; None if the object is absent or the time unknown."""
        try:
            moment = self._fs.modified(self._full(path))
        except FileNotFoundError as error:
            raise_unless_absent(error)
            return None
        except NotImplementedError:
            return None
        return moment if isinstance(moment, datetime) and moment.tzinfo else None

    def exists(self, path: str) -> bool:
        """True for an object, False for a folder."""
        try:
            return bool(self._fs.info(self._full(path))["type"] == "file")
        except FileNotFoundError as error:
            raise_unless_absent(error)
            return False

    def delete(self, path: str) -> None:
        """Remove an object; an absent one is no error."""
        try:
            self._fs.rm_file(self._full(path))
        except FileNotFoundError as error:
            raise_unless_absent(error)

    def parquet(self, files: Sequence[str]) -> ds.Dataset:
        """The objects as one dataset, read through fsspec."""
        source = PyFileSystem(FSSpecHandler(self._fs))
        return ds.dataset([self._full(file) for file in files], filesystem=source)

    def _pipe(self, path: str, data: bytes, **options: Any) -> None:
        if self._fs.async_impl:
            # No other limit covers the upload: a silent server may never send "100 Continue", or never read the bytes.
            options["timeout"] = PUT_TIMEOUT_S + len(data) / SLOWEST_UPLOAD
        if "s3" in self._fs.protocol:
            options["chunksize"] = _SINGLE_PUT_LIMIT  # s3fs splits larger objects into many requests by default
            # A browser displays a page of a gallery in a bucket only if the object has a content type.
            options["ContentType"] = mimetypes.guess_type(path)[0] or "application/octet-stream"
        self._fs.pipe_file(self._full(path), data, **options)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root
