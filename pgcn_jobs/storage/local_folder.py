"""Storage backend for folders of this machine's filesystem."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from pgcn_jobs import layout
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.storage.folder import raise_unless_absent, temporary_name

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalFolder:
    """Objects are files: each is written under a temporary name in its folder, then renamed.

    Links below the root are refused: their targets are not part of the run, and must not be read, replaced or removed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, path: str, data: bytes) -> None:
        """Write a temporary file, and rename it to its path."""
        target = self._at(path)
        temporary = self._write_beside(target, data)
        try:
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, path: str, data: bytes) -> bool:
        """Link the object to its path unless the path exists; False if it does."""
        return not self._at(path).exists() and self.claim(path, data)

    def claim(self, path: str, data: bytes) -> bool:
        """Link a temporary file to its path; False if the path exists."""
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
        """The bytes of a file; None if it is absent."""
        try:
            return self._at(path).read_bytes()
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> dict[str, int]:
        """The files below a folder at any depth: path → size in bytes."""
        sizes: dict[str, int] = {}
        for folder, folders, names in os.walk(self._at(prefix), onerror=self._ignore_foreign):
            below = Path(folder).relative_to(self._root)
            for name in folders:
                self._is_link(below / name, layout.is_own_folder)
            for name in names:
                try:
                    size = Path(folder, name).lstat().st_size
                except FileNotFoundError:
                    continue  # deleted after the folder was read
                if not self._is_link(below / name, layout.is_ours):
                    sizes[(below / name).as_posix()] = size
        return sizes

    def occupant(self) -> str | None:
        """The path of one file or link here that is no litter; None without one."""
        for folder, folders, names in os.walk(self._root, onerror=raise_unless_absent):
            folders[:] = [name for name in folders if not layout.is_litter(name)]
            linked = [name for name in folders if Path(folder, name).is_symlink()]
            found = sorted(name for name in [*names, *linked] if not layout.is_litter(name))
            if found:
                return Path(folder, found[0]).relative_to(self._root).as_posix()
        return None

    def _at(self, path: str) -> Path:
        """The file or folder of a path. Raises `StoreError` if a component below the root is a link."""
        at = self._root
        for part in path.split("/") if path else ():
            at /= part
            if at.is_symlink():
                raise self._linked(at)
        return at

    def _is_link(self, path: Path, ours: Callable[[str], bool]) -> bool:
        """True if a listed path is a link under another name, to be ignored. Raises `StoreError` for a name of ours."""
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

    def _ignore_foreign(self, error: OSError) -> None:
        """Ignore unreadable folders under other names; raise the error of the run's own folders."""
        below = Path(error.filename or self._root).relative_to(self._root).as_posix()
        if below == "." or layout.is_own_folder(below):
            raise_unless_absent(error)

    def modified(self, path: str) -> datetime | None:
        """The modification time of a file; None if it is absent."""
        try:
            return datetime.fromtimestamp(self._at(path).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def exists(self, path: str) -> bool:
        """True for a file, False for a folder."""
        return self._at(path).is_file()

    def delete(self, path: str) -> None:
        """Remove a file; an absent one is no error."""
        self._at(path).unlink(missing_ok=True)

    def parquet(self, files: Sequence[str]) -> ds.Dataset:
        """The files as one dataset."""
        return ds.dataset([str(self._at(file)) for file in files], filesystem=LocalFileSystem())

    @staticmethod
    def _write_beside(target: Path, data: bytes) -> Path:
        """A new file in the target's folder, with `data` flushed to the disk."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(temporary_name())
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary
