"""Checkpoints of a job in training, from which another worker continues after a crash.

Each checkpoint is one safetensors object with its number and the hash of its bytes in its name. The last two are kept.
A checkpoint is used only if its bytes have that hash: an incomplete or damaged one costs time and never gives a wrong
pyramid.
"""

from __future__ import annotations

import hashlib

from pgcn.method import State
from pgcn.tensor_files import read_header, read_tensors, to_bytes
from pgcn_jobs import layout
from pgcn_jobs.storage.store import Store

KEPT_CHECKPOINTS = 2


class Checkpoints:
    """A job's checkpoints, for one attempt. They are listed once, since each listing is another request."""

    def __init__(self, store: Store, job_id: str) -> None:
        self._store = store
        self._job_id = job_id
        self._paths = _listed(store, job_id)

    def last(self) -> State | None:
        """The last intact checkpoint, or None."""
        for path in reversed(self._paths):
            try:
                data = self._store.get(path)
            except FileNotFoundError:
                continue
            if path.endswith(f"-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"):
                return read_tensors(data), read_header(data)
        return None

    def write(self, state: State) -> None:
        """Write another checkpoint, and remove all but the last two."""
        tensors, header = state
        data = to_bytes(tensors, header)
        number = 1 + (int(self._paths[-1].rsplit("/", 1)[-1].split("-")[0]) if self._paths else 0)
        path = layout.checkpoint_path(self._job_id, number, hashlib.sha256(data).hexdigest())
        self._store.put(path, data)
        self._paths.append(path)
        self._store.delete(self._paths[:-KEPT_CHECKPOINTS])
        del self._paths[:-KEPT_CHECKPOINTS]


def remove_checkpoints(store: Store, job_id: str) -> None:
    """Remove all checkpoints of a committed job, of all its attempts."""
    store.delete(_listed(store, job_id))


def _listed(store: Store, job_id: str) -> list[str]:
    return layout.matching(layout.CHECKPOINT, store.list(layout.checkpoint_folder(job_id)))
