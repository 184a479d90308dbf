"""A run's folder, local or in a bucket: the only way that the code touches a run's storage.

A reader sees an object whole or not at all. Everything here is safe to repeat, from any process, in any order.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow.dataset as ds
from fsspec import AbstractFileSystem
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

from jobs import layout
from jobs.common.codes import Code
from jobs.common.concurrent_map import ahead
from jobs.common.failures import StoreError
from jobs.storage.errors import error_code, explain, with_retries
from jobs.storage.urls import filesystem, is_local, local_path, public_url

__all__ = ["Store", "explain", "public_url"]

T = TypeVar("T")

_SINGLE_PUT_LIMIT = 5 * 2**30  # S3's own, in bytes
# Limits of one put: how long a server may take, and the slowest line that it is sent over, in bytes a second.
PUT_TIMEOUT_S = 30.0
SLOWEST_UPLOAD = 128 * 2**10
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Store:
    """A folder on any fsspec filesystem, seen as whole objects under relative POSIX paths.

    On a local disk and on S3 an object appears whole or not at all; on other filesystems as far as their
    `pipe_file` does so. Nothing is cached: every answer is the storage's own at that time. Credentials come
    from the environment, or from `options`, the keywords of the fsspec filesystem.

    Cheap to build and to pickle: a connection is opened at first use, in each process anew, so a store may be
    sent to another process or carried over a fork.

    Every method raises `StoreError`, a sentence for a person without secrets, for what still fails after a few
    seconds of patience: a server that never answers takes half a minute. `ValueError` for a path that is
    absolute or has "..".
    """

    url: str  # as it may be shown: no user name, password or query; a local folder as the user wrote it
    location: str  # private, what any process of this machine or cluster opens it by

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = public_url(url)
        self.options = dict(options or {})
        # A relative folder means the one seen from here, also where another process unpickles this store.
        self.location = str(local_path(url)) if is_local(url) else url
        self._opened: dict[int, _Folder] = {}

    def put(self, path: str, data: bytes) -> None:
        """Write one object whole, in place of any other: whatever fails, no reader sees a part of it."""
        self._patiently(lambda folder: folder.put(_checked(path), data))

    def create(self, path: str, data: bytes) -> bool:
        """Write one object unless there is one; False, and nothing changed, where there is.

        Of many callers at once exactly one gets True, on a local disk and on S3 servers that honour
        If-None-Match. Some ignore it without a word (the JuiceFS gateway): there, callers in the same moment
        may all get True and the last one's object stays. Nothing may depend on a single winner alone.
        """
        path = _checked(path)
        tried = False

        def create_or_recognise(folder: _Folder) -> bool:
            nonlocal tried
            again, tried = tried, True
            # What is there after a failed try may be that try's own object, whose answer was lost.
            return folder.create(path, data) or (again and folder.get(path) == data)

        return self._patiently(create_or_recognise)

    def claim(self, path: str, data: bytes) -> bool:
        """As `create`, by the storage's own condition alone: nobody asks first whether there is an object.

        True on an object that is there means that this storage ignores the condition, and has replaced it.
        """
        return self._patiently(lambda folder: folder.claim(_checked(path), data))

    def get(self, path: str) -> bytes:
        """The bytes of one object. Raises `FileNotFoundError` where there is none."""
        data = self._patiently(lambda folder: folder.get(_checked(path)))
        if data is None:
            raise FileNotFoundError(f"There is no {path} in {self.url}.")
        return data

    def list(self, prefix: str = "") -> dict[str, int]:
        """Every object below the folder `prefix`, at any depth: path relative to the store → size in bytes.

        Sorted by path; empty where there is no such folder. On S3 one listing, a request per 1000 objects.
        """
        found = self._patiently(lambda folder: folder.list(_checked(prefix)))
        return {path: found[path] for path in sorted(found) if not layout.is_temporary(path)}

    def temporaries(self) -> dict[str, int]:
        """The unfinished objects that `list` hides: of writers at work, or left by killed ones; path → size."""
        found = self._patiently(lambda folder: folder.list(""))
        return {path: found[path] for path in sorted(found) if layout.is_temporary(path)}

    def modified(self, path: str) -> datetime | None:
        """When an object was written, by the storage's own clock; None where it is gone or its time is not told."""
        return self._patiently(lambda folder: folder.modified(_checked(path)))

    def now(self) -> datetime | None:
        """This moment by the storage's own clock: when a small object was written here, and removed again.

        None where the storage does not tell, or nothing may be written here.
        """
        probe = _temporary_name()
        try:
            self.put(probe, b"")
            moment = self.modified(probe)
            self.delete([probe])
        except StoreError:
            return None
        return moment

    def age(self, path: str) -> timedelta | None:
        """How long ago an object was written, by the storage's clock alone; None where that is not known."""
        written = self.modified(path)
        moment = None if written is None else self.now()
        return None if written is None or moment is None else moment - written

    def exists(self, path: str) -> bool:
        """Whether there is an object of exactly this path; a folder is none."""
        return self._patiently(lambda folder: folder.exists(_checked(path)))

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that are absent are fine."""
        checked = [_checked(path) for path in paths]
        for _ in ahead(lambda path: self._patiently(lambda folder: folder.delete(path)), checked):
            pass

    def occupant(self) -> str | None:
        """The name of something that lies here, None where the place is empty or absent.

        Files that systems leave in folders by themselves, and unfinished ones of our writers, leave it empty.
        """
        return self._patiently(lambda folder: folder.occupant())

    def check(self, folder: str = "") -> None:
        """Write, read back and delete a small object in `folder`: `StoreError` if a run could not work here."""
        probe = f"{folder}/{_temporary_name()}" if folder else _temporary_name()
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
        """The parts of the table in `prefix` as one dataset, None where there are none; no other file there is read.

        Nothing but the first file's schema is read before rows are asked for. DuckDB queries it by the name of
        a variable that holds it. Reading rows later raises pyarrow's own `OSError`, or the storage's error.
        """
        files = self._parquet_files(prefix)
        return self._patiently(lambda folder: folder.parquet(files)) if files else None

    def read_parquet(self, prefix: str, read: Callable[[ds.Dataset], T]) -> T | None:
        """What `read` makes of that dataset: rows are read with the same patience as objects. None without files."""
        files = self._parquet_files(prefix)
        return self._patiently(lambda folder: read(folder.parquet(files))) if files else None

    def _parquet_files(self, prefix: str) -> Sequence[str]:
        return layout.matching(layout.TABLE_PART, self.list(prefix))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def _patiently(self, call: Callable[[_Folder], T]) -> T:
        return with_retries(lambda: call(self._folder()), self.url)

    def _folder(self) -> _Folder:
        """The open folder of this process: a connection does not survive a fork.

        What was open before the fork is kept, unused. Dropped, it closes itself, with sockets and an event loop that
        are the parent's too: the parent's next request then often waits until its timeout.
        """
        process = os.getpid()
        if process not in self._opened:
            self._opened[process] = self._open()
        return self._opened[process]

    def _open(self) -> _Folder:
        if is_local(self.location):
            return _LocalFolder(Path(self.location))
        return _RemoteFolder(*filesystem(self.location, self.options))


class _Folder(Protocol):
    """What a store needs of a place. Paths are checked; errors are the place's own."""

    def put(self, path: str, data: bytes) -> None: ...
    def create(self, path: str, data: bytes) -> bool: ...
    def claim(self, path: str, data: bytes) -> bool: ...
    def get(self, path: str) -> bytes | None: ...
    def list(self, prefix: str) -> dict[str, int]: ...
    def occupant(self) -> str | None: ...
    def modified(self, path: str) -> datetime | None: ...
    def exists(self, path: str) -> bool: ...
    def delete(self, path: str) -> None: ...
    def parquet(self, files: Sequence[str]) -> ds.Dataset: ...


class _LocalFolder:
    """Objects are files: written beside their place under a temporary name, then moved there.

    Links below the root are refused: what lies behind one is not the run's, to be read, replaced or removed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, path: str, data: bytes) -> None:
        target = self._at(path)
        temporary = self._write_beside(target, data)
        try:
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, path: str, data: bytes) -> bool:
        return not self._at(path).exists() and self.claim(path, data)

    def claim(self, path: str, data: bytes) -> bool:
        target = self._at(path)
        temporary = self._write_beside(target, data)
        try:
            target.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            temporary.replace(target)  # as on a bucket that ignores If-None-Match
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def get(self, path: str) -> bytes | None:
        try:
            return self._at(path).read_bytes()
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for folder, folders, names in os.walk(self._at(prefix), onerror=self._pass_over):
            below = Path(folder).relative_to(self._root)
            for name in folders:
                self._is_link(below / name, layout.is_own_folder)
            for name in names:
                try:
                    size = Path(folder, name).lstat().st_size
                except FileNotFoundError:
                    continue  # deleted since the folder was read
                if not self._is_link(below / name, layout.is_ours):
                    sizes[(below / name).as_posix()] = size
        return sizes

    def occupant(self) -> str | None:
        for folder, folders, names in os.walk(self._root, onerror=_raise_unless_absent):
            folders[:] = [name for name in folders if not layout.is_litter(name)]
            linked = [name for name in folders if Path(folder, name).is_symlink()]
            found = sorted(name for name in [*names, *linked] if not layout.is_litter(name))
            if found:
                return Path(folder, found[0]).relative_to(self._root).as_posix()
        return None

    def _at(self, path: str) -> Path:
        """The file or folder of a path, none of which below the root is a link. Raises `StoreError`."""
        at = self._root
        for part in path.split("/") if path else ():
            at /= part
            if at.is_symlink():
                raise self._linked(at)
        return at

    def _is_link(self, path: Path, ours: Callable[[str], bool]) -> bool:
        """Whether a listed path is a link: somebody's, which is passed over. Raises `StoreError` for a name of ours."""
        linked = (self._root / path).is_symlink()
        if linked and ours(path.as_posix()):
            raise self._linked(self._root / path)
        return linked

    def _linked(self, at: Path) -> StoreError:
        return StoreError(
            f"Cannot use {self._root}: {at.relative_to(self._root)} in it is a link, and nothing behind a link is "
            "read, written or removed. Put the folder or file itself there; the run's own folder may be a link.",
            code=Code.STORAGE_FORBIDDEN,
        )

    def _pass_over(self, error: OSError) -> None:
        """Somebody's folder that cannot be read is not the run's; one of the run's own is an error."""
        below = Path(error.filename or self._root).relative_to(self._root).as_posix()
        if below == "." or layout.is_own_folder(below):
            _raise_unless_absent(error)

    def modified(self, path: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._at(path).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    def delete(self, path: str) -> None:
        self._at(path).unlink(missing_ok=True)

    def parquet(self, files: Sequence[str]) -> ds.Dataset:
        return ds.dataset([str(self._at(file)) for file in files], filesystem=LocalFileSystem())

    @staticmethod
    def _write_beside(target: Path, data: bytes) -> Path:
        """A new file in the target's folder, with `data` safely on the disk."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(_temporary_name())
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary


class _RemoteFolder:
    """Objects below a path of an fsspec filesystem; a put is one request."""

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    def put(self, path: str, data: bytes) -> None:
        self._pipe(path, data)

    def create(self, path: str, data: bytes) -> bool:
        # To ask first is the one test that every server honours, though not at one moment with the put. What is
        # created is small, and reading it is one request; whether it exists is two where it does not.
        return self.get(path) is None and self.claim(path, data)

    def claim(self, path: str, data: bytes) -> bool:
        try:
            self._pipe(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def get(self, path: str) -> bytes | None:
        try:
            return bytes(self._fs.cat_file(self._full(path)))
        except FileNotFoundError as error:
            _raise_unless_absent(error)
            return None

    def list(self, prefix: str) -> dict[str, int]:
        try:
            if prefix and "s3" in self._fs.protocol:
                # s3fs asks twice more about a folder that it finds empty, and not about the beginning of names.
                found = self._fs.find(self._root, prefix=f"{prefix}/", detail=True)
            else:
                found = self._fs.find(self._full(prefix), detail=True)
        except FileNotFoundError as error:
            _raise_unless_absent(error)
            return {}
        below = f"{self._root}/"
        return {
            name.removeprefix(below): int(info["size"])
            for name, info in found.items()
            if info["type"] == "file" and name.startswith(f"{self._full(prefix)}/") and not name.endswith("/")
        }

    def occupant(self) -> str | None:
        try:
            found = [str(name).rstrip("/") for name in self._fs.ls(self._root, detail=False)]
        except FileNotFoundError as error:
            _raise_unless_absent(error)
            return None
        below = f"{self._root}/"
        names = (name.removeprefix(below) for name in found if name.startswith(below))
        return next((name for name in sorted(names) if name and not layout.is_litter(name)), None)

    def modified(self, path: str) -> datetime | None:
        try:
            moment = self._fs.modified(self._full(path))
        except FileNotFoundError as error:
            _raise_unless_absent(error)
            return None
        except NotImplementedError:
            return None
        return moment if isinstance(moment, datetime) and moment.tzinfo else None

    def exists(self, path: str) -> bool:
        try:
            return bool(self._fs.info(self._full(path))["type"] == "file")
        except FileNotFoundError as error:
            _raise_unless_absent(error)
            return False

    def delete(self, path: str) -> None:
        try:
            self._fs.rm_file(self._full(path))
        except FileNotFoundError as error:
            _raise_unless_absent(error)

    def parquet(self, files: Sequence[str]) -> ds.Dataset:
        source = PyFileSystem(FSSpecHandler(self._fs))
        return ds.dataset([self._full(file) for file in files], filesystem=source)

    def _pipe(self, path: str, data: bytes, **how: Any) -> None:
        if self._fs.async_impl:
            # Nothing else limits the sending: a silent server may never say "100 Continue", nor read the bytes.
            how["timeout"] = PUT_TIMEOUT_S + len(data) / SLOWEST_UPLOAD
        if "s3" in self._fs.protocol:
            how["chunksize"] = _SINGLE_PUT_LIMIT  # s3fs would send 100 MB and more in many requests
            # A browser shows a page, and saves what has no type: a gallery is looked at from its bucket.
            how["ContentType"] = mimetypes.guess_type(path)[0] or "application/octet-stream"
        self._fs.pipe_file(self._full(path), data, **how)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


def _checked(path: str) -> str:
    """The path without a slash at its end. Raises `ValueError` for one that could leave the store's folder."""
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"not a path inside a store: {path!r}")
    return path.rstrip("/")


def _raise_unless_absent(error: OSError) -> None:
    """Pass over an object or folder that is not there; anything else, and an absent bucket, is an error."""
    if not isinstance(error, FileNotFoundError) or error_code(error) == "NoSuchBucket":
        raise error


def _temporary_name() -> str:
    return f".{uuid.uuid4().hex}.tmp"
