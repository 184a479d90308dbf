"""Protocol of the storage backends of `pgcn_jobs.storage.store.Store`, and their shared functions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import pyarrow.dataset as ds

from pgcn_jobs.storage.errors import error_code


class Folder(Protocol):
    """The operations of a storage backend. Paths are validated by `Store`; errors are the backend's own."""

    def put(self, path: str, data: bytes) -> None:
        """Write an object whole, in place of any other."""

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless there is one; False if there is one."""

    def claim(self, path: str, data: bytes) -> bool:
        """`create` by the storage's own condition alone, without a read first."""

    def get(self, path: str) -> bytes | None:
        """The bytes of an object; None if it is absent."""

    def list(self, prefix: str) -> dict[str, int]:
        """The objects below a folder at any depth: path → size in bytes; empty if there is no such folder."""

    def occupant(self) -> str | None:
        """The name of one file or folder here; None if the folder is empty or absent."""

    def modified(self, path: str) -> datetime | None:
        """The modification time of an object; None if the object is absent or the time unknown."""

    def exists(self, path: str) -> bool:
        """True if there is an object of exactly this path."""

    def delete(self, path: str) -> None:
        """Remove an object; an absent one is no error."""

    def parquet(self, files: Sequence[str]) -> ds.Dataset:
        """The Parquet files as one dataset."""


def raise_unless_absent(error: OSError) -> None:
    """Ignore the error of an absent object or folder; raise any other error, and that of an absent bucket."""
    if not isinstance(error, FileNotFoundError) or error_code(error) == "NoSuchBucket":
        raise error


def temporary_name() -> str:
    """A new name that `pgcn_jobs.layout.is_temporary` recognizes."""
    return f".{uuid.uuid4().hex}.tmp"
