"""A folder of exported files that replaces and removes only what it wrote: its record has the hash of each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.storage.store import Store

RECORD = "pgcn-export.json"
"""Name of the record: the SHA-256 of every file that exports wrote here, by its path."""


class OwnedFolder:
    """Files of one export into `store`: `write` each, then `finish`. Raises `StoreError`.

    Raises `ConfigError`, before anything is written, where the folder has files and no record of an export.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before = _recorded(store)
        self._now: dict[str, str] = {}
        if self._before is None and (occupant := store.occupant()) is not None:
            raise ConfigError(
                f"{store.url} has files that are not of an export, as {terminal_safe(occupant)}: "
                "choose an empty folder, or that of an earlier export.",
                code=Code.OUTPUT_UNWRITABLE,
            )
        store.check()
        # The record comes first, so that an interrupted export can be repeated.
        self._record(self._before or {})

    def write(self, path: str, data: bytes) -> None:
        """Write one file. Raises `ConfigError` where a file has its place that no export wrote."""
        digest = _digest(data)
        if not self._store.create(path, data):
            there = _digest(self._store.get(path))
            if there not in {digest, (self._before or {}).get(path)}:
                raise ConfigError(
                    f"{self._store.url.rstrip('/')}/{path} was not written by an export, or was changed since: "
                    "move it away, or choose another folder.",
                    code=Code.OUTPUT_UNWRITABLE,
                )
            if there != digest:
                self._store.put(path, data)
        self._now[path] = digest

    def finish(self) -> list[str]:
        """Remove files of earlier exports that this one has not, and write the record.

        Returns the paths of those that were changed since: they are kept, and no longer recorded.
        """
        old = {path: digest for path, digest in (self._before or {}).items() if path not in self._now}
        changed = []
        for path, digest in old.items():
            try:
                same = _digest(self._store.get(path)) == digest
            except FileNotFoundError:
                continue
            if same:
                self._store.delete([path])
            else:
                changed.append(path)
        self._record(self._now)
        return changed

    def _record(self, files: Mapping[str, str]) -> None:
        self._store.put(RECORD, (json.dumps({"files": dict(files)}, indent=1, sort_keys=True) + "\n").encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _recorded(store: Store) -> dict[str, str] | None:
    """The record of the last export; None without one. Raises `ConfigError` where it is another file."""
    try:
        files = json.loads(store.get(RECORD))["files"]
        if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
            raise ValueError
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(
            f"{store.url.rstrip('/')}/{RECORD} is no record of an export: choose another folder.",
            code=Code.OUTPUT_UNWRITABLE,
        ) from None
    # A path that leaves the folder is nobody's: it is neither read nor removed.
    return {path: digest for path, digest in files.items() if not path.startswith("/") and ".." not in path.split("/")}
